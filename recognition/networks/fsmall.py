"""Ours, for tables of many runs on two cores: three plain convolutions on 32x32 images. No published counterpart."""
from arcface_mxnet.recognition.networks.heads import head
from arcface_mxnet.recognition.networks.layers import activation, image, norm, scaled
from arcface_mxnet.recognition.networks.registry import NetworkSettings, register
from arcface_mxnet.runtime.mx import mx

WIDTHS = (24, 48, 96)


@register("fsmall")
def fsmall(settings: NetworkSettings) -> "mx.sym.Symbol":
    """Three times convolution 3x3, norm, activation and 2x2 maximum; then the head `net_output`."""
    layer = scaled(image(settings))
    for number, width in enumerate(WIDTHS, 1):
        layer = mx.sym.Convolution(layer, kernel=(3, 3), pad=(1, 1), no_bias=True, name=f"conv{number}",
                                   num_filter=max(1, int(width * settings.net_multiplier)))
        layer = activation(norm(layer, f"bn{number}_", settings), f"act{number}", settings)
        layer = mx.sym.Pooling(layer, kernel=(2, 2), stride=(2, 2), pool_type="max", name=f"pool{number}")
    return head(layer, settings)
