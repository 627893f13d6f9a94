"""fdensenet: DenseNet-BC for 112x112 faces, d121 to d201, from Gluon blocks (docs/original.md, section 2.7)."""
from typing import Dict, Tuple

from arcface_mxnet.recognition.networks.embedding_output import head
from arcface_mxnet.recognition.networks.layers import full_precision, image, scaled
from arcface_mxnet.recognition.networks.registry import NetworkSettings, register
from arcface_mxnet.runtime.errors import unknown
from arcface_mxnet.runtime.mx import mx

nn = mx.gluon.nn
# depth: first width, growth, layers of the four blocks
SPECIFICATIONS: Dict[int, Tuple[int, int, Tuple[int, int, int, int]]] = {
    121: (64, 32, (6, 12, 24, 16)), 161: (96, 48, (6, 12, 36, 24)),
    169: (64, 32, (6, 12, 32, 32)), 201: (64, 32, (6, 12, 48, 32)),
}
BOTTLENECK = 4


@register("fdensenet")
def fdensenet(settings: NetworkSettings) -> "mx.sym.Symbol":
    """Four dense blocks behind a 3x3 stem of stride 1; the map before the head is 7x7, not pooled."""
    if settings.num_layers not in SPECIFICATIONS:
        raise unknown("num_layers of fdensenet", str(settings.num_layers), [str(depth) for depth in SPECIFICATIONS])
    first, growth, blocks = SPECIFICATIONS[settings.num_layers]
    net = nn.HybridSequential(prefix="densenet0_")
    with net.name_scope():
        net.add(nn.Conv2D(first, kernel_size=3, strides=1, padding=1, use_bias=False))
        net.add(_norm(settings))
        net.add(nn.Activation("relu"))
        net.add(nn.MaxPool2D(pool_size=3, strides=2, padding=1))
        width = first
        for number, layers in enumerate(blocks, start=1):
            net.add(_dense_block(number, layers, growth, settings))
            width += layers * growth
            if number < len(blocks):
                width //= 2
                net.add(_transition(width, settings))
        net.add(_norm(settings))
        net.add(nn.Activation("relu"))
    return head(full_precision(net(scaled(image(settings))), settings), settings)


def _norm(settings: NetworkSettings) -> "mx.gluon.nn.BatchNorm":
    return nn.BatchNorm(momentum=settings.bn_mom)


def _dense_block(number: int, layers: int, growth: int, settings: NetworkSettings) -> "mx.gluon.nn.HybridSequential":
    block = nn.HybridSequential(prefix=f"stage{number}_")
    with block.name_scope():
        for _ in range(layers):
            block.add(_dense_layer(growth, settings))
    return block


def _dense_layer(growth: int, settings: NetworkSettings) -> "mx.gluon.nn.HybridSequential":
    """The input beside `growth` new channels."""
    new = nn.HybridSequential(prefix="")
    new.add(_norm(settings), nn.PReLU(), nn.Conv2D(BOTTLENECK * growth, kernel_size=1, use_bias=False))
    new.add(_norm(settings), nn.PReLU(), nn.Conv2D(growth, kernel_size=3, padding=1, use_bias=False))
    if settings.densenet_dropout:
        new.add(nn.Dropout(settings.densenet_dropout))
    out = mx.gluon.contrib.nn.HybridConcurrent(axis=1, prefix="")
    out.add(mx.gluon.contrib.nn.Identity())
    out.add(new)
    return out


def _transition(width: int, settings: NetworkSettings) -> "mx.gluon.nn.HybridSequential":
    out = nn.HybridSequential(prefix="")
    out.add(_norm(settings), nn.PReLU(), nn.Conv2D(width, kernel_size=1, use_bias=False))
    out.add(nn.AvgPool2D(pool_size=2, strides=2))
    return out
