"""BatchNorm and PReLU of a compiled pass on a CPU: their sums over a channel are taken row by row.

For maps stored by pixel torch.compile writes such a sum as one pass over all pixels for each vector of channels, 8 of
them with AVX2: a map too large for the caches is brought from memory several times, half a cache line at a time. Here
the pixels of each row are summed, 14 to 28 KB in MobileFaceNet and the ResNets, then the rows: one pass. Values differ
from PyTorch's own kernels by rounding.
"""
from typing import Any, Tuple

import torch
from torch import Tensor


def applies(x: Tensor, parameter: Tensor) -> bool:
    """Whether `x` is a map (n, c, h, w) of more than one value a channel and `parameter` holds one value for each."""
    return x.dim() == 4 and parameter.numel() == x.shape[1] and x.numel() > x.shape[1]


def rows(x: Tensor) -> Tensor:
    """A map (n, c, h, w) as (n * h, w, c)."""
    n, c, h, w = x.shape
    return x.permute(0, 2, 3, 1).reshape(n * h, w, c)


def channel_sum(x: Tensor) -> Tensor:
    """The sum of each channel, (c,), of a map (n, c, h, w)."""
    return rows(x).sum(1).sum(0)


def moments(x: Tensor) -> Tuple[Tensor, Tensor]:
    """Mean and sum of squared differences from it, each (c,), of the channels of a map (n, c, h, w).

    Those of the rows are joined by the rule of Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm
    for computing sample variances" (1979), https://doi.org/10.1007/978-3-642-51461-6_3: no cancellation where a mean is
    large.
    """
    parts = rows(x)
    means = parts.mean(1)
    squares = torch.square(parts - means.unsqueeze(1)).sum(1)
    mean = means.mean(0)
    return mean, squares.sum(0) + parts.shape[1] * torch.square(means - mean).sum(0)


def batch_norm(x: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor, eps: float) -> Tensor:
    """BatchNorm of a map by its own statistics.

    They are left in `mean` and `variance` (c,), the latter divided by the number of values less 1, as by
    torch.batch_norm with a momentum of 1.
    """
    count = x.numel() // x.shape[1]
    average, squares = moments(x.detach())
    with torch.no_grad():
        mean.copy_(average)
        variance.copy_(squares / (count - 1))
    output: Tensor = _Normalised.apply(x, scale, shift, average, torch.rsqrt(squares / count + eps))
    return output


def prelu(x: Tensor, slope: Tensor) -> Tensor:
    """`x` where it is positive, else its product with the slope (c,) of its channel."""
    output: Tensor = _PReLU.apply(x, slope)
    return output


def _over(x: Tensor) -> Tensor:
    """(c,) as (1, c, 1, 1)."""
    return x.view(1, -1, 1, 1)


class _Normalised(torch.autograd.Function):
    """(x - mean) * inverse * scale + shift, where mean and inverse deviation are those of x: its gradient knows it."""

    @staticmethod
    def forward(x: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, inverse: Tensor) -> Tensor:
        return (x - _over(mean)) * _over(inverse * scale) + _over(shift)

    @staticmethod
    def setup_context(ctx: Any, inputs: Tuple[Any, ...], output: Tensor) -> None:
        x, scale, _, mean, inverse = inputs
        ctx.save_for_backward(x, scale, mean, inverse)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tuple[Any, ...]:
        x, scale, mean, inverse = ctx.saved_tensors
        count = x.numel() // x.shape[1]
        centred = x - _over(mean)
        shift_gradient, scale_gradient = channel_sum(gradients[0]), channel_sum(gradients[0] * centred) * inverse
        own = gradients[0] - _over(shift_gradient / count) - centred * _over(inverse * scale_gradient / count)
        return own * _over(inverse * scale), scale_gradient, shift_gradient, None, None


class _PReLU(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, slope: Tensor) -> Tensor:
        return torch.where(x > 0, x, x * _over(slope))

    @staticmethod
    def setup_context(ctx: Any, inputs: Tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tuple[Any, ...]:
        x, slope = ctx.saved_tensors
        positive = x > 0
        return (torch.where(positive, gradients[0], gradients[0] * _over(slope)),
                channel_sum((gradients[0] * x).masked_fill(positive, 0.0)))
