"""The exact protocol: every probe against every distractor, each score counted, the score matrix never whole in memory.

Rules: paper_tables.md, section 3.3. A trial is an ordered pair of different images (query, mate) of one person; the
mate is ranked among the distractors alone. Impostor pairs are all probes x all distractors.
"""
from dataclasses import dataclass
from typing import Callable, Dict, List, Sequence, Tuple

from arcface_mxnet.evaluation.blockwise import block_borders, score_blocks, sieve
from arcface_mxnet.evaluation.histogram import Bins, Histogram, operating_points
from arcface_mxnet.evaluation.megaface.pairs import Features, as_left, as_right, mates, pair_scores, rounding_error
from arcface_mxnet.evaluation.megaface.ranks import RankCounter
from arcface_mxnet.evaluation.metrics import false_accepts_allowed
from arcface_mxnet.evaluation.order import Largest
from arcface_mxnet.evaluation.vectors import check_embeddings
from arcface_mxnet.runtime.errors import InputError

import numpy as np

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
    check_embeddings(probes.rows, "probe features")
    if len(ids) != len(probes):
        raise InputError(f"probe ids: {len(ids)} ids for {len(probes)} probe features; give one id per row")
    if distractors.rows.ndim != 2 or distractors.rows.shape[1] != probes.rows.shape[1]:
        raise InputError(f"distractor features: shape {distractors.rows.shape} beside probes of "
                         f"{probes.rows.shape[1]} dimensions; use features of one model, both cleaned or both not")
    if not counts or min(counts) < 1 or max(counts) > len(distractors):
        raise InputError(f"--distractors {','.join(map(str, counts))}: between 1 and the {len(distractors)} given")
    if not fars or not all(0 < far <= 1 for far in fars):
        raise InputError(f"--far {','.join(map(str, fars))}: each above 0 and at most 1")
