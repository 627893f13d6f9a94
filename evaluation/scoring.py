"""Scores of every row against every column, a block at a time: the whole matrix never stands in memory.

The product runs on MXNet's oneDNN (twice as fast here as NumPy's OpenBLAS), and the next block is computed while the
caller works on the present one.
"""
from dataclasses import dataclass
from typing import Callable, Iterator, List, Optional, Sequence, Tuple, Union

from arcface_mxnet.runtime.mx import mx

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
    product = _Product(np.ascontiguousarray(rows, np.float32), max(np.diff([0, *ends]), default=0))
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


class _Product:
    """Two output buffers shared with MXNet without a copy; one is filled while the other is read."""

    def __init__(self, rows: np.ndarray, widest: int) -> None:
        self._rows = mx.nd.from_numpy(rows[:], zero_copy=True)
        self._memory = [np.empty(len(rows) * widest, np.float32) for _ in range(2)]
        self._running: List[Optional[Tuple[np.ndarray, mx.nd.NDArray, mx.nd.NDArray]]] = [None, None]

    def launch(self, slot: int, columns: np.ndarray) -> None:
        """Start rows x columns.T into buffer `slot`; returns at once."""
        height, width = self._rows.shape[0], len(columns)
        scores = self._memory[slot][:height * width].reshape(height, width)
        right = mx.nd.from_numpy(np.array(columns, np.float32, order="C"), zero_copy=True)
        out = mx.nd.from_numpy(scores[:], zero_copy=True)
        mx.nd.FullyConnected(self._rows, right, no_bias=True, num_hidden=width, out=out)
        self._running[slot] = (scores, right, out)

    def wait(self, slot: int) -> np.ndarray:
        """The finished scores of buffer `slot`."""
        running = self._running[slot]
        assert running is not None
        scores, _, out = running
        out.wait_to_read()
        self._running[slot] = None
        return scores


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
