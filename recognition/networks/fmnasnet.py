"""fmnasnet: MNasNet for 112x112 faces, mnas, mnas05, mnas025, named as Gluon does (docs/original.md, section 2.6)."""
from typing import Tuple

from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.recognition.networks.embedding_output import embedding_output
from arcface_mxnet.recognition.networks.gluon_layers import GluonLayers
from arcface_mxnet.recognition.networks.layers import full_precision, image, scaled
from arcface_mxnet.recognition.networks.registry import NetworkSettings, register

PREFIX = "mnasnet0_"
# expansion, width, repeats, stride, kernel of the first block, prefix
SEQUENCES = ((3, 24, 3, 2, 3, "stage2_"), (3, 40, 3, 2, 5, "stage3_"), (6, 80, 3, 2, 5, "stage4_1_"),
             (6, 96, 2, 1, 3, "stage4_2_"), (6, 192, 4, 2, 5, "stage5_1_"), (6, 320, 1, 1, 3, "stage5_2_"))
LAST = 1024


@register("fmnasnet")
def fmnasnet(settings: NetworkSettings) -> sym.Symbol:
    """Sequences of expanded depthwise blocks; each PReLU has one slope for all its channels, as Gluon's has."""
    times, momentum = settings.net_multiplier, settings.bn_mom
    stem, channels = int(32 * times), int(16 * times)
    body = _convolved(scaled(image(settings)), f"{PREFIX}stage1_conv0_", momentum, (stem, 3, 1, 1))
    body = _convolved(body, f"{PREFIX}stage1_sepconv0_", momentum, (stem, 3, 1, stem), (channels, 1, 1, 1))
    for expansion, base, repeats, stride, kernel, name in SEQUENCES:
        width = int(base * times)
        body = _expanded(body, f"{PREFIX}{name}expandedconv0_", momentum, channels * expansion, width, stride, kernel)
        for index in range(1, repeats):  # the first has the stride and the kernel and no residual
            prefix = f"{PREFIX}{name}expandedconv{index}_"
            out = _expanded(body, prefix, momentum, width * expansion, width, 1, 3)
            body = sym.elemwise_add(out, body, name=f"{prefix}elemwise_add0")
        channels = width
    last = int(LAST * times)
    body = _convolved(body, f"{PREFIX}stage5_3_", momentum, (last, 1, 1, 1))
    return embedding_output(full_precision(body, settings), settings, channels=last)


def _expanded(data: sym.Symbol, prefix: str, momentum: float, inner: int, width: int, stride: int,
              kernel: int) -> sym.Symbol:
    """1x1 up to `inner` channels, depthwise, 1x1 down to `width` without an activation."""
    body = _convolved(data, f"{prefix}expand_", momentum, (inner, 1, 1, 1))
    body = _convolved(body, f"{prefix}dwise_", momentum, (inner, kernel, stride, inner))
    return _convolved(body, f"{prefix}linear_", momentum, (width, 1, 1, 1), active=False)


def _convolved(data: sym.Symbol, prefix: str, momentum: float, *sizes: Tuple[int, int, int, int],
               active: bool = True) -> sym.Symbol:
    """Layers (width, kernel, stride, groups), each convolution without bias, BatchNorm and PReLU, under one prefix."""
    layers = GluonLayers(prefix)
    for width, kernel, stride, groups in sizes:
        data = layers.norm(layers.convolution(data, width, kernel, stride, kernel // 2, groups), momentum)
        if active:
            data = layers.prelu(data)
    return data
