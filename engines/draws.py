"""Random numbers that are functions of (seed, step, node) and place: the same on every device and for every engine.

Initial values are drawn by NumPy. Dropout masks come from a counter: the bits of an element follow from two keys and
its number alone, in integer arithmetic that NumPy and PyTorch do alike (two rounds of a 32-bit finaliser, the
multipliers of https://github.com/skeeto/hash-prospector).
"""
import zlib
from typing import Any, Tuple

import numpy as np

_BITS = 0xFFFFFFFF
_FIRST, _SECOND = 0x7FEB352D, 0x846CA68B


def stream(seed: int, name: str) -> np.random.Generator:
    """The generator of one parameter: a function of the run's seed and the parameter's name."""
    return np.random.default_rng([seed, zlib.crc32(name.encode("utf-8"))])


def mask_keys(step_seed: int, node: int) -> Tuple[int, int]:
    """The two keys of the dropout node number `node` in the step with this seed, 32 bits each."""
    first, second = np.random.SeedSequence([step_seed, node]).generate_state(2)
    return int(first), int(second)


def bits(index: Any, first: Any, second: Any) -> Any:
    """32 random bits for each of `index`, an int64 array or tensor of numbers below 2^32, as int64.

    first, second: the keys, numbers or int64 arrays or tensors that broadcast.
    """
    return _mixed((_mixed(index ^ first) + second) & _BITS)


def kept(index: Any, first: Any, second: Any, share: float) -> Any:
    """Whether each element is kept where a share of `share` is: an array or tensor of booleans."""
    return bits(index, first, second) < int(round(share * 2.0 ** 32))


def dropout_mask(shape: Tuple[int, ...], keys: Tuple[int, int], dropped: float, first_row: int = 0) -> np.ndarray:
    """The mask of a dropout as it is multiplied, float32: 0 or 1 / (1 - dropped).

    `first_row`: where the first axis begins in the batch of all devices.
    """
    start = first_row * int(np.prod(shape[1:]))
    index = (np.arange(start, start + int(np.prod(shape)), dtype=np.int64) & _BITS).reshape(shape)
    return kept(index, *keys, 1.0 - dropped).astype(np.float32) / np.float32(1.0 - dropped)


def _mixed(x: Any) -> Any:
    x = ((x ^ (x >> 16)) * _FIRST) & _BITS
    x = ((x ^ (x >> 15)) * _SECOND) & _BITS
    return x ^ (x >> 16)
