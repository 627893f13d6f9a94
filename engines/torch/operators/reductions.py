"""Reductions and order."""
from typing import Any, Callable, Tuple

from arcface_mxnet.engines.torch.attributes import Attributes
from arcface_mxnet.engines.torch.operators.register import Function, Maker, operator

import torch
from torch import Tensor


def _reduction(reduce: Callable[[Tensor, Tuple[int, ...], bool], Tensor]) -> Maker:
    def maker(attributes: Attributes) -> Function:
        given, keep, others = attributes["axis"] or (), attributes["keepdims"], attributes["exclude"]

        def run(x: Tensor) -> Tensor:
            named = {axis % x.dim() for axis in given}
            axes = tuple(axis for axis in range(x.dim()) if axis not in named) if others and given else given
            if axes:
                return reduce(x, axes, keep)
            whole = reduce(x, tuple(range(x.dim())), keep)
            return whole if keep else whole.reshape(1)
        return run
    return maker


class _Largest(torch.autograd.Function):
    """The maximum; every entry that equals it gets the whole gradient."""

    @staticmethod
    def forward(x: Tensor, axes: Tuple[int, ...]) -> Tensor:
        return torch.amax(x, axes, keepdim=True)

    @staticmethod
    def setup_context(ctx: Any, inputs: Tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0], output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tuple[Any, ...]:
        x, largest = ctx.saved_tensors
        return (x == largest).to(gradients[0].dtype) * gradients[0], None


def _largest(x: Tensor, axes: Tuple[int, ...], keep: bool) -> Tensor:
    found = _Largest.apply(x, axes)
    return found if keep else found.reshape([size for axis, size in enumerate(x.shape)
                                             if axis not in {place % x.dim() for place in axes}])


operator("sum")(_reduction(lambda x, axes, keep: torch.sum(x, axes, keepdim=keep)))
operator("mean")(_reduction(lambda x, axes, keep: torch.mean(x, axes, keepdim=keep)))
operator("max")(_reduction(_largest))


def _place_of(find: Function) -> Maker:
    def maker(attributes: Attributes) -> Function:
        axis, keep = attributes.axis(), attributes["keepdims"]
        return lambda x: find(x, axis, keepdim=keep).to(x.dtype)
    return maker


operator("argmax")(_place_of(torch.argmax))
operator("argmin")(_place_of(torch.argmin))


@operator("sort")
def _sort(attributes: Attributes) -> Function:
    axis, ascending = attributes.axis(), attributes["is_ascend"]

    def run(x: Tensor) -> Tensor:
        return torch.sort(x, dim=axis, descending=not ascending, stable=True)[0]
    return run


@operator("topk")
def _topk(attributes: Attributes) -> Function:
    axis, most, ascending = attributes.axis(), attributes["k"], attributes["is_ascend"]
    attributes.only("ret_typ", "indices")
    attributes.only("dtype", "float32")

    def run(x: Tensor) -> Tensor:
        """By a stable sort, so that the order of ties is the same everywhere."""
        order: Tensor = torch.sort(x, dim=axis, descending=not ascending, stable=True)[1]
        return order.narrow(axis, 0, most if most > 0 else x.shape[axis]).to(x.dtype)
    return run
