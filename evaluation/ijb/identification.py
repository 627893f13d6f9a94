"""1:N identification in both published definitions (docs/original.md, section 7.4).

"union": all gallery subjects together; every probe has exactly one mate. TPIR at FPIR f: the threshold is the
ceil(f x probes)-th largest of all non-mate scores; a mate strictly above it counts, whatever its rank.
"separate": each gallery alone; probes without a mate in it set the threshold by their best score each, the
max(int(f x non-mated), 1)-th largest; a mate counts when it beats every other subject and the threshold, both strictly.
A mate is among the k best when fewer than k others score as much or more: a tie never helps.
"""
from dataclasses import dataclass
from typing import Dict, List, Optional, Sequence, Tuple

from arcface_mxnet.evaluation.ijb.metadata import Subjects
from arcface_mxnet.evaluation.ijb.templates import Templates
from arcface_mxnet.evaluation.ranking import Largest
from arcface_mxnet.evaluation.scoring import padded, score_blocks, sieve
from arcface_mxnet.runtime.errors import InputError

import numpy as np

RANKS = (1, 5, 10)
FPIRS = (0.01, 0.1)
_PROBES_AT_ONCE = 1024


@dataclass(frozen=True)
class IdentifyResult:
    """`rank` by k and `tpir` by FPIR, with the `thresholds` (cosine; one per gallery in "separate")."""

    rank: Dict[int, float]
    tpir: Dict[float, float]
    thresholds: Dict[float, Tuple[float, ...]]
    probes: int
    gallery: Tuple[int, ...]


@dataclass(frozen=True)
class _Search:
    """One search: per probe its mate's score (NaN: no mate), how many others reach it, and the best other score."""

    mate: np.ndarray
    reached: np.ndarray
    best_other: np.ndarray

    @property
    def mated(self) -> np.ndarray:
        return ~np.isnan(self.mate)


def identify_union(templates: Templates, galleries: Sequence[Subjects], probes: Subjects,
                   fpirs: Sequence[float] = FPIRS) -> IdentifyResult:
    """The original script's closed-set search over the union of the galleries.

    Raises InputError for a probe without exactly one mate and for templates without images.
    """
    subjects = np.concatenate([gallery.subjects for gallery in galleries])
    features = np.concatenate([_features(templates, gallery, "gallery") for gallery in galleries])
    counts = [int(np.ceil(fpir * len(probes.templates))) for fpir in fpirs]
    largest = Largest(max(counts))
    found = _search(_features(templates, probes, "probe"), probes.subjects, features, subjects, largest)
    if not found.mated.all():
        lost = probes.templates[np.argmin(found.mated)]
        raise InputError(f"probe template {lost} has no mate in the galleries; the lists do not belong together")
    limits = [largest.at(count - 1) for count in counts]
    tpir = {fpir: float(np.mean(found.mate > limit)) for fpir, limit in zip(fpirs, limits)}
    rank = {k: float(np.mean(found.reached < k)) for k in RANKS}
    return IdentifyResult(rank, tpir, {fpir: (limit,) for fpir, limit in zip(fpirs, limits)}, len(found.mate),
                          (len(subjects),))


def identify_separate(templates: Templates, galleries: Sequence[Subjects], probes: Subjects,
                      fpirs: Sequence[float] = FPIRS) -> IdentifyResult:
    """The later evaluator's open-set search of each gallery; TPIR is the mean over galleries, rank-k over all probes.

    Raises InputError when a gallery has no mated or no non-mated probe.
    """
    probe_features = _features(templates, probes, "probe")
    hits = dict.fromkeys(RANKS, 0)
    rates: List[List[float]] = []
    limits: List[List[float]] = []
    for gallery in galleries:
        found = _search(probe_features, probes.subjects, _features(templates, gallery, "gallery"), gallery.subjects)
        if found.mated.all() or not found.mated.any():
            raise InputError("a gallery needs probes with and without a mate in it; the lists do not belong together")
        outsiders = np.sort(found.best_other[~found.mated])[::-1]
        mates, others = found.mate[found.mated], found.best_other[found.mated]
        limits.append([float(outsiders[max(int(len(outsiders) * fpir) - 1, 0)]) for fpir in fpirs])
        rates.append([float(np.mean((mates > others) & (mates > limit))) for limit in limits[-1]])
        for k in RANKS:
            hits[k] += int(np.count_nonzero(found.reached[found.mated] < k))
    return IdentifyResult({k: hits[k] / len(probes.templates) for k in RANKS},
                          dict(zip(fpirs, np.mean(rates, axis=0).tolist())),
                          {fpir: tuple(limit) for fpir, limit in zip(fpirs, zip(*limits))}, len(probes.templates),
                          tuple(len(gallery.subjects) for gallery in galleries))


def _features(templates: Templates, wanted: Subjects, what: str) -> np.ndarray:
    return templates.features[templates.rows_of(wanted.templates, f"{what} list")]


def _search(probes: np.ndarray, probe_subjects: np.ndarray, gallery: np.ndarray, subjects: np.ndarray,
            others: Optional[Largest] = None) -> _Search:
    """Search (p, d) probes in a (g, d) gallery of distinct subjects; `others` collects all non-mate scores."""
    if len(np.unique(subjects)) != len(subjects):
        raise InputError("gallery list: a subject has two templates; it needs one each")
    order = np.argsort(subjects)
    place = np.searchsorted(subjects, probe_subjects, sorter=order).clip(0, len(subjects) - 1)
    mate_column = np.where(subjects[order[place]] == probe_subjects, order[place], -1)
    mate = np.full(len(probes), np.nan)
    reached, best = np.zeros(len(probes), np.int64), np.full(len(probes), -np.inf)
    for start in range(0, len(probes), _PROBES_AT_ONCE):
        rows = slice(start, start + _PROBES_AT_ONCE)
        columns = mate_column[rows]
        mated = np.flatnonzero(columns >= 0)
        block_rows = padded(probes[rows], min(_PROBES_AT_ONCE, len(probes)))
        for _, block in score_blocks(block_rows, gallery, [len(gallery)]):
            scores = block[:len(columns)]
            own = scores[mated, columns[mated]].copy()
            scores[mated, columns[mated]] = -np.inf
            mate[start + mated] = own
            reached[start + mated] = np.count_nonzero(scores[mated] >= own[:, None], axis=1)
            best[rows] = scores.max(axis=1)
            if others is not None:
                others.take(sieve(scores, others.cut, 0))
    return _Search(mate, reached, best)
