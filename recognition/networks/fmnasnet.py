"""fmnasnet: MNasNet for 112x112 faces, mnas, mnas05 and mnas025, from Gluon blocks (docs/original.md, section 2.6)."""
from typing import Tuple

from arcface_mxnet.recognition.networks.embedding_output import head
from arcface_mxnet.recognition.networks.layers import full_precision, image, scaled
from arcface_mxnet.recognition.networks.registry import NetworkSettings, register
from arcface_mxnet.runtime.mx import mx

nn = mx.gluon.nn
# expansion, width, repeats, stride, kernel of the first block, prefix
SEQUENCES = ((3, 24, 3, 2, 3, "stage2_"), (3, 40, 3, 2, 5, "stage3_"), (6, 80, 3, 2, 5, "stage4_1_"),
             (6, 96, 2, 1, 3, "stage4_2_"), (6, 192, 4, 2, 5, "stage5_1_"), (6, 320, 1, 1, 3, "stage5_2_"))
LAST = 1024


@register("fmnasnet")
def fmnasnet(settings: NetworkSettings) -> "mx.sym.Symbol":
    """Sequences of expanded depthwise blocks; each PReLU has one slope for all its channels, as Gluon's has."""
    width = settings.net_multiplier
    net = _MNasNet(width, settings.bn_mom, prefix="mnasnet0_")
    body = net(scaled(image(settings)))
    return head(full_precision(body, settings), settings, channels=int(LAST * width))


class _MNasNet(mx.gluon.nn.HybridSequential):
    """Stem, the six sequences and the last 1x1 convolution."""

    def __init__(self, width: float, momentum: float, prefix: str) -> None:
        super().__init__(prefix=prefix)
        with self.name_scope():
            self.add(_convolved("stage1_conv0_", momentum, (int(32 * width), 3, 1, 1)))
            self.add(_convolved("stage1_sepconv0_", momentum, (int(32 * width), 3, 1, int(32 * width)),
                                (int(16 * width), 1, 1, 1)))
            channels = int(16 * width)
            for expansion, base, repeats, stride, kernel, name in SEQUENCES:
                self.add(_sequence(name, momentum, channels, expansion, int(base * width), repeats, stride, kernel))
                channels = int(base * width)
            self.add(_convolved("stage5_3_", momentum, (int(LAST * width), 1, 1, 1)))


class _Expanded(mx.gluon.nn.HybridBlock):
    """1x1 up, depthwise, 1x1 down without an activation; the input is added where `residual`."""

    def __init__(self, prefix: str, momentum: float, channels: int, expansion: int, width: int, stride: int,
                 kernel: int, residual: bool) -> None:
        super().__init__(prefix=prefix)
        inner = channels * expansion
        self._residual = residual
        with self.name_scope():
            self.out = nn.HybridSequential(prefix="")
            with self.out.name_scope():
                self.out.add(_convolved("expand_", momentum, (inner, 1, 1, 1)))
                self.out.add(_convolved("dwise_", momentum, (inner, kernel, stride, inner)))
                self.out.add(_convolved("linear_", momentum, (width, 1, 1, 1), active=False))

    def hybrid_forward(self, F, x):  # type: ignore[no-untyped-def]  # noqa: N803, ANN001, ANN201, D102
        """Gluon's own signature: F is mx.sym here."""
        out = self.out(x)
        return F.elemwise_add(out, x) if self._residual else out


def _convolved(prefix: str, momentum: float, *layers: Tuple[int, int, int, int],
               active: bool = True) -> "mx.gluon.nn.HybridSequential":
    """Layers (width, kernel, stride, groups), each convolution without bias, BatchNorm and PReLU, under one prefix."""
    out = nn.HybridSequential(prefix=prefix)
    with out.name_scope():
        for width, kernel, stride, groups in layers:
            out.add(nn.Conv2D(width, kernel, stride, kernel // 2, groups=groups, use_bias=False))
            out.add(nn.BatchNorm(momentum=momentum))
            if active:
                out.add(nn.PReLU())
    return out


def _sequence(prefix: str, momentum: float, channels: int, expansion: int, width: int, repeats: int, stride: int,
              kernel: int) -> "mx.gluon.nn.HybridSequential":
    """`repeats` blocks: the first has the stride and the kernel and no residual, the others kernel 3 and a residual."""
    out = nn.HybridSequential(prefix=prefix)
    with out.name_scope():
        out.add(_Expanded("expandedconv0_", momentum, channels, expansion, width, stride, kernel, False))
        for index in range(1, repeats):
            out.add(_Expanded(f"expandedconv{index}_", momentum, width, expansion, width, 1, 3, True))
    return out
