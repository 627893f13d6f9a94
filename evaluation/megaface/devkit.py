"""The devkit's own variant of the protocol, and its result files (paper_tables.md, 3.3).

It differs from the exact protocol: only the first 100 probes give impostor pairs, and curves are thinned: a point is
kept when it rose more than 0.01 above the last one kept, and so is the last point.
"""
import json
from dataclasses import dataclass
from typing import Any, Dict, List, Sequence, Tuple

from arcface_mxnet.evaluation.blockwise import block_borders, score_blocks, sieve
from arcface_mxnet.evaluation.megaface.pairs import Features
from arcface_mxnet.evaluation.megaface.protocol import Trials, check, cmc_steps, right_factor
from arcface_mxnet.evaluation.order import RowBest
from arcface_mxnet.runtime.files import PathLike, atomic_open

import numpy as np

ROC_PROBES = 100
RISE = 0.01
MATCHES = 5

Curve = Tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class DevkitResult:
    """What the devkit writes for one number of distractors.

    `cmc`, `traditional_cmc`: thinned (ranks from 0, rates). `roc`: thinned (false positive rates, true positive rates).
    `matches`: per probe the 5 best distractors (scores -|x - y|^2) and the rank of each of its mates.
    """

    cmc: Curve
    roc: Curve
    traditional_cmc: Curve
    matches: List[Dict[str, Any]]

    @property
    def rank1(self) -> float:
        """Rank-1 identification rate: the first point of the CMC, never thinned away."""
        return float(self.cmc[1][0])

    def tar(self, far: float) -> float:
        """TAR as the community reads the thinned curve: linear in log10 FPR, or in FPR beside a point at FPR 0."""
        fpr, tpr = self.roc
        right = int(np.searchsorted(fpr, far, side="right"))
        if right == len(fpr) or fpr[right - 1] == far:
            return float(tpr[min(right, len(fpr)) - 1])
        low, high = fpr[right - 1], fpr[right]
        place = (far - low) / (high - low) if low <= 0 else np.log(far / low) / np.log(high / low)
        return float(tpr[right - 1] + place * (tpr[right] - tpr[right - 1]))

    def cmc_document(self) -> Dict[str, Any]:
        """The content of cmc_*.json; rates are rounded to float32 as the devkit's are."""
        rates = {name: [x.tolist(), y.astype(np.float32).astype(float).tolist()]
                 for name, (x, y) in (("cmc", self.cmc), ("traditional_cmc", self.traditional_cmc))}
        return {**rates, "roc": [axis.astype(np.float32).astype(float).tolist() for axis in self.roc]}


def evaluate_devkit(probes: Features, ids: np.ndarray, distractors: Features) -> DevkitResult:
    """The devkit's figures of (P, d) probes with persons `ids` (P,) against all (N, d) distractors."""
    ids = np.asarray(ids)
    check(probes, ids, distractors, [len(distractors)], [1.0])
    trials = Trials.of(probes, ids)
    counter, best = trials.counter(distractors), RowBest(len(ids), min(MATCHES, len(distractors)))
    ascending = np.sort(trials.genuine.astype(np.float32))
    above = np.zeros(len(ascending), np.int64)
    ends = block_borders(len(distractors))
    for start, scores in score_blocks(trials.left, distractors.rows, ends, right_factor(distractors)):
        counter.add_block(scores, trials.bins.index(scores), start)
        found = sieve(scores, np.minimum(counter.cut, best.cut), start)
        counter.take(found)
        best.take(found)
        negatives = np.sort(scores[:ROC_PROBES], axis=None)
        above += len(negatives) - np.searchsorted(negatives, ascending, side="right")
    ranks = counter.ranks()
    return DevkitResult(_thinned_cmc(ranks, len(distractors)),
                        _thinned_roc(above, min(ROC_PROBES, len(ids)) * len(distractors)),
                        _traditional(trials, ids, ranks, len(distractors)), _matches(trials, ranks, best))


def thin(rates: np.ndarray) -> np.ndarray:
    """Positions of the points of a rising curve that the devkit writes: the first, each that rose by more, the last."""
    kept = [0]
    while kept[-1] + 1 < len(rates):
        following = int(np.searchsorted(rates, rates[kept[-1]] + RISE, side="right"))
        kept.append(max(kept[-1] + 1, min(following, len(rates) - 1)))
    return np.array(kept)


def write_files(result: DevkitResult, cmc_path: PathLike, matches_path: PathLike) -> None:
    """Write cmc_*.json and matches_*.json."""
    for path, content in ((cmc_path, result.cmc_document()), (matches_path, result.matches)):
        with atomic_open(path, "w") as stream:
            json.dump(content, stream)
            stream.write("\n")


def _curve(places: np.ndarray, shares: np.ndarray, last: int) -> Curve:
    """Steps of a curve over 0..last, with its first and last point, thinned."""
    if places[0] > 0:
        places, shares = np.r_[0, places], np.r_[0.0, shares]
    if places[-1] < last:
        places, shares = np.r_[places, last], np.r_[shares, shares[-1]]
    kept = thin(shares)
    return places[kept], shares[kept]


def _thinned_cmc(ranks: np.ndarray, last: int) -> Curve:
    return _curve(*cmc_steps(ranks), last)


def _thinned_roc(above: np.ndarray, negatives: int) -> Curve:
    """roc[k] = TAR after k false accepts, genuine pairs first on ties; `above`: impostors beating each genuine pair."""
    accepts, tar = _curve(*cmc_steps(above), negatives)
    return accepts / negatives, tar


def _traditional(trials: Trials, ids: np.ndarray, ranks: np.ndarray, distractors: int) -> Curve:
    """One gallery for all: the first image of each person and the distractors; every other probe is searched.

    What the binary does here is not documented: this is our reading (it allocates distractors + persons ranks).
    """
    _, first, person = np.unique(ids, return_index=True, return_inverse=True)
    chosen = np.flatnonzero(trials.mate == first[person[trials.query]])
    gallery = trials.probes.exact(first)
    total = np.empty(len(chosen), np.int64)
    for place, trial in enumerate(chosen):
        difference = gallery - trials.probes.exact(trials.query[trial:trial + 1])
        scores = -0.5 * np.sum(difference * difference, axis=1)
        total[place] = ranks[trial] + np.count_nonzero(scores > scores[person[trials.query[trial]]])
    return _thinned_cmc(total, distractors + len(first))


def _matches(trials: Trials, ranks: np.ndarray, best: RowBest) -> List[Dict[str, Any]]:
    order = np.lexsort((trials.mate, trials.query))
    starts = np.searchsorted(trials.query[order], np.arange(len(trials.left) + 1))
    matches = []
    for row, columns in enumerate(best.columns):
        own: Sequence[int] = order[starts[row]:starts[row + 1]]
        matches.append({
            "distractors": {"idx": columns.tolist(), "score": (2 * best.scores[row].astype(float)).tolist()},
            "probes": {"idx": trials.mate[own].tolist(), "rank": ranks[own].tolist()}})
    return matches
