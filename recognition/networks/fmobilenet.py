"""fmobilenet: MobileNet v1 for 112x112 faces, m1 and m05 (docs/original.md, section 2.5)."""
from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.recognition.networks.embedding_output import embedding_output
from arcface_mxnet.recognition.networks.fmobilefacenet import block
from arcface_mxnet.recognition.networks.layers import full_precision, image, scaled
from arcface_mxnet.recognition.networks.registry import NetworkSettings, register

BASE = 32
WIDTHS = (2, 4, 4, 8, 8, 16, 16, 16, 16, 16, 16, 32, 32)  # times the base, of the 1x1 convolutions conv_2 to conv_14
STRIDED = (3, 5, 7, 13)


@register("fmobilenet")
def fmobilenet(settings: NetworkSettings) -> sym.Symbol:
    """Thirteen pairs of a depthwise and a 1x1 convolution; every BatchNorm has a fixed scale.

    The output layer takes its default of 512 channels although m1 ends with 1,024, as the original does.
    """
    base = int(BASE * settings.net_multiplier)
    body = _fixed(scaled(image(settings)), "conv_1", base, 3, 1 if settings.net_input == 1 else 2, 1, settings)
    width = base
    for number, times in enumerate(WIDTHS, start=2):
        stride = 2 if number in STRIDED else 1
        body = _fixed(body, f"conv_{number}_dw", width, 3, stride, width, settings)
        width = base * times
        body = _fixed(body, f"conv_{number}", width, 1, 1, 1, settings)
    return embedding_output(full_precision(body, settings), settings)


def _fixed(data: sym.Symbol, name: str, width: int, side: int, stride: int, groups: int,
           settings: NetworkSettings) -> sym.Symbol:
    return block(data, name, width, side, stride, groups, settings, fix_gamma=True)
