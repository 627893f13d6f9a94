"""The exact protocol: every probe against every distractor, each score counted, the score matrix never whole in memory.

Rules: docs/original.md, section 6.3. A trial is an ordered pair of different images (query, mate) of one person; the
mate is ranked among the distractors alone. Impostor pairs are all probes x all distractors.
"""
from dataclasses import dataclass
from typing import Callable, Dict, List, Sequence, Tuple

from arcface_mxnet.evaluation.features import check_embeddings, normalise
from arcface_mxnet.evaluation.metrics import false_accepts_allowed
from arcface_mxnet.evaluation.ranking import Largest
from arcface_mxnet.evaluation.scoring import (
    BINS,
    Bins,
    Histogram,
    Survivors,
    block_borders,
    operating_points,
    score_blocks,
    sieve,
)
from arcface_mxnet.runtime.errors import InputError

import numpy as np

# How many distractors score above each mate: exact counts from a stream of float32 score blocks.
#
# Two ways, chosen per query by how many distractors its lowest mate lets through, with the same result: few of them
# are sieved out and looked up one by one; many are counted through a table from the bin of a score to the number of
# mates below it. Scores within rounding error of a mate's are computed again in float64, so equal features tie
# exactly.


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


# Scores of single pairs of features in float64, and the float32 form whose product gives all of them at once.
#
# The score is -|x - y|^2 / 2: the order of the devkit's identity model (-|x - y|^2) and, for unit features, of the
# cosine (cosine - 1). In float64 equal features score equal, to the last bit.


_PAIRS_AT_ONCE = 1 << 13
_HALF_ULP = 2.0 ** -24


@dataclass(frozen=True)
class Features:
    """Rows of features (n, d), floating, possibly memory-mapped; `unit`: each is L2-normalised when read."""

    rows: np.ndarray
    unit: bool

    def __len__(self) -> int:
        return len(self.rows)

    def exact(self, indices: np.ndarray) -> np.ndarray:
        """Float64 features (n, d) of the requested rows."""
        part = np.asarray(self.rows[indices], np.float64)
        return normalise(part, copy=False) if self.unit else part

    def single(self, part: np.ndarray) -> np.ndarray:
        """Float32 features of a slice of the rows, normalised if `unit`."""
        single = np.array(part, np.float32)
        return normalise(single, copy=False) if self.unit else single


def pair_scores(left: Features, left_rows: np.ndarray, right: Features, right_rows: np.ndarray) -> np.ndarray:
    """Float64 scores -|x - y|^2 / 2 of (n,) pairs given by row numbers."""
    scores = np.empty(len(left_rows))
    for start in range(0, len(scores), _PAIRS_AT_ONCE):
        part = slice(start, start + _PAIRS_AT_ONCE)
        difference = left.exact(left_rows[part]) - right.exact(right_rows[part])
        scores[part] = -0.5 * np.sum(difference * difference, axis=1)
    return scores


def as_left(features: np.ndarray) -> np.ndarray:
    """(m, d + 2) float32 [x, -|x|^2 / 2, 1]: its product with `as_right` gives the scores."""
    return np.column_stack([features, -_half_squares(features), np.ones(len(features), np.float32)])


def as_right(features: np.ndarray) -> np.ndarray:
    """(n, d + 2) float32 [y, 1, -|y|^2 / 2]."""
    return np.column_stack([features, np.ones(len(features), np.float32), -_half_squares(features)])


def rounding_error(dimensions: int, left_norms: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """How far the float32 product may be from a score, for columns that score about `scores` against these rows.

    4 + sqrt(d) / 2 units of rounding of the largest sum that occurs on the way, (|x| + |y|)^2 / 2 with |y| at most |x|
    plus the distance: two to ten times the largest error seen.
    """
    reach = 2 * left_norms + np.sqrt(np.maximum(-2 * scores, 0))
    return (2 + 0.25 * np.sqrt(dimensions + 2)) * _HALF_ULP * reach * reach


def mates(ids: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """All unordered pairs of rows i < j with the same id (n,), by person, then i, then j: two int64 arrays."""
    order = np.argsort(ids, kind="stable")
    ordered = np.asarray(ids)[order]
    borders = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1], True]) if len(ids) else np.zeros(1, int)
    left, right = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for start, end in zip(borders[:-1], borders[1:]):
        first, second = np.triu_indices(end - start, 1)
        left.append(order[start:end][first])
        right.append(order[start:end][second])
    return np.concatenate(left), np.concatenate(right)


