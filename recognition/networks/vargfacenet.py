"""vargfacenet: variable group convolutions, eight channels a group (docs/original.md, section 2.8)."""
from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.recognition.networks.embedding_output import embedding_output
from arcface_mxnet.recognition.networks.layers import activation, full_precision, image, norm, scaled
from arcface_mxnet.recognition.networks.registry import NetworkSettings, register

GROUP = 8
SQUEEZE = 4
STEM = 32
STAGES = ((2, 3, 64), (3, 7, 128), (4, 4, 256))  # number, units, nominal width
EMBEDDED = 1024


@register("vargfacenet")
def vargfacenet(settings: NetworkSettings) -> sym.Symbol:
    """Head block, three stages of grouped separable units, 7x7 embedding block, and the output type `net_output`."""
    def wide(width: int) -> int:
        return int(width * settings.net_multiplier)

    width = wide(STEM)
    body = scaled(image(settings, identity=True))
    body = sym.Convolution(body, num_filter=width, kernel=(3, 3), stride=(1, 1), pad=(1, 1), no_bias=True,
                              name="vargface_head_conv1")
    body = activation(norm(body, "vargface_head_conv1_bn", settings), "vargface_head_conv1_act", settings)
    body = _normal(body, "vargface_head_head_pooling", width, width, 2, 1, settings)
    for stage, units, nominal in STAGES:
        for unit in range(1, units + 1):
            name = f"vargface_stage_{stage}_unit_{unit}"
            if unit == 1:
                body = _halving(body, name, width, wide(nominal), settings)
                width = wide(nominal)
            else:
                body = _normal(body, name, width, width, 1, 2, settings)
    return embedding_output(full_precision(_embedding(body, width, settings), settings), settings)


def _separable(data: sym.Symbol, name: str, channels: int, width: int, stride: int, factor: int,
               settings: NetworkSettings, active: bool) -> sym.Symbol:
    """A grouped 3x3 convolution to `factor` times the channels, then 1x1 to `width`; BatchNorm after each."""
    data = sym.Convolution(data, num_filter=channels * factor, kernel=(3, 3), stride=(stride, stride), pad=(1, 1),
                              num_group=channels // GROUP, no_bias=True, name=f"{name}_conv2d_depthwise")
    data = norm(data, f"{name}_conv2d_depthwise_bn", settings)
    data = activation(data, f"{name}_conv2d_depthwise_act", settings)
    data = sym.Convolution(data, num_filter=width, kernel=(1, 1), stride=(1, 1), pad=(0, 0), num_group=1,
                              no_bias=True, name=f"{name}_conv2d_pointwise")
    data = norm(data, f"{name}_conv2d_pointwise_bn", settings)
    return activation(data, f"{name}_conv2d_pointwise_act", settings) if active else data


def _normal(data: sym.Symbol, name: str, channels: int, width: int, stride: int, factor: int,
            settings: NetworkSettings) -> sym.Symbol:
    """Two separable units (the first may stride, then the shortcut is projected), squeeze and excitation by net_se."""
    body = _separable(data, f"{name}_sep1_data", channels, width, stride, factor, settings, active=True)
    body = _separable(body, f"{name}_sep2_data", width, width, 1, factor, settings, active=False)
    if settings.net_se:
        body = _squeezed(body, name, width, settings)
    shortcut = data
    if stride != 1 or channels != width:
        shortcut = _separable(data, f"{name}_shortcut", channels, width, stride, factor, settings, active=False)
    return activation(body + shortcut, f"{name}_out_data_act", settings)


def _halving(data: sym.Symbol, name: str, channels: int, width: int,
             settings: NetworkSettings) -> sym.Symbol:
    """Two parallel strided units summed, a third on their activation, and a strided shortcut."""
    def strided(part: str) -> sym.Symbol:
        return _separable(data, f"{name}_{part}", channels, width, 2, 2, settings, active=False)

    body = strided("sep1_data_branch") + strided("sep2_data_branch")
    body = activation(body, f"{name}_sep1_data_act", settings)
    body = _separable(body, f"{name}_sep2_data", width, width, 1, 2, settings, active=False)
    return activation(body + strided("shortcut"), f"{name}_out_data_act", settings)


def _squeezed(body: sym.Symbol, name: str, width: int, settings: NetworkSettings) -> sym.Symbol:
    weight = sym.Pooling(body, global_pool=True, kernel=(7, 7), pool_type="avg", name=f"{name}_se_pool1")
    weight = sym.Convolution(weight, num_filter=width // SQUEEZE, kernel=(1, 1), name=f"{name}_se_conv1")
    weight = activation(weight, f"{name}_se_relu1", settings)
    weight = sym.Convolution(weight, num_filter=width, kernel=(1, 1), name=f"{name}_se_conv2")
    return sym.broadcast_mul(body, sym.Activation(weight, act_type="sigmoid", name=f"{name}_se_sigmoid"))


def _embedding(body: sym.Symbol, width: int, settings: NetworkSettings) -> sym.Symbol:
    """1x1 to 1,024 channels, 7x7 in groups of eight, 1x1 to the embedding's size."""
    if width != EMBEDDED:
        body = sym.Convolution(body, num_filter=EMBEDDED, kernel=(1, 1), no_bias=True, name="embed_convx")
        body = activation(norm(body, "embed_convx_bn", settings), "embed_convx_act", settings)
    body = sym.Convolution(body, num_filter=EMBEDDED, kernel=(7, 7), num_group=EMBEDDED // GROUP, no_bias=True,
                              name="embed_convx_depthwise")
    body = norm(body, "embed_convx_depthwise_bn", settings)
    body = sym.Convolution(body, num_filter=settings.emb_size, kernel=(1, 1), no_bias=True,
                              name="embed_convx_pointwise")
    return activation(norm(body, "embed_convx_pointwise_bn", settings), "embed_convx_pointwise_act", settings)
