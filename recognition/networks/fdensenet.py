"""fdensenet: DenseNet-BC for 112x112 faces, d121 to d201, named as Gluon does (docs/original.md, section 2.7)."""
from typing import Dict, Tuple

from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.recognition.networks.embedding_output import embedding_output
from arcface_mxnet.recognition.networks.gluon_layers import GluonLayers
from arcface_mxnet.recognition.networks.layers import full_precision, image, scaled
from arcface_mxnet.recognition.networks.registry import NetworkSettings, register
from arcface_mxnet.runtime.errors import unknown

PREFIX = "densenet0_"
# depth: first width, growth, layers of the four blocks
SPECIFICATIONS: Dict[int, Tuple[int, int, Tuple[int, int, int, int]]] = {
    121: (64, 32, (6, 12, 24, 16)), 161: (96, 48, (6, 12, 36, 24)),
    169: (64, 32, (6, 12, 32, 32)), 201: (64, 32, (6, 12, 48, 32)),
}
BOTTLENECK = 4


@register("fdensenet")
def fdensenet(settings: NetworkSettings) -> sym.Symbol:
    """Four dense blocks behind a 3x3 stem of stride 1; the map before the output layer is 7x7, not pooled."""
    if settings.num_layers not in SPECIFICATIONS:
        raise unknown("num_layers of fdensenet", str(settings.num_layers), [str(depth) for depth in SPECIFICATIONS])
    first, growth, blocks = SPECIFICATIONS[settings.num_layers]
    layers = GluonLayers(PREFIX)
    body = layers.convolution(scaled(image(settings)), first, 3, pad=1)
    body = layers.pool(layers.relu(layers.norm(body, settings.bn_mom)), "max", 3, 2, 1)
    width = first
    for number, count in enumerate(blocks, start=1):
        body = _dense_block(body, number, count, growth, settings)
        width += count * growth
        if number < len(blocks):
            width //= 2
            body = layers.convolution(layers.prelu(layers.norm(body, settings.bn_mom)), width, 1)
            body = layers.pool(body, "avg", 2, 2)
    body = layers.relu(layers.norm(body, settings.bn_mom))
    return embedding_output(full_precision(body, settings), settings)


def _dense_block(body: sym.Symbol, number: int, count: int, growth: int, settings: NetworkSettings) -> sym.Symbol:
    """`count` times the input beside `growth` new channels."""
    layers = GluonLayers(f"{PREFIX}stage{number}_")
    for _ in range(count):
        new = layers.convolution(layers.prelu(layers.norm(body, settings.bn_mom)), BOTTLENECK * growth, 1)
        new = layers.convolution(layers.prelu(layers.norm(new, settings.bn_mom)), growth, 3, pad=1)
        if settings.densenet_dropout:
            new = layers.dropout(new, settings.densenet_dropout)
        body = sym.concat(body, new, dim=1, name=layers.name("concat"))
    return body