def _half_squares(features: np.ndarray) -> np.ndarray:
    return (0.5 * np.einsum("ij,ij->i", features, features, dtype=np.float64)).astype(np.float32)


POINTS_PER_DECADE = 20
LONGEST = 1e18
"""Of a probe as stored: the squares of longer ones do not fit a float32."""


@dataclass(frozen=True)
class MegaFaceResult:
    """The figures for one number of distractors.

    `ranks` (distinct, ascending, 0 is the best) and `shares` (of trials with that rank or better) are the whole CMC.
    `tar` and `thresholds` (squared distances, accept when smaller or equal) by FAR. `roc_far`, `roc_tar`: points of the
    ROC curve. `unresolved`: near ties of a collapsed network that were taken as ties.
    """

    distractors: int
    trials: int
    genuine_pairs: int
    impostor_pairs: int
    ranks: np.ndarray
    shares: np.ndarray
    tar: Dict[float, float]
    thresholds: Dict[float, float]
    roc_far: np.ndarray
    roc_tar: np.ndarray
    unresolved: int

    @property
    def rank1(self) -> float:
        """Share of trials whose mate no distractor beats."""
        return self.identified(1)

    def identified(self, within: int) -> float:
        """Share of trials whose mate is among the `within` best (1: rank-1)."""
        place = int(np.searchsorted(self.ranks, within - 1, side="right"))
        return float(self.shares[place - 1]) if place else 0.0


def evaluate(probes: Features, ids: np.ndarray, distractors: Features, counts: Sequence[int],
             fars: Sequence[float]) -> List[MegaFaceResult]:
    """Figures of (P, d) probes with persons `ids` (P,) against the first n of (N, d) distractors, n of `counts` each.

    One pass over the distractors serves all counts. `fars` between 0 and 1. Raises InputError for features that are not
    finite or of another dimension, for a count outside 1..N, ids that do not fit and probes without a single mate.
    """
    run = _Run(probes, ids, distractors, counts, fars)
    results: Dict[int, MegaFaceResult] = {}
    ends = block_borders(max(counts), counts)
    blocks = score_blocks(run.left, distractors.rows, ends, right_factor(distractors))
    for (start, scores), end in zip(blocks, ends):
        run.add(scores, start)
        if end in counts:
            results[end] = run.result(end)
    return [results[count] for count in counts]


