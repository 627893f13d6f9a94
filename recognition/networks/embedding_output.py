"""Feature map to embedding: the output types of the original, by their letters (docs/original.md, section 2.2)."""
from typing import Callable, Dict

from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.recognition.networks.layers import activation, norm
from arcface_mxnet.recognition.networks.registry import NetworkSettings
from arcface_mxnet.runtime.errors import unknown

Symbol = sym.Symbol
_Output = Callable[[sym.Symbol, NetworkSettings, int], sym.Symbol]


def embedding_output(body: sym.Symbol, settings: NetworkSettings, channels: int = 512) -> sym.Symbol:
    """Put the output type `settings.net_output` on a feature map (n, c, 7, 7); the result is (n, emb_size).

    `channels` is what GDC takes for the groups of its 7x7 convolution; the original leaves it at 512 for fmobilenet
    too, whose map has 1,024 (so its weight is (512, 2, 7, 7)). Raises InputError on an unknown letter.
    """
    known = output_types()
    if settings.net_output not in known:
        raise unknown("net_output", settings.net_output, list(known))
    return known[settings.net_output](body, settings, channels)


def output_types() -> Dict[str, _Output]:
    """Every output type: those of the last code, and A to D of 2018 (a second letter X: dropout 0.2 before the FC)."""
    outputs: Dict[str, _Output] = {
        "E": lambda body, s, c: _embed(_dropped(norm(body, "bn1", s)), s),
        "FC": lambda body, s, c: _embed(norm(body, "bn1", s), s),
        "I": lambda body, s, c: _embed(norm(body, "bn1", s), s),
        "J": lambda body, s, c: _embed(body, s),
        "F": lambda body, s, c: _dense(_dropped(norm(body, "bn1", s)), s, "fc1"),
        "G": lambda body, s, c: _dense(norm(body, "bn1", s), s, "fc1"),
        "H": lambda body, s, c: _dense(body, s, "fc1"),
        "Z": lambda body, s, c: _dropped(norm(body, "bn1", s)),
        "GDC": _depthwise, "GAP": _global_average, "GNAP": _norm_aware, "SFC": _strided,
    }
    for letter in "ABCD":
        for extra in ("", "X"):
            outputs[letter + extra] = _of_2018
    return outputs


def _dense(body: sym.Symbol, settings: NetworkSettings, name: str = "pre_fc1") -> sym.Symbol:
    return sym.FullyConnected(body, num_hidden=settings.emb_size, name=name)


def _embed(body: sym.Symbol, settings: NetworkSettings) -> sym.Symbol:
    return _final_norm(_dense(body, settings), settings)


def _final_norm(body: sym.Symbol, settings: NetworkSettings) -> sym.Symbol:
    return norm(body, "fc1", settings, fix_gamma=True)


def _dropped(body: sym.Symbol, share: float = 0.4) -> sym.Symbol:
    return sym.Dropout(body, p=share)


def _average(body: sym.Symbol, name: str) -> sym.Symbol:
    return sym.Pooling(body, global_pool=True, kernel=(7, 7), pool_type="avg", name=name)


def _depthwise(body: sym.Symbol, settings: NetworkSettings, channels: int) -> sym.Symbol:
    body = sym.Convolution(body, num_filter=channels, kernel=(7, 7), num_group=channels, stride=(1, 1), pad=(0, 0),
                              no_bias=True, name="conv_6dw7_7_conv2d")
    body = sym.BatchNorm(body, fix_gamma=False, momentum=settings.bn_mom, name="conv_6dw7_7_batchnorm")
    return _embed(body, settings)


def _global_average(body: sym.Symbol, settings: NetworkSettings, channels: int) -> sym.Symbol:
    body = _average(activation(norm(body, "bn1", settings), "relu1", settings), "pool1")
    return _embed(sym.Flatten(body), settings)


def _norm_aware(body: sym.Symbol, settings: NetworkSettings, channels: int) -> sym.Symbol:
    if settings.emb_size > channels:
        body = sym.Convolution(body, num_filter=settings.emb_size, kernel=(1, 1), stride=(1, 1), pad=(0, 0),
                                  no_bias=True, name="convx")
        body = activation(norm(body, "convx_bn", settings), "convx_relu", settings)
    body = norm(body, "bn6f", settings, fix_gamma=True)
    length = sym.sqrt(sym.sum(body * body, axis=1, keepdims=True))
    mean = sym.mean(length, keepdims=True)  # over the whole batch, as the original has it
    body = sym.broadcast_mul(body, sym.broadcast_div(mean, length))
    body = sym.Pooling(body, global_pool=True, kernel=(7, 7), pool_type="avg")
    if settings.emb_size < channels:
        return _embed(norm(body, "bn6w", settings, fix_gamma=True), settings)
    return _final_norm(sym.Flatten(body), settings)


def _strided(body: sym.Symbol, settings: NetworkSettings, channels: int) -> sym.Symbol:
    body = norm(body, "bn1", settings)
    body = sym.Convolution(body, num_filter=channels, num_group=channels, kernel=(3, 3), stride=(2, 2), pad=(1, 1),
                              no_bias=True, name="convf")
    body = activation(norm(body, "bnf", settings), "reluf", settings)
    body = sym.Convolution(body, num_filter=channels, kernel=(1, 1), stride=(1, 1), pad=(0, 0), name="convf2")
    return _embed(activation(norm(body, "bnf2", settings), "reluf2", settings), settings)


def _of_2018(body: sym.Symbol, settings: NetworkSettings, channels: int) -> sym.Symbol:
    letter, drop = settings.net_output[0], settings.net_output.endswith("X")
    body = _average(activation(norm(body, "bn1", settings), "relu1", settings), "pool1")
    if drop:
        body = _dropped(body, 0.2)
    if letter == "A":
        return sym.Flatten(body, name="fc1")
    body = _dense(sym.Flatten(body), settings, "fc1" if letter == "B" else "pre_fc1")
    if letter == "B":
        return body
    body = _final_norm(body, settings)
    return activation(body, "fc1_relu", settings) if letter == "D" else body
