"""What picks, gathers and scatters by indices."""
from arcface_mxnet.engines.torch.attributes import Attributes
from arcface_mxnet.engines.torch.operators.register import Function, operator, plain

import torch
from torch import Tensor
from torch.nn import functional


@operator("one_hot")
def _one_hot(attributes: Attributes) -> Function:
    depth, on, off = attributes["depth"], attributes["on_value"], attributes["off_value"]
    attributes.only("dtype", "float32")

    def run(index: Tensor) -> Tensor:
        """An index outside is all `off`."""
        found = index.long().unsqueeze(-1) == torch.arange(depth, device=index.device)
        full, none = (torch.full((), value, dtype=index.dtype, device=index.device) for value in (on, off))
        return torch.where(found, full, none)
    return run


@operator("pick")
def _pick(attributes: Attributes) -> Function:
    axis, keep = attributes.axis(), attributes["keepdims"]
    attributes.only("mode", "clip")

    def run(x: Tensor, index: Tensor) -> Tensor:
        place = torch.clamp(index.long(), 0, x.shape[axis] - 1)
        if place.dim() < x.dim():
            place = place.unsqueeze(axis)
        found = torch.gather(x, axis, place)
        return found if keep else found.squeeze(axis)
    return run


@operator("take")
def _take(attributes: Attributes) -> Function:
    attributes.only("axis", 0)
    attributes.only("mode", "clip")

    def run(x: Tensor, index: Tensor) -> Tensor:
        """Gradients of rows taken twice are summed, in the same order every time."""
        place = torch.clamp(index.long(), 0, x.shape[0] - 1)
        if x.dim() == 2:
            return functional.embedding(place, x)
        return torch.index_select(x, 0, place.reshape(-1)).reshape(*place.shape, *x.shape[1:])
    return run


@operator("scatter_nd")
def _scatter_nd(attributes: Attributes) -> Function:
    shape = attributes["shape"]

    def run(values: Tensor, indices: Tensor) -> Tensor:
        empty = torch.zeros(shape, dtype=values.dtype, device=values.device)
        return empty.index_put(tuple(indices.long()), values)
    return run


@plain("gather_nd")
def _gather_nd(x: Tensor, indices: Tensor) -> Tensor:
    return x[tuple(torch.floor(indices).long())]  # MXNet counts -0.5 from the end, as -1
