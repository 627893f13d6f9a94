"""The settings of a network, the register of families, and the one function that builds."""
from dataclasses import dataclass
from typing import Callable, Dict, List, Tuple

from arcface_mxnet.runtime.errors import InputError, unknown
from arcface_mxnet.runtime.mx import mx


@dataclass(frozen=True)
class NetworkSettings:
    """Everything that shapes a network. Keys and defaults: docs/original.md, section 4.2."""

    net_name: str = "fresnet"
    num_layers: int = 50
    emb_size: int = 512
    net_output: str = "E"
    net_unit: int = 3
    net_input: int = 1
    net_se: int = 0
    net_act: str = "prelu"
    net_blocks: Tuple[int, ...] = (1, 4, 6, 2)
    net_multiplier: float = 1.0  # width; 1.0 is the published graph of every family but vargfacenet (1.25)
    densenet_dropout: float = 0.0
    bn_mom: float = 0.9
    workspace: int = 256
    fp16: bool = False
    image_shape: Tuple[int, int, int] = (112, 112, 3)  # height, width, channels

    def __post_init__(self) -> None:
        """Refuse values no family can build, naming the key."""
        if self.emb_size < 1:
            raise InputError(f"emb_size {self.emb_size}: must be at least 1")
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


Builder = Callable[[NetworkSettings], "mx.sym.Symbol"]
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


def build(settings: NetworkSettings) -> "mx.sym.Symbol":
    """The embedding graph: `data` (n, 3, h, w) float32 RGB 0..255 in, the embedding `fc1_output` (n, emb_size) out.

    Automatic names start at zero on every call, so a graph does not depend on what was built before it in the process.
    Raises InputError on an unknown family or a setting the family does not have.
    """
    if settings.net_name not in _FAMILIES:
        raise unknown("network family", settings.net_name, families())
    with mx.name.NameManager():
        return _FAMILIES[settings.net_name](settings)
