"""fresnet: the paper's improved residual networks, LResNet18E-IR to LResNet269E-IR (docs/original.md, section 2.3)."""
from typing import Callable, Dict, Tuple

from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.recognition.networks.embedding_output import embedding_output
from arcface_mxnet.recognition.networks.layers import activation, full_precision, image, norm, scaled
from arcface_mxnet.recognition.networks.registry import NetworkSettings, register
from arcface_mxnet.runtime.errors import InputError, unknown

UNITS: Dict[int, Tuple[int, int, int, int]] = {
    10: (1, 1, 1, 1),  # ours, for small demonstrations; the original starts at 18
    18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 49: (3, 4, 14, 3), 50: (3, 4, 14, 3), 74: (3, 6, 24, 3), 90: (3, 8, 30, 3),
    98: (3, 4, 38, 3), 99: (3, 8, 35, 3), 100: (3, 13, 30, 3), 101: (3, 4, 23, 3), 124: (3, 13, 40, 5),
    134: (3, 10, 50, 3), 136: (3, 13, 48, 3), 140: (3, 15, 48, 3), 152: (3, 8, 36, 3), 160: (3, 24, 49, 3),
    200: (3, 24, 36, 3), 269: (3, 30, 48, 8),
}
WIDTHS = (64, 128, 256, 512)
STEM_WIDTH = 64
WIDTH_STEP = 8  # narrower networks keep widths that oneDNN's blocked layout takes
SQUEEZE = 16

Unit = Callable[[sym.Symbol, str, int, int, bool, NetworkSettings], sym.Symbol]


@register("fresnet")
def fresnet(settings: NetworkSettings) -> sym.Symbol:
    """Stem, four stages whose first unit halves the map (112 to 7), and the output type `net_output`.

    `net_multiplier` scales every width (to multiples of 8), our extension; 1.0 is the published graph.
    """
    if settings.num_layers not in UNITS:
        raise unknown("num_layers of fresnet", str(settings.num_layers), [str(depth) for depth in UNITS])
    if settings.net_unit not in _RESIDUALS:
        raise unknown("net_unit", str(settings.net_unit), [str(unit) for unit in _RESIDUALS])
    unit = _RESIDUALS[settings.net_unit]
    body = _stem(settings)
    for stage, (count, width) in enumerate(zip(UNITS[settings.num_layers], WIDTHS), start=1):
        if stage == len(WIDTHS):
            body = full_precision(body, settings)  # the last stage is float32 in an fp16 network
        scaled_width = _scaled_width(width, settings)
        for index in range(1, count + 1):
            first = index == 1
            body = unit(body, f"stage{stage}_unit{index}", scaled_width, 2 if first else 1, first, settings)
    return embedding_output(body, settings)


