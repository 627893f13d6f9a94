"""Scores of every row against every column, a block at a time: the whole matrix never stands in memory.

The product runs on MXNet's oneDNN (twice as fast here as NumPy's OpenBLAS), and the next block is computed while the
caller works on the present one.
"""
from dataclasses import dataclass
from typing import Callable, Iterator, List, Optional, Sequence, Tuple, Union

from arcface_mxnet.runtime.mx import mx

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
