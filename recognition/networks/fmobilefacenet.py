"""fmobilefacenet: MobileFaceNet, released as y1 and y2 (docs/original.md, section 2.4)."""
from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.recognition.networks.embedding_output import embedding_output
from arcface_mxnet.recognition.networks.layers import activation, full_precision, image, scaled
from arcface_mxnet.recognition.networks.registry import NetworkSettings, register
from arcface_mxnet.runtime.errors import InputError

WIDTH_STEP = 8


@register("fmobilefacenet")
def fmobilefacenet(settings: NetworkSettings) -> sym.Symbol:
    """Bottlenecks with depthwise convolutions; four groups of residual blocks counted by `net_blocks`.

    `net_multiplier` scales every width (to multiples of 8), our own extension for small networks; 1.0 is the published
    graph.
    """
    if len(settings.net_blocks) != 4 or min(settings.net_blocks) < 0:
        raise InputError(f"net_blocks {settings.net_blocks}: fmobilefacenet needs four counts, as 1,4,6,2")

    def wide(width: int) -> int:
        return max(WIDTH_STEP, int(width * settings.net_multiplier) // WIDTH_STEP * WIDTH_STEP)

    second, third, fourth, fifth = settings.net_blocks
    body = scaled(image(settings))
    body = block(body, "conv_1", wide(64), 3, 2, 1, settings)
    if second == 1:
        body = block(body, "conv_2_dw", wide(64), 3, 1, wide(64), settings)
    else:
        body = _residuals(body, "res_2", second, wide(64), wide(64), settings)
    body = _bottleneck(body, "dconv_23", wide(128), wide(64), 2, settings)
    body = _residuals(body, "res_3", third, wide(128), wide(64), settings)
    body = _bottleneck(body, "dconv_34", wide(256), wide(128), 2, settings)
    body = _residuals(body, "res_4", fourth, wide(256), wide(128), settings)
    body = _bottleneck(body, "dconv_45", wide(512), wide(128), 2, settings)
    body = _residuals(body, "res_5", fifth, wide(256), wide(128), settings)
    body = block(body, "conv_6sep", wide(512), 1, 1, 1, settings)
    return embedding_output(full_precision(body, settings), settings, channels=wide(512))


def block(data: sym.Symbol, name: str, width: int, side: int, stride: int, groups: int,
          settings: NetworkSettings, active: bool = True, fix_gamma: bool = False) -> sym.Symbol:
    """Convolution without bias, BatchNorm with MXNet's own eps 1e-3, and the activation unless `active` is False."""
    pad = side // 2
    data = sym.Convolution(data, num_filter=width, kernel=(side, side), num_group=groups, stride=(stride, stride),
                              pad=(pad, pad), no_bias=True, name=f"{name}_conv2d")
    data = sym.BatchNorm(data, fix_gamma=fix_gamma, momentum=settings.bn_mom, name=f"{name}_batchnorm")
    return activation(data, f"{name}_relu", settings) if active else data


def _bottleneck(data: sym.Symbol, name: str, groups: int, width: int, stride: int,
                settings: NetworkSettings) -> sym.Symbol:
    body = block(data, f"{name}_conv_sep", groups, 1, 1, 1, settings)
    body = block(body, f"{name}_conv_dw", groups, 3, stride, groups, settings)
    return block(body, f"{name}_conv_proj", width, 1, 1, 1, settings, active=False)


def _residuals(data: sym.Symbol, name: str, count: int, groups: int, width: int,
               settings: NetworkSettings) -> sym.Symbol:
    for index in range(count):
        data = _bottleneck(data, f"{name}_block{index}", groups, width, 1, settings) + data
    return data
