"""What the families share: the input scaling, activations and normalisations under their published names."""
from arcface_mxnet.recognition.networks.registry import NetworkSettings
from arcface_mxnet.runtime.mx import mx

RESNET_EPS = 2e-5  # the mobile families keep MXNet's own 1e-3 (docs/original.md, section 2.1)


def image(settings: NetworkSettings, identity: bool = False) -> "mx.sym.Symbol":
    """The variable `data` (n, 3, h, w), cast for fp16, copied by a node `id` where the family has it."""
    data = mx.sym.Variable("data")
    if settings.fp16:
        data = mx.sym.Cast(data, dtype="float16")
    return mx.sym.identity(data, name="id") if identity else data


def scaled(data: "mx.sym.Symbol") -> "mx.sym.Symbol":
    """(x - 127.5) / 128: raw 0..255 comes in, scaling is part of the graph (docs/original.md, section 2.1)."""
    return (data - 127.5) * 0.0078125


def full_precision(data: "mx.sym.Symbol", settings: NetworkSettings) -> "mx.sym.Symbol":
    """Back to float32 where an fp16 network leaves half precision."""
    return mx.sym.Cast(data, dtype="float32") if settings.fp16 else data


def activation(data: "mx.sym.Symbol", name: str, settings: NetworkSettings) -> "mx.sym.Symbol":
    """PReLU with one slope a channel (`<name>_gamma`, which MXNet starts at 0.25), or any plain activation."""
    if settings.net_act == "prelu":
        return mx.sym.LeakyReLU(data, act_type="prelu", name=name)
    return mx.sym.Activation(data, act_type=settings.net_act, name=name)


def norm(data: "mx.sym.Symbol", name: str, settings: NetworkSettings, fix_gamma: bool = False) -> "mx.sym.Symbol":
    """BatchNorm as the ResNet family and all heads have it (eps 2e-5)."""
    return mx.sym.BatchNorm(data, fix_gamma=fix_gamma, eps=RESNET_EPS, momentum=settings.bn_mom, name=name)