def cmc_steps(ranks: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """The distinct ranks (ascending) of (T,) trials and the share of trials with that rank or better."""
    distinct, seen = np.unique(ranks, return_counts=True)
    return distinct, np.cumsum(seen) / len(ranks)


@dataclass(frozen=True)
class Trials:
    """Every trial of the probes, and what scoring them in blocks needs.

    `query`, `mate` int64 (T,) rows of the probes, `scores` float64 (T,) of the mates; the first half are the unordered
    genuine pairs, the second half the same pairs turned round. `left` is the left factor of the product with the
    distractors; `bins` span the scores.
    """

    probes: Features
    query: np.ndarray
    mate: np.ndarray
    scores: np.ndarray
    left: np.ndarray
    norms: np.ndarray
    bins: Bins

    @classmethod
    def of(cls, probes: Features, ids: np.ndarray) -> "Trials":
        """The trials of (P, d) probes with persons (P,); raises InputError without two images of a person."""
        first, second = mates(ids)
        if not len(first):
            raise InputError("probe ids: no person has two images, so there is no trial; check the list of ids")
        single = probes.single(probes.rows)
        norms = np.linalg.norm(single.astype(np.float64), axis=1)
        longest = max(float(norms.max()), 1e-6)
        if longest > LONGEST:
            raise InputError(f"probe features: a row of length {longest:.3g} is too long to be compared as stored; "
                             "normalise them")
        genuine = pair_scores(probes, first, probes, second)
        return cls(probes, np.r_[first, second], np.r_[second, first], np.r_[genuine, genuine], as_left(single), norms,
                   Bins(-2 * longest ** 2, 0.001 * longest ** 2))

    @property
    def genuine(self) -> np.ndarray:
        """Scores of the unordered genuine pairs."""
        return self.scores[:len(self.scores) // 2]

    def margin(self, score: float) -> float:
        """Twice the largest rounding error of a float32 score of that size, for any probe."""
        return 2 * float(rounding_error(self.left.shape[1] - 2, self.norms.max(), np.array(score)))

    def counter(self, distractors: Features) -> RankCounter:
        """A fresh count of the distractors above each mate."""
        tolerance = rounding_error(self.left.shape[1] - 2, self.norms[self.query], self.scores)
        return RankCounter(self.query, self.scores, tolerance, len(self.left),
                           lambda rows, columns: pair_scores(self.probes, rows, distractors, columns), self.bins)


def right_factor(distractors: Features) -> Callable[[np.ndarray], np.ndarray]:
    """What turns a slice of the distractors into the right factor; it refuses rows that are not finite."""
    def prepare(part: np.ndarray) -> np.ndarray:
        single = as_right(distractors.single(part))
        if not np.isfinite(single[:, -1]).all():
            raise InputError("distractor features: a row is not finite (NaN or infinity) or too long to be compared as "
                             "stored; extract the features again, or normalise them")
        return single
    return prepare


class _Run:
    """The running counts of one pass over the distractors."""

    def __init__(self, probes: Features, ids: np.ndarray, distractors: Features, counts: Sequence[int],
                 fars: Sequence[float]) -> None:
        check(probes, ids, distractors, counts, fars)
        self.fars, self._rows = list(fars), len(ids)
        self.trials = Trials.of(probes, np.asarray(ids))
        self.left, self.bins = self.trials.left, self.trials.bins
        self.histogram = Histogram(self.bins)
        self.ranks = self.trials.counter(distractors)
        wanted = max(false_accepts_allowed(far, len(ids) * max(counts)) for far in fars) + 1
        self.largest = Largest(min(wanted, len(ids) * max(counts)), self.trials.margin, self.ranks.rescore)

    def add(self, scores: np.ndarray, start: int) -> None:
        """Count one block of scores against distractors from `start` on."""
        indices = self.bins.index(scores)
        self.histogram.add_indices(indices)
        self.ranks.add_block(scores, indices, start)
        found = sieve(scores, np.minimum(self.ranks.cut, np.float32(self.largest.cut)), start)
        self.ranks.take(found)
        self.largest.take(found)

    def result(self, distractors: int) -> MegaFaceResult:
        """The figures after the first `distractors` distractors."""
        impostors = distractors * self._rows
        ranks, shares = cmc_steps(self.ranks.ranks())
        ascending = np.sort(self.trials.genuine)
        limits = {far: self.largest.at(false_accepts_allowed(far, impostors)) for far in self.fars}
        tar = {far: float(1 - np.searchsorted(ascending, limit, side="left") / len(ascending))
               for far, limit in limits.items()}
        far_axis, tar_axis = self._curve(impostors, ascending)
        return MegaFaceResult(distractors, len(ascending) * 2, len(ascending), impostors, ranks, shares, tar,
                              {far: -2 * limit for far, limit in limits.items()}, far_axis, tar_axis,
                              self.ranks.unresolved)

    def _curve(self, impostors: int, ascending: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        """ROC points at about 20 a decade: from the largest scores as far as they are kept, from bins beyond."""
        decades = int(np.ceil(np.log10(impostors))) if impostors > 1 else 1
        targets = np.unique(np.floor(impostors * np.logspace(-decades, 0, decades * POINTS_PER_DECADE + 1)).astype(int))
        top = self.largest.sorted_scores()
        near = targets[targets < min(len(top), self.largest.count)]
        beaten = np.searchsorted(ascending, top[near].astype(np.float64), side="left")
        own = Histogram(self.bins)
        own.add(ascending)
        far, tar, _ = operating_points(own, self.histogram)
        beyond = targets[targets >= min(len(top), self.largest.count)] / impostors
        chosen = np.unique(np.searchsorted(-far, -beyond, side="left").clip(0, len(far) - 1))[::-1]
        return np.r_[near / impostors, far[chosen]], np.r_[1 - beaten / len(ascending), tar[chosen]]


def check(probes: Features, ids: np.ndarray, distractors: Features, counts: Sequence[int],
          fars: Sequence[float]) -> None:
    """Raise InputError naming what does not fit together."""
    check_embeddings(probes.rows, "probe features", zeros=True)
    if len(ids) != len(probes):
        raise InputError(f"probe ids: {len(ids)} ids for {len(probes)} probe features; give one id per row")
    if distractors.rows.ndim != 2 or distractors.rows.shape[1] != probes.rows.shape[1]:
        raise InputError(f"distractor features: shape {distractors.rows.shape} beside probes of "
                         f"{probes.rows.shape[1]} dimensions; use features of one model, both cleaned or both not")
    if not counts or min(counts) < 1 or max(counts) > len(distractors):
        raise InputError(f"--distractors {','.join(map(str, counts))}: between 1 and the {len(distractors)} given")
    if not fars or not all(0 < far <= 1 for far in fars):
        raise InputError(f"--far {','.join(map(str, fars))}: each above 0 and at most 1")
