"""What the families share: the input scaling, activations and normalisations under their published names."""
from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.recognition.networks.registry import NetworkSettings

RESNET_EPS = 2e-5  # the mobile families keep MXNet's own 1e-3 (docs/original.md, section 2.1)


def image(settings: NetworkSettings, identity: bool = False) -> sym.Symbol:
    """The variable `data` (n, 3, h, w), cast for fp16, copied by a node `id` where the family has it."""
    data = sym.Variable("data")
    if settings.fp16:
        data = sym.Cast(data, dtype="float16")
    return sym.identity(data, name="id") if identity else data


def scaled(data: sym.Symbol) -> sym.Symbol:
    """(x - 127.5) / 128: raw 0..255 comes in, scaling is part of the graph (docs/original.md, section 2.1)."""
    return (data - 127.5) * 0.0078125


def full_precision(data: sym.Symbol, settings: NetworkSettings) -> sym.Symbol:
    """Back to float32 where an fp16 network leaves half precision."""
    return sym.Cast(data, dtype="float32") if settings.fp16 else data


def activation(data: sym.Symbol, name: str, settings: NetworkSettings) -> sym.Symbol:
    """PReLU with one slope a channel (`<name>_gamma`, which MXNet starts at 0.25), or any plain activation."""
    if settings.net_act == "prelu":
        return sym.LeakyReLU(data, act_type="prelu", name=name)
    return sym.Activation(data, act_type=settings.net_act, name=name)


def norm(data: sym.Symbol, name: str, settings: NetworkSettings, fix_gamma: bool = False) -> sym.Symbol:
    """BatchNorm as the ResNet family and all heads have it (eps 2e-5)."""
    return sym.BatchNorm(data, fix_gamma=fix_gamma, eps=RESNET_EPS, momentum=settings.bn_mom, name=name)
