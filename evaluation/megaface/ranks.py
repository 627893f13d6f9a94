"""How many distractors score above each mate: exact counts from a stream of float32 score blocks.

Two ways, chosen per query by how many distractors its lowest mate lets through, with the same result: few of them
are sieved out and looked up one by one; many are counted through a table from the bin of a score to the number of mates
below it. Scores within rounding error of a mate's are computed again in float64, so equal features tie exactly.
"""
from typing import Callable, List, Tuple

from arcface_mxnet.evaluation.blockwise import Survivors
from arcface_mxnet.evaluation.histogram import BINS, Bins

import numpy as np

MOST_RESCORED = 20_000_000
"""Pairs computed again at most; a collapsed network asks for more, its near ties then count as ties."""
_RESOLVE_AT = 500_000
_PILOT_COLUMNS = 1000
_MOST_SIEVED = 0.003

Rescore = Callable[[np.ndarray, np.ndarray], np.ndarray]


class RankCounter:
    """Counts per trial the columns whose score is strictly above the mate's (ties favour the mate).

    `queries` (T,) row of each trial's query, `scores` (T,) float64 score of its mate, `tolerance` (T,) bound of the
    rounding error near it; `rescore(rows, columns)` gives float64 scores of single pairs.
    """

    def __init__(self, queries: np.ndarray, scores: np.ndarray, tolerance: np.ndarray, rows: int,
                 rescore: Rescore, bins: Bins) -> None:
        self._order = np.lexsort((scores, queries))
        self._scores = scores[self._order]
        low, high = self._scores - tolerance[self._order], self._scores + tolerance[self._order]
        self._low, self._high = low, high
        self._first = np.searchsorted(queries[self._order], np.arange(rows + 1))
        self._base = low.min(initial=0.0) - 1
        self._top = high.max(initial=0.0) + 1
        offsets = queries[self._order] * self._stride
        self._low_keys, self._high_keys = offsets + low - self._base, offsets + high - self._base
        self._steps = np.zeros(len(scores) + 1, np.int64)
        self._exact = np.zeros(len(scores), np.int64)
        self._near: List[Tuple[np.ndarray, ...]] = []
        self._near_count = self.rescored = self.unresolved = 0
        self.rescore, self._bins = rescore, bins
        self._tables: List[Tuple[int, np.ndarray]] = []
        self._piloted = False
        has_mates = self._first[1:] > self._first[:-1]
        self.cut = np.full(rows, np.inf, np.float32)
        self.cut[has_mates] = np.nextafter(low[self._first[:-1][has_mates]].astype(np.float32), np.float32(-np.inf))

    @property
    def _stride(self) -> float:
        return self._top - self._base + 1

    def add_block(self, scores: np.ndarray, indices: np.ndarray, start: int) -> None:
        """Count the tabled queries in a block (m, b) with its bin indices; the others wait for `take`."""
        if not self._piloted and scores.shape[1] >= _PILOT_COLUMNS:
            self._pilot(scores)
            self._piloted = True
        unclear: List[Tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        for row, table in self._tables:
            first, mates = self._first[row], self._first[row + 1] - self._first[row]
            codes = table.take(indices[row])
            seen = np.bincount(codes, minlength=mates + 2)
            self._steps[first] += seen[:mates + 1].sum()
            self._steps[first:first + mates + 1] -= seen[:mates + 1]
            if seen[mates + 1]:
                columns = np.flatnonzero(codes == mates + 1)
                unclear.append((np.full(len(columns), row), columns + start, scores[row, columns]))
        if unclear:
            self._compare(*(np.concatenate(parts) for parts in zip(*unclear)))

    def take(self, found: Survivors) -> None:
        """Count survivors of a block's sieve."""
        keep = found.scores > self.cut[found.rows]
        self._compare(found.rows[keep], found.columns[keep], found.scores[keep])

    def ranks(self) -> np.ndarray:
        """int64 (T,), in the order of the trials: strictly better columns so far."""
        self._resolve()
        ranks = np.empty(len(self._scores), np.int64)
        ranks[self._order] = np.cumsum(self._steps)[:-1] + self._exact
        return ranks

    def _compare(self, rows: np.ndarray, columns: np.ndarray, scores: np.ndarray) -> None:
        keys = rows * self._stride + (np.clip(scores.astype(np.float64), self._base, self._top) - self._base)
        sure = np.searchsorted(self._high_keys, keys, side="left")
        maybe = np.searchsorted(self._low_keys, keys, side="right")
        self._steps += np.bincount(self._first[rows], minlength=len(self._steps))
        self._steps -= np.bincount(sure, minlength=len(self._steps))
        near = np.flatnonzero(maybe > sure)
        if len(near):
            self._near.append((rows[near], columns[near], sure[near], maybe[near]))
            self._near_count += len(near)
        if self._near_count > _RESOLVE_AT:
            self._resolve()

    def _resolve(self) -> None:
        """Compute the pairs near a mate's score again in float64 and count those strictly above it."""
        if not self._near:
            return
        rows, columns, sure, maybe = (np.concatenate(parts) for parts in zip(*self._near))
        self._near, self._near_count = [], 0
        if self.rescored + len(rows) > MOST_RESCORED:
            self.unresolved += len(rows)
            return
        self.rescored += len(rows)
        exact = self.rescore(rows, columns)
        for step in range(int((maybe - sure).max())):
            trials = np.minimum(sure + step, len(self._scores) - 1)
            above = (sure + step < maybe) & (exact > self._scores[trials])
            self._exact += np.bincount(trials[above], minlength=len(self._exact))

    def _pilot(self, scores: np.ndarray) -> None:
        """Give every query whose mates let through many columns a table; from here on it is not sieved."""
        passing = np.mean(scores > self.cut[:, None], axis=1)
        for row in np.flatnonzero(passing > _MOST_SIEVED):
            self._tables.append((int(row), self._table(self._first[row], self._first[row + 1])))
            self.cut[row] = np.inf

    def _table(self, first: int, last: int) -> np.ndarray:
        """(BINS,) from bin to the number of mates surely below it; bins too near a mate hold one more than there are.

        Rounding in `Bins.index` moves a score by less than a fiftieth of a bin.
        """
        slack = self._bins.width / 50
        low = self._bins.index(self._low[first:last] - slack).astype(np.int64)
        high = self._bins.index(self._high[first:last] + slack).astype(np.int64)
        surely = np.cumsum(np.bincount(high + 1, minlength=BINS + 1))[:BINS]
        perhaps = np.cumsum(np.bincount(low, minlength=BINS + 1))[:BINS]
        mates = last - first
        table = np.where(surely == perhaps, surely, mates + 1)
        return table.astype(np.uint8 if mates + 1 < 256 else np.uint16 if mates + 1 < 65536 else np.int64)
