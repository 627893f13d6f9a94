"""Order statistics of a stream of scores in bounded memory: the k largest of all, the k best of each row, and the
largest of each row exactly.
"""
from typing import Callable, List, Optional, Tuple

from arcface_mxnet.evaluation.scoring import Survivors, sieve
from arcface_mxnet.runtime.errors import InputError

import numpy as np

MOST_KEPT = 40_000_000
"""Scores a `Largest` may be asked to keep: 12 bytes each, twice while it compacts."""
_MOST_MARGIN = 4_000_000
MOST_NEAR = 1000
"""Columns of a row that a `RowLargest` scores again at most; beyond, all of them count as tied with the largest."""
_PRUNE_AT = 1 << 20

Rescore = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Largest:
    """The k largest scores seen, with their rows and columns; ask for any of the k order statistics at any time.

    Scores arrive rounded in float32; with `rescore(rows, columns)` (float64 scores of single pairs) an order
    statistic is exact: entries within `margin(score)` of it (twice the largest rounding error of a score of that size)
    are scored again. When millions of scores agree within the margin (a collapsed network) they count as equal.
    """

    def __init__(self, count: int, margin: Optional[Callable[[float], float]] = None,
                 rescore: Optional[Rescore] = None) -> None:
        if count > MOST_KEPT:
            raise InputError(f"--far: its threshold is the {count}th largest impostor score, more than {MOST_KEPT} "
                             "are not kept; ask for a smaller FAR, or read it from the ROC curve (CSV)")
        self.count, self._margin, self._rescore = count, margin, rescore
        self.seen_all = True
        self.cut = -np.inf
        self._scores = np.empty(0, np.float32)
        self._pairs = np.empty((0, 2), np.int32)
        self._pending: List[Tuple[np.ndarray, np.ndarray]] = []
        self._waiting = 0

    def take(self, found: Survivors) -> None:
        """Consider survivors of a block (those at or below `cut` are ignored)."""
        keep = found.scores > self.cut
        if not keep.any():
            return
        pairs = np.column_stack([found.rows[keep], found.columns[keep]]).astype(np.int32)
        self._pending.append((found.scores[keep], pairs))
        self._waiting += len(pairs)
        if len(self._scores) + self._waiting >= self.count and self._waiting >= max(self.count // 2, 1 << 14):
            self._compact()

    def at(self, index: int) -> float:
        """The score that exactly `index` others precede (0: the largest); -inf beyond the scores seen."""
        self._compact()
        if index >= len(self._scores):
            if self.seen_all:
                return float("-inf")
            raise ValueError(f"only the {self.count} largest scores were kept")
        order = len(self._scores) - 1 - index
        middle = float(np.partition(self._scores, order)[order])
        if self._rescore is None or self._margin is None:
            return middle
        high, low = middle + self._margin(middle), middle - self._margin(middle)
        above = int(np.count_nonzero(self._scores > high))
        near = np.flatnonzero((self._scores > low) & (self._scores <= high))
        exact = np.sort(self._rescore(self._pairs[near, 0], self._pairs[near, 1]))[::-1]
        return float(exact[index - above])

    @property
    def exact(self) -> bool:
        """Whether `at` is exact: scores are scored again, and did not agree by the million."""
        return self._margin is not None

    def sorted_scores(self) -> np.ndarray:
        """The kept scores, float32, descending; the first `count` are the largest of all."""
        self._compact()
        return np.sort(self._scores)[::-1]

    def _compact(self) -> None:
        if self._pending:
            self._scores = np.concatenate([self._scores, *(scores for scores, _ in self._pending)])
            self._pairs = np.concatenate([self._pairs, *(pairs for _, pairs in self._pending)])
            self._pending, self._waiting = [], 0
        if len(self._scores) <= self.count:
            return
        order = len(self._scores) - self.count
        last = float(np.partition(self._scores, order)[order])
        self.cut = last - (self._margin(last) if self._margin else 0.0)
        keep = np.flatnonzero(self._scores > self.cut)
        if self._margin is None or len(keep) > self.count + _MOST_MARGIN:
            self._margin, self.cut = None, last
            keep = np.argpartition(self._scores, order)[order:]
        self.seen_all = False
        self._scores, self._pairs = self._scores[keep], self._pairs[keep]


class RowBest:
    """The k best columns of each row: `scores` float32 (m, k) descending, `columns` int64 (m, k), -1 where none.

    Among equal scores the earlier column comes first.
    """

    def __init__(self, rows: int, count: int) -> None:
        self.scores = np.full((rows, count), -np.inf, np.float32)
        self.columns = np.full((rows, count), -1, np.int64)

    @property
    def cut(self) -> np.ndarray:
        """(m,) the worst kept score of each row: only what is above it can matter."""
        return self.scores[:, -1]

    def take(self, found: Survivors) -> None:
        """Consider survivors of a block; blocks come in order of their columns."""
        better = found.scores > self.cut[found.rows]
        touched = np.unique(found.rows[better])
        if not len(touched):
            return
        count = self.scores.shape[1]
        rows = np.concatenate([np.repeat(touched, count), found.rows[better]])
        scores = np.concatenate([self.scores[touched].ravel(), found.scores[better]])
        columns = np.concatenate([self.columns[touched].ravel(), found.columns[better]])
        order = np.lexsort((np.where(columns < 0, np.iinfo(np.int64).max, columns), -scores, rows))
        first = np.searchsorted(rows[order], touched)
        chosen = order[first[:, None] + np.arange(count)]
        self.scores[touched], self.columns[touched] = scores[chosen], columns[chosen]


class RowLargest:
    """The largest score of each of m rows over a stream of blocks, exact where scores arrive rounded.

    `margin`: twice the largest rounding error of a score; `rescore(rows, columns)` gives float64 scores of single
    pairs. Columns within the margin of a row's largest are scored again, unless they are more than MOST_NEAR.
    """

    def __init__(self, rows: int, margin: float, rescore: Rescore) -> None:
        self._margin, self._rescore = margin, rescore
        self._rough = np.full(rows, -np.inf, np.float32)
        self._crowded = np.zeros(rows, bool)
        self._near: List[Survivors] = []
        self._waiting = 0

    def take(self, scores: np.ndarray, start: int) -> None:
        """Consider a block (m, b) whose columns count from `start`."""
        top = scores.max(axis=1)
        live = np.flatnonzero((top > self._low()) & ~self._crowded)
        np.maximum(self._rough, top, out=self._rough)
        if not len(live):
            return
        part = scores if len(live) == len(scores) else scores[live]
        found = sieve(part, self._low()[live], start)
        self._near.append(Survivors(live[found.rows], found.columns, found.scores))
        self._waiting += len(found.rows)
        if self._waiting > _PRUNE_AT:
            self._prune()

    def largest(self) -> Tuple[np.ndarray, int]:
        """(m,) float64, and of how many rows it is `margin` above the true one because too many columns are near it."""
        near = self._prune()
        best = np.full(len(self._rough), -np.inf)
        np.maximum.at(best, near.rows, self._rescore(near.rows, near.columns))
        best[self._crowded] = self._rough[self._crowded].astype(np.float64) + self._margin
        return best, int(self._crowded.sum())

    def _low(self) -> np.ndarray:
        """What a score must exceed to be the row's largest for all that rounding hides."""
        return np.nextafter(self._rough - np.float32(self._margin), np.float32(-np.inf))

    def _prune(self) -> Survivors:
        """Forget what is no longer near the largest, and rows where too much is."""
        rows, columns, scores = (np.concatenate([getattr(one, name) for one in self._near] or [np.zeros(0, kind)])
                                 for name, kind in (("rows", np.int64), ("columns", np.int64), ("scores", np.float32)))
        keep = scores > self._low()[rows]
        self._crowded |= np.bincount(rows[keep], minlength=len(self._rough)) > MOST_NEAR
        keep &= ~self._crowded[rows]
        pruned = Survivors(rows[keep], columns[keep], scores[keep])
        self._near, self._waiting = [pruned], len(pruned.rows)
        return pruned
