"""Scores of every row against every column, a block at a time: the whole matrix never stands in memory.

The product runs on MXNet's oneDNN (twice as fast here as NumPy's OpenBLAS), and the next block is computed while the
caller works on the present one.
"""
import importlib.util
from dataclasses import dataclass
from typing import Any, Callable, Iterator, List, Optional, Sequence, Tuple, Union

import cv2
import numpy as np

BLOCK_COLUMNS = 8192
_FIRST_BLOCK = 64

Prepare = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Survivors:
    """The scores of a block above a cut: int64 `rows` (ascending) and `columns` (of the whole gallery), float32."""

    rows: np.ndarray
    columns: np.ndarray
    scores: np.ndarray


def block_borders(columns: int, stops: Sequence[int] = (), block: int = BLOCK_COLUMNS) -> List[int]:
    """Ends of the blocks over 0..columns: each stop is one of them, none is longer than `block`.

    The first blocks are short and grow fourfold, so that running cuts (the k-th best so far) are near their final
    values before the long blocks come.
    """
    ends: List[int] = []
    wanted, size = sorted({*stops, columns}), min(_FIRST_BLOCK, block)
    while not ends or ends[-1] < columns:
        last = ends[-1] if ends else 0
        ends.append(min(last + size, next(stop for stop in wanted if stop > last)))
        size = min(size * 4, block)
    return ends


def score_blocks(rows: np.ndarray, columns: np.ndarray, ends: Sequence[int],
                 prepare: Optional[Prepare] = None) -> Iterator[Tuple[int, np.ndarray]]:
    """Yield (start, scores) of rows (m, d) against columns[start:end], float32 (m, end - start), for each end in turn.

    `columns` (n, d) may be memory-mapped; `prepare` turns a slice of it into float32 (b, d). Products are rounded in
    float32 (error about 1e-7 for unit vectors). The yielded array is overwritten by the next-but-one block: use it
    before asking for the next.
    """
    product = _product(np.ascontiguousarray(rows, np.float32), max(np.diff([0, *ends]), default=0))
    starts = [0, *ends[:-1]]

    def launch(index: int) -> None:
        part = columns[starts[index]:ends[index]]
        product.launch(index % 2, prepare(part) if prepare else part)

    if ends:
        launch(0)
    for index, start in enumerate(starts[:len(ends)]):
        scores = product.wait(index % 2)
        if index + 1 < len(ends):
            launch(index + 1)
        yield start, scores


def padded(rows: np.ndarray, count: int) -> np.ndarray:
    """(count, d): the rows (m, d) and zeros below. Blocks of one shape are rounded alike, so that equal pairs tie."""
    if len(rows) >= count:
        return rows
    return np.concatenate([rows, np.zeros((count - len(rows), rows.shape[1]), rows.dtype)])


def sieve(scores: np.ndarray, cut: Union[float, np.ndarray], start: int) -> Survivors:
    """The entries of a block (m, b) strictly above `cut`, a number or one per row (m,); columns count from `start`."""
    limits = np.broadcast_to(np.asarray(cut, np.float32), (len(scores),))
    found = np.flatnonzero(np.greater(scores, limits[:, None]))
    rows = found // scores.shape[1]
    return Survivors(rows, found - rows * scores.shape[1] + start, scores.ravel()[found])


class _NumpyProduct:
    """The same where MXNet is not installed, by NumPy's BLAS, one block after the other."""

    def __init__(self, rows: np.ndarray, widest: int) -> None:
        self._rows = rows
        self._scores: List[Optional[np.ndarray]] = [None, None]

    def launch(self, slot: int, columns: np.ndarray) -> None:
        """Compute rows x columns.T."""
        self._scores[slot] = self._rows @ np.asarray(columns, np.float32).T

    def wait(self, slot: int) -> np.ndarray:
        """The scores of the last launch."""
        scores, self._scores[slot] = self._scores[slot], None
        assert scores is not None
        return scores


def _product(rows: np.ndarray, widest: int) -> Any:
    if importlib.util.find_spec("mxnet") is None:
        return _NumpyProduct(rows, widest)
    from arcface_mxnet.engines.mxnet.product import Product  # MXNet loads only where it is used
    return Product(rows, widest)


# Exact counts of a stream of scores in 65,536 equal bins: a whole ROC curve in half a megabyte.


BINS = 1 << 16
_MOST_AT_ONCE = 1 << 24
_IN_CACHE = 1 << 16


@dataclass(frozen=True)
class Bins:
    """Equal bins from `low` to `high` (scores outside fall into the first or last).

    One rounding in float32 decides a score's bin, always the same way: counts at bin edges are exact.
    """

    low: float
    high: float

    @property
    def width(self) -> float:
        """Width of a bin in units of score."""
        return (self.high - self.low) / BINS

    def index(self, scores: np.ndarray) -> np.ndarray:
        """The bin of each score, uint16, in the shape of `scores` (floating, no NaN)."""
        flat = np.ascontiguousarray(scores).reshape(-1)
        indices = np.empty(len(flat), np.uint16)
        for start in range(0, len(flat), _IN_CACHE):
            position = np.subtract(flat[start:start + _IN_CACHE], np.float32(self.low), dtype=np.float32)
            np.multiply(position, np.float32(1 / self.width), out=position)
            np.clip(position, 0, BINS - 1, out=position)
            np.copyto(indices[start:start + _IN_CACHE], position, casting="unsafe")
        return indices.reshape(scores.shape)


class Histogram:
    """Counts of scores per bin; `add` a block (or its bin indices) as often as needed."""

    def __init__(self, bins: Bins) -> None:
        self.bins = bins
        self.counts = np.zeros(BINS, np.int64)

    def add(self, scores: np.ndarray) -> None:
        """Count scores of any shape."""
        self.add_indices(self.bins.index(scores))

    def add_indices(self, indices: np.ndarray) -> None:
        """Count uint16 bin indices of any shape."""
        flat = indices.reshape(1, -1)
        for start in range(0, flat.shape[1], _MOST_AT_ONCE):  # OpenCV returns float32 counts: exact below 2^24
            part = np.ascontiguousarray(flat[:, start:start + _MOST_AT_ONCE])
            self.counts += cv2.calcHist([part], [0], None, [BINS], [0, BINS]).ravel().astype(np.int64)

    @property
    def total(self) -> int:
        """Number of scores counted."""
        return int(self.counts.sum())

    def at_least(self) -> np.ndarray:
        """int64 (BINS,): how many scores lie in bin b or above."""
        return np.cumsum(self.counts[::-1])[::-1]


def operating_points(genuine: Histogram, impostors: Histogram) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(far, tar, thresholds), each (BINS,), FAR descending: accepting every score whose bin is b or above.

    Exact points of the ROC curve, at the edges of the bins, which both histograms share.
    """
    edges = impostors.bins.low + np.arange(BINS) * impostors.bins.width
    return impostors.at_least() / max(impostors.total, 1), genuine.at_least() / max(genuine.total, 1), edges
