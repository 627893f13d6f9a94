"""Arithmetic, comparisons and casts, element by element."""
from typing import Any, Tuple

from arcface_mxnet.engines.torch.attributes import Attributes
from arcface_mxnet.engines.torch.operators.register import Function, Maker, operator, plain

import torch
from torch import Tensor

TYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32, "float64": torch.float64}
_PLAIN: Tuple[Tuple[Tuple[str, ...], Function], ...] = (
    (("elemwise_add", "broadcast_add"), torch.add), (("elemwise_sub", "broadcast_sub"), torch.sub),
    (("elemwise_mul", "broadcast_mul"), torch.mul), (("elemwise_div", "broadcast_div"), torch.div),
    (("_maximum",), torch.maximum), (("_minimum",), torch.minimum), (("exp",), torch.exp), (("log",), torch.log),
    (("sqrt",), torch.sqrt), (("square",), torch.square), (("sin",), torch.sin), (("cos",), torch.cos),
    (("arccos",), torch.acos), (("relu",), torch.relu), (("sigmoid",), torch.sigmoid), (("negative",), torch.neg),
    (("BlockGrad",), Tensor.detach), (("ones_like",), torch.ones_like), (("zeros_like",), torch.zeros_like))
for _names, _function in _PLAIN:
    plain(*_names)(_function)


@plain("_copy")
def _same(x: Tensor) -> Tensor:
    return x


@plain("floor")
def _floor(x: Tensor) -> Tensor:
    return torch.floor(x.detach())


@plain("where")
def _where(condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """A condition with one axis fewer chooses whole rows."""
    if condition.dim() < x.dim():
        condition = condition.reshape(-1, *[1] * (x.dim() - 1))
    return torch.where(condition != 0, x, y)


def _compared(compare: Function) -> Function:
    """0 or 1 in the type of what is compared; no gradient."""
    def run(x: Tensor, y: Any) -> Tensor:
        return compare(x, y).to(x.dtype)
    return run


_COMPARISONS: Tuple[Tuple[str, Function], ...] = (
    ("lesser", torch.lt), ("greater", torch.gt), ("equal", torch.eq), ("not_equal", torch.ne),
    ("lesser_equal", torch.le), ("greater_equal", torch.ge))
for _name, _function in _COMPARISONS:
    plain(f"_{_name}", f"broadcast_{_name}")(_compared(_function))


def _rsub(x: Tensor, scalar: float) -> Tensor:
    return scalar - x


def _rdiv(x: Tensor, scalar: float) -> Tensor:
    return scalar / x


def _at_least(x: Tensor, scalar: float) -> Tensor:
    """clamp, not maximum: its slope is 1 at the limit too."""
    return torch.clamp(x, min=scalar)


def _at_most(x: Tensor, scalar: float) -> Tensor:
    return torch.clamp(x, max=scalar)


def _with_scalar(function: Function) -> Maker:
    def maker(attributes: Attributes) -> Function:
        scalar = attributes["scalar"]
        return lambda x: function(x, scalar)
    return maker


_WITH_SCALAR: Tuple[Tuple[str, Function], ...] = (
    ("plus", torch.add), ("minus", torch.sub), ("rminus", _rsub), ("mul", torch.mul), ("div", torch.div),
    ("rdiv", _rdiv), ("maximum", _at_least), ("minimum", _at_most),
    *((_name, _compared(_function)) for _name, _function in _COMPARISONS))
for _name, _function in _WITH_SCALAR:
    operator(f"_{_name}_scalar")(_with_scalar(_function))


@operator("clip")
def _clip(attributes: Attributes) -> Function:
    least, most = attributes["a_min"], attributes["a_max"]
    return lambda x: torch.clamp(x, least, most)


@operator("Cast", "amp_cast")
def _cast(attributes: Attributes) -> Function:
    attributes.only("dtype", *TYPES)
    wanted = TYPES[attributes["dtype"]]
    return lambda x: x.to(wanted)
