"""The settings of a network, the register of families, and the one function that builds."""
from dataclasses import dataclass
from typing import Callable, Dict, List, Tuple

from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.runtime.errors import InputError, unknown
from arcface_mxnet.runtime.sections import check, setting


@dataclass(frozen=True)
class NetworkSettings:
    """Everything that shapes a network. Keys and defaults: docs/original.md, section 4.2."""

    net_name: str = setting("fresnet", "network family")
    num_layers: int = setting(50, "depth, for families that come in several")
    emb_size: int = setting(512, "length of an embedding", least=1)
    net_output: str = setting("E", "output: what makes the embedding of the last feature map")
    net_unit: int = setting(3, "residual unit")
    net_input: int = setting(1, "1: keep the size in the first layer; 0: halve it")
    net_se: int = setting(0, "1: squeeze and excitation")
    net_act: str = setting("prelu", "activation")
    net_blocks: Tuple[int, ...] = setting((1, 4, 6, 2), "blocks of each stage of MobileFaceNet")
    net_multiplier: float = setting(1.0, "width; 1 is the published graph of every family but vargfacenet (1.25)")
    densenet_dropout: float = setting(0.0, "share of DenseNet's features that are dropped")
    bn_mom: float = setting(0.9, "share of the old value in BatchNorm's running statistics")
    workspace: int = setting(256, "megabytes for a convolution; recorded as in the original")
    fp16: bool = setting(False, "half precision; resolved with that of the precision section")
    image_shape: Tuple[int, int, int] = setting((112, 112, 3), "height, width, channels")

    def __post_init__(self) -> None:
        """Refuse values no family can build, naming the key."""
        check(self)
        if not self.net_multiplier > 0:
            raise InputError(f"net_multiplier {self.net_multiplier}: must be above 0")
        if not 0 <= self.densenet_dropout < 1:
            raise InputError(f"densenet_dropout {self.densenet_dropout}: must be in [0, 1)")
        if not 0 <= self.bn_mom < 1:
            raise InputError(f"bn_mom {self.bn_mom}: must be in [0, 1)")
        if len(self.image_shape) != 3 or min(self.image_shape) < 1:
            raise InputError(f"image_shape {self.image_shape}: must be height, width, channels")

    @property
    def input_shape(self) -> Tuple[int, int, int, int]:
        """The shape of one image as the network takes it: (1, channels, height, width)."""
        height, width, channels = self.image_shape
        return (1, channels, height, width)


Builder = Callable[[NetworkSettings], sym.Symbol]
_FAMILIES: Dict[str, Builder] = {}


def register(name: str) -> Callable[[Builder], Builder]:
    """Register a function `(NetworkSettings) -> Symbol` as the family `name` (the key net_name)."""
    def keep(builder: Builder) -> Builder:
        _FAMILIES[name] = builder
        return builder
    return keep


def families() -> List[str]:
    """The names of all registered families, sorted."""
    return sorted(_FAMILIES)


def build(settings: NetworkSettings) -> sym.Symbol:
    """The embedding graph: `data` (n, 3, h, w) float32 RGB 0..255 in, the embedding `fc1_output` (n, emb_size) out.

    Automatic names start at zero on every call, so a graph does not depend on what was built before it in the process.
    Raises InputError on an unknown family or a setting the family does not have.
    """
    if settings.net_name not in _FAMILIES:
        raise unknown("network family", settings.net_name, families())
    with sym.NameManager():
        return _FAMILIES[settings.net_name](settings)
