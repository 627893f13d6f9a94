"""Rows of embeddings: normalising, distances of pairs, and refusing what cannot be compared."""
from typing import Any, Optional, Tuple

from arcface_mxnet.runtime.errors import InputError

import numpy as np

_BLOCK_ROWS = 1 << 12


def normalise(embeddings: np.ndarray, copy: bool = True) -> np.ndarray:
    """L2-normalise each row of (n, d); a zero row stays zero (as scikit-learn does). Keeps the floating dtype.

    With `copy=False` a floating array is normalised in place, block by block. Rows whose squares would overflow or
    vanish are scaled first.
    """
    rows = np.array(embeddings, copy=copy) if copy or not np.issubdtype(embeddings.dtype, np.floating) else embeddings
    if not np.issubdtype(rows.dtype, np.floating):
        rows = rows.astype(np.float64)
    low, high = (float(limit) for limit in _sound_lengths(rows.dtype))
    for start in range(0, len(rows), _BLOCK_ROWS):
        block = rows[start:start + _BLOCK_ROWS]
        lengths = np.sqrt(np.einsum("ij,ij->i", block, block))
        odd = ~((lengths > low) & (lengths < high))
        if odd.any():
            largest = np.abs(block[odd]).max(axis=1, initial=0)
            largest[largest == 0] = 1
            scaled = block[odd] / largest[:, None]
            block[odd], lengths[odd] = scaled, np.sqrt(np.einsum("ij,ij->i", scaled, scaled))
        lengths[lengths == 0] = 1
        block /= lengths[:, None]
    return rows


def _sound_lengths(dtype: "np.dtype[Any]") -> Tuple[float, float]:
    """Between these a row's length is exact enough: no square of it overflows, and few underflow."""
    kind = np.finfo(dtype)
    return np.sqrt(float(kind.tiny)) / float(kind.eps), np.sqrt(float(kind.max)) / 2


def squared_distances(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Squared Euclidean distance of corresponding rows of two (n, d) arrays: (n,), 0 to 4 for unit rows."""
    difference = left - right
    return np.einsum("ij,ij->i", difference, difference)


def angles_of(distances: np.ndarray) -> np.ndarray:
    """Degrees (0..180) between unit vectors from their squared distance: d = 2 - 2 cos."""
    return np.degrees(np.arccos(np.clip(1 - np.asarray(distances, np.float64) / 2, -1, 1)))


def check_embeddings(embeddings: np.ndarray, what: str, rows: Optional[int] = None,
                     dimensions: Optional[int] = None, zeros: bool = False) -> np.ndarray:
    """Return `embeddings` if it is (n, d), not empty, floating and finite; else raise InputError naming `what`.

    A row of zeros, which has no direction, is refused as well but where `zeros` admits it (its cosines are 0).

    Works through blocks of rows, so a memory-mapped file of any size can be checked.
    """
    if embeddings.ndim != 2 or not np.issubdtype(embeddings.dtype, np.floating):
        raise InputError(f"{what}: expected a floating array of shape (images, dimensions), "
                         f"found {embeddings.dtype} {embeddings.shape}; save it with numpy.save")
    if rows is not None and len(embeddings) != rows:
        raise InputError(f"{what}: {len(embeddings)} rows where {rows} are needed; extract the features again")
    if dimensions is not None and embeddings.shape[1] != dimensions:
        raise InputError(f"{what}: {embeddings.shape[1]} dimensions where {dimensions} are needed; "
                         "use features of one model")
    if not embeddings.size:
        raise InputError(f"{what}: holds no value, its shape is {embeddings.shape}; extract the features again")
    for start in range(0, len(embeddings), _BLOCK_ROWS):
        block = embeddings[start:start + _BLOCK_ROWS]
        finite, some = np.isfinite(block).all(axis=1), block.any(axis=1)
        if not finite.all():
            raise InputError(f"{what}: row {start + int(np.argmin(finite))} is not finite (NaN or infinity); "
                             "extract the features again")
        if not (zeros or some.all()):
            raise InputError(f"{what}: row {start + int(np.argmin(some))} is all zeros, which points nowhere; "
                             "extract the features again")
    return embeddings


# Cosines of single pairs in float64, and how far a float32 product may be from them.
#
# Products in blocks are rounded in an order that depends on the shape of the block. So what decides a figure (is this
# mate above that stranger?) is scored again here, pair by pair: equal pairs then score equal, to the last bit.


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