def _scaled_width(width: int, settings: NetworkSettings) -> int:
    return max(WIDTH_STEP, int(width * settings.net_multiplier) // WIDTH_STEP * WIDTH_STEP)


def _stem(settings: NetworkSettings) -> sym.Symbol:
    """Input 1: scaled image and 3x3 convolution; 0: 7x7 at stride 2; 2: a BatchNorm in place of the scaling."""
    if settings.net_input not in (0, 1, 2):
        raise InputError(f"net_input {settings.net_input}: fresnet has 0, 1 and 2")
    width = _scaled_width(STEM_WIDTH, settings)
    if settings.net_input == 2:
        data = norm(image(settings), "bn_data", settings, fix_gamma=True)
    else:
        data = scaled(image(settings, identity=True))
    if settings.net_input == 0:
        body = sym.Convolution(data, num_filter=width, kernel=(7, 7), stride=(2, 2), pad=(3, 3), no_bias=True,
                                  workspace=settings.workspace, name="conv0")
    else:
        body = _conv3(data, "conv0", width, 1, settings)
    return activation(norm(body, "bn0", settings), "relu0", settings)


def _conv3(data: sym.Symbol, name: str, width: int, stride: int, settings: NetworkSettings) -> sym.Symbol:
    return sym.Convolution(data, num_filter=width, kernel=(3, 3), stride=(stride, stride), pad=(1, 1), no_bias=True,
                              workspace=settings.workspace, name=name)


def _projection(data: sym.Symbol, name: str, width: int, stride: int,
                settings: NetworkSettings) -> sym.Symbol:
    return sym.Convolution(data, num_filter=width, kernel=(1, 1), stride=(stride, stride), no_bias=True,
                              workspace=settings.workspace, name=name)


def _shortcut(data: sym.Symbol, name: str, width: int, stride: int, projected: bool,
              settings: NetworkSettings) -> sym.Symbol:
    if not projected:
        return data
    return norm(_projection(data, f"{name}_conv1sc", width, stride, settings), f"{name}_sc", settings)


def _squeezed(body: sym.Symbol, name: str, width: int, settings: NetworkSettings) -> sym.Symbol:
    """Squeeze and excitation: channels weighed by a small network on their means; only with net_se."""
    if not settings.net_se:
        return body
    weight = sym.Pooling(body, global_pool=True, kernel=(7, 7), pool_type="avg", name=f"{name}_se_pool1")
    weight = sym.Convolution(weight, num_filter=width // SQUEEZE, kernel=(1, 1), stride=(1, 1), pad=(0, 0),
                                workspace=settings.workspace, name=f"{name}_se_conv1")
    weight = activation(weight, f"{name}_se_relu1", settings)
    weight = sym.Convolution(weight, num_filter=width, kernel=(1, 1), stride=(1, 1), pad=(0, 0),
                                workspace=settings.workspace, name=f"{name}_se_conv2")
    weight = sym.Activation(weight, act_type="sigmoid", name=f"{name}_se_sigmoid")
    return sym.broadcast_mul(body, weight)


def _unit1(data: sym.Symbol, name: str, width: int, stride: int, projected: bool,
           settings: NetworkSettings) -> sym.Symbol:
    """Convolutions before their normalisations, an activation after the sum (the plain residual unit)."""
    first, second = (stride, 1) if settings.net_input == 0 else (1, stride)
    body = norm(_conv3(data, f"{name}_conv1", width, first, settings), f"{name}_bn1", settings)
    body = activation(body, f"{name}_relu1", settings)
    body = norm(_conv3(body, f"{name}_conv2", width, second, settings), f"{name}_bn2", settings)
    body = _squeezed(body, name, width, settings)
    total = body + _shortcut(data, name, width, stride, projected, settings)
    return activation(total, f"{name}_relu3", settings)


def _unit2(data: sym.Symbol, name: str, width: int, stride: int, projected: bool,
           settings: NetworkSettings) -> sym.Symbol:
    """Normalisation and activation before each convolution; the projection takes the activated input."""
    active = activation(norm(data, f"{name}_bn1", settings), f"{name}_relu1", settings)
    body = norm(_conv3(active, f"{name}_conv1", width, stride, settings), f"{name}_bn2", settings)
    body = activation(body, f"{name}_relu2", settings)
    body = _squeezed(_conv3(body, f"{name}_conv2", width, 1, settings), name, width, settings)
    return body + (_projection(active, f"{name}_sc", width, stride, settings) if projected else data)


def _unit3(data: sym.Symbol, name: str, width: int, stride: int, projected: bool,
           settings: NetworkSettings) -> sym.Symbol:
    """The paper's unit (its figure of the "IR" block): BN, 3x3, BN, PReLU, 3x3 at the stride, BN; nothing after."""
    body = _conv3(norm(data, f"{name}_bn1", settings), f"{name}_conv1", width, 1, settings)
    body = activation(norm(body, f"{name}_bn2", settings), f"{name}_relu1", settings)
    body = norm(_conv3(body, f"{name}_conv2", width, stride, settings), f"{name}_bn3", settings)
    return _squeezed(body, name, width, settings) + _shortcut(data, name, width, stride, projected, settings)


_RESIDUALS: Dict[int, Unit] = {1: _unit1, 2: _unit2, 3: _unit3}


# Ours, for tables of many runs on two cores: three plain convolutions on 32x32 images. No published counterpart.


SMALL_WIDTHS = (24, 48, 96)


@register("fsmall")
def fsmall(settings: NetworkSettings) -> sym.Symbol:
    """Three times convolution 3x3, norm, activation and 2x2 maximum; then the output type `net_output`."""
    layer = scaled(image(settings))
    for number, width in enumerate(SMALL_WIDTHS, 1):
        layer = sym.Convolution(layer, kernel=(3, 3), pad=(1, 1), no_bias=True, name=f"conv{number}",
                                   num_filter=max(1, int(width * settings.net_multiplier)))
        layer = activation(norm(layer, f"bn{number}_", settings), f"act{number}", settings)
        layer = sym.Pooling(layer, kernel=(2, 2), stride=(2, 2), pool_type="max", name=f"pool{number}")
    return embedding_output(layer, settings)
