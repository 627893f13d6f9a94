"""The register of MXNet's operators in PyTorch."""
from typing import Callable, Dict

from arcface_mxnet.engines.torch.attributes import Attributes

from torch import Tensor

Function = Callable[..., Tensor]
Maker = Callable[[Attributes], Function]
OPERATORS: Dict[str, Maker] = {}


def operator(*names: str) -> Callable[[Maker], Maker]:
    """Make a function known as the maker of the operators `names`."""
    def add(maker: Maker) -> Maker:
        for name in names:
            if name in OPERATORS:
                raise ValueError(f"operator {name} is defined twice")
            OPERATORS[name] = maker
        return maker
    return add


def plain(*names: str) -> Callable[[Function], Function]:
    """Operators without attributes: the decorated function itself."""
    def add(function: Function) -> Function:
        operator(*names)(lambda attributes: function)
        return function
    return add
