"""Sums over channels taken row by row are those of PyTorch's kernels, in values and gradients."""
import numpy as np
import pytest

torch = pytest.importorskip("torch")
from arcface_mxnet.engines.torch.operators import channel_sums  # noqa: E402

from torch.nn import functional  # noqa: E402

SHAPES = [(3, 5, 7, 4), (2, 8, 1, 6), (4, 3, 6, 1), (1, 2, 3, 3)]


def drawn(shape, by_pixel=True):
    """A map in float64, and values for its channels: scale, shift, slope."""
    chance = np.random.RandomState(7)
    x = torch.from_numpy(chance.randn(*shape) * 3 + 1)
    parameters = [torch.from_numpy(chance.rand(shape[1]) + 0.5).requires_grad_(True) for _ in range(3)]
    x = x.to(memory_format=torch.channels_last) if by_pixel else x
    return x.requires_grad_(True), parameters


@pytest.mark.parametrize("by_pixel", [True, False], ids=["nhwc", "nchw"])
@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients_are_those_of_the_kernels(shape, by_pixel):
    x, (scale, shift, slope) = drawn(shape, by_pixel)
    found = [torch.zeros(shape[1], dtype=torch.float64) for _ in range(4)]
    mine = channel_sums.prelu(channel_sums.batch_norm(x, scale, shift, found[0], found[1], 2e-5), slope)
    theirs = functional.prelu(torch.batch_norm(x, scale, shift, found[2], found[3], True, 1.0, 2e-5, False), slope)
    torch.testing.assert_close(mine, theirs)
    torch.testing.assert_close(found[:2], found[2:])
    towards = torch.from_numpy(np.random.RandomState(8).randn(*shape))
    for own, other in zip(torch.autograd.grad(mine, [x, scale, shift, slope], towards),
                          torch.autograd.grad(theirs, [x, scale, shift, slope], towards)):
        torch.testing.assert_close(own, other)


def test_gradients_are_those_of_differences():
    x, (scale, shift, slope) = drawn((2, 3, 4, 5))
    unused = [torch.zeros(3, dtype=torch.float64) for _ in range(2)]
    assert torch.autograd.gradcheck(lambda *given: channel_sums.prelu(
        channel_sums.batch_norm(*given[:3], *unused, 1e-3), given[3]), (x, scale, shift, slope))


def test_a_large_mean_leaves_the_variance_as_it_is():
    """The difference of a mean square and a squared mean would have none of its digits left in float32."""
    values = np.random.RandomState(0).randn(8, 4, 14, 14).astype(np.float32) + np.float32(3e4)
    mean, squares = channel_sums.moments(torch.from_numpy(values).to(memory_format=torch.channels_last))
    exact = values.astype(np.float64)
    np.testing.assert_allclose(mean.numpy(), exact.mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(squares.numpy(), exact.var((0, 2, 3)) * 8 * 14 * 14, rtol=1e-4)


def test_what_they_are_not_for():
    x = torch.zeros(2, 3, 4, 4)
    assert channel_sums.applies(x, torch.zeros(3))
    assert not channel_sums.applies(x, torch.zeros(1)), "one slope for all channels"
    assert not channel_sums.applies(torch.zeros(2, 3), torch.zeros(3)), "rows of a dense layer"
    assert not channel_sums.applies(torch.zeros(1, 3, 1, 1), torch.zeros(3)), "one value a channel has no variance"
