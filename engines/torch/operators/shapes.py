"""Shapes, and constants of a shape."""
import math
from typing import List, Sequence

from arcface_mxnet.engines.torch.attributes import Attributes
from arcface_mxnet.engines.torch.operators.register import Function, operator, plain

import torch
from torch import Tensor


@plain("Flatten")
def _flat(x: Tensor) -> Tensor:
    return x.reshape(x.shape[0], -1)


@operator("broadcast_like")
def _broadcast_like(attributes: Attributes) -> Function:
    attributes.only("lhs_axes", None)
    attributes.only("rhs_axes", None)
    return lambda x, like: x.expand(like.shape)


@operator("Reshape")
def _reshape(attributes: Attributes) -> Function:
    shape, reverse = attributes["shape"], attributes["reverse"]
    attributes.only("target_shape", ())
    if not shape or min(shape) < -1:
        raise attributes.refused(f"shape={shape}")
    return lambda x: x.reshape(_filled(shape, tuple(x.shape), reverse))


def _filled(shape: Sequence[int], given: Sequence[int], reverse: bool) -> List[int]:
    """`shape` with each 0 replaced by the size at the same place of `given`, counted from the end if `reverse`."""
    offset = len(given) - len(shape) if reverse else 0
    return [given[place + offset] if size == 0 else size for place, size in enumerate(shape)]


@operator("expand_dims")
def _expand_dims(attributes: Attributes) -> Function:
    axis = attributes["axis"]
    return lambda x: x.unsqueeze(axis)


@operator("broadcast_to")
def _broadcast_to(attributes: Attributes) -> Function:
    shape = attributes["shape"]
    return lambda x: x.expand(_filled(shape, tuple(x.shape), False))


@operator("Concat")
def _concat(attributes: Attributes) -> Function:
    axis = attributes["dim"]
    return lambda *parts: torch.cat(parts, axis)


@operator("stack")
def _stack(attributes: Attributes) -> Function:
    axis = attributes["axis"]
    return lambda *parts: torch.stack(parts, axis)


@operator("slice_axis")
def _slice_axis(attributes: Attributes) -> Function:
    axis, begin, end = attributes["axis"], attributes["begin"], attributes["end"]

    def run(x: Tensor) -> Tensor:
        first, last, _ = slice(begin, end).indices(x.shape[axis])
        return x.narrow(axis, first, last - first)
    return run


@operator("_contrib_arange_like")
def _arange_like(attributes: Attributes) -> Function:
    start, step, axis = attributes["start"], attributes["step"], attributes["axis"]
    attributes.only("repeat", 1)

    def run(x: Tensor) -> Tensor:
        shape = x.shape if axis is None else (x.shape[axis],)
        count = torch.arange(math.prod(shape), dtype=x.dtype, device=x.device).reshape(shape)
        return count if (start, step) == (0.0, 1.0) else count * step + start
    return run
