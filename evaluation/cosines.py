"""Cosines of single pairs in float64, and how far a float32 product may be from them.

Products in blocks are rounded in an order that depends on the shape of the block. So what decides a figure (is this
mate above that stranger?) is scored again here, pair by pair: equal pairs then score equal, to the last bit.
"""
from arcface_mxnet.evaluation.vectors import normalise

import numpy as np

_PAIRS_AT_ONCE = 1 << 13


def pair_cosines(left: np.ndarray, left_rows: np.ndarray, right: np.ndarray, right_rows: np.ndarray) -> np.ndarray:
    """Float64 cosines (n,) of rows of (l, d) with rows of (r, d); either may be memory-mapped, zero rows give 0."""
    cosines = np.empty(len(left_rows))
    for start in range(0, len(cosines), _PAIRS_AT_ONCE):
        part = slice(start, start + _PAIRS_AT_ONCE)
        one = normalise(np.array(left[left_rows[part]], np.float64), copy=False)
        other = normalise(np.array(right[right_rows[part]], np.float64), copy=False)
        cosines[part] = np.einsum("ij,ij->i", one, other)
    return cosines


def rounding(dimensions: int) -> float:
    """A bound of a float32 cosine's error: d u for the product and as much for both norms, with u = 2^-24."""
    return (2 * dimensions + 8) * 2.0 ** -24
