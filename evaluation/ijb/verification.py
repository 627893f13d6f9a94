"""1:1 verification: scores of 15.7 million template pairs from products of blocks, TAR by the published rule.

In float64 as in the scripts: in float32 many scores tie, and which points of the ROC curve are left, hence the TAR at
the nearest FAR, depends on ties.
"""
from dataclasses import dataclass
from typing import Dict, Sequence

from arcface_mxnet.evaluation.ijb.metadata import TemplatePairs
from arcface_mxnet.evaluation.ijb.templates import Templates
from arcface_mxnet.evaluation.metrics import Roc, roc, tar_at_nearest_far
from arcface_mxnet.evaluation.scoring import padded
from arcface_mxnet.runtime.errors import InputError

import numpy as np

FARS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
_LEFT_AT_ONCE = 512
_SPARSE = 0.006
"""Share of the products that must be needed: one costs a few ns in a block, about a microsecond alone."""


@dataclass(frozen=True)
class VerifyResult:
    """`tar` by target FAR; `curve` the ROC without its collinear points; how many `genuine` and `impostor` pairs."""

    tar: Dict[float, float]
    curve: Roc
    genuine: int
    impostor: int


def verify(templates: Templates, pairs: TemplatePairs, fars: Sequence[float] = FARS) -> VerifyResult:
    """TAR at each FAR by the rule of the IJB scripts, equal to theirs on the same scores.

    Raises InputError for pairs of unknown templates, and when one class of pairs is missing.
    """
    genuine = int(pairs.same.sum())
    impostor = len(pairs.same) - genuine
    if not 0 < genuine < len(pairs.same):
        raise InputError(f"template_pair_label: {genuine} genuine of {len(pairs.same)} pairs; both kinds are needed")
    curve = without_collinear(roc(pair_scores(templates, pairs), pairs.same), genuine, impostor)
    return VerifyResult(dict(zip(fars, tar_at_nearest_far(curve, fars).tolist())), curve, genuine, impostor)


def pair_scores(templates: Templates, pairs: TemplatePairs) -> np.ndarray:
    """Cosine, float64 (p,), of each pair of templates; equal pairs score equal.

    Every template of the first kind against every one of the second, block by block, and of that what the pairs ask
    for: far less memory traffic than gathering two features a pair, as long as they ask for enough of it.
    """
    left, right = (templates.rows_of(ids, "template_pair_label") for ids in (pairs.first, pairs.second))
    lefts, rights = np.unique(left), np.unique(right)
    if len(left) < _SPARSE * len(lefts) * len(rights):
        return _gathered(templates.features, left, right)
    place = np.searchsorted(rights, right)
    order = np.argsort(left, kind="stable")
    scores = np.empty(len(left))
    gallery = np.ascontiguousarray(templates.features[rights], np.float64)
    block = np.empty((min(_LEFT_AT_ONCE, len(lefts)), len(rights)))
    for start in range(0, len(lefts), _LEFT_AT_ONCE):
        rows = lefts[start:start + _LEFT_AT_ONCE]
        first, last = np.searchsorted(left, [rows[0], rows[-1] + 1], sorter=order)
        mine = order[first:last]
        np.matmul(padded(np.asarray(templates.features[rows], np.float64), len(block)), gallery.T, out=block)
        scores[mine] = block[np.searchsorted(rows, left[mine]), place[mine]]
    return scores


def without_collinear(curve: Roc, genuine: int, impostor: int) -> Roc:
    """The curve without the inner points of straight runs, as sklearn.metrics.roc_curve gives it by default.

    The scripts read TAR from that curve, and which points are left decides which is nearest to a FAR.
    """
    if len(curve.far) <= 3:
        return curve
    accepts, hits = np.rint(curve.far[1:] * impostor), np.rint(curve.tar[1:] * genuine)
    kept = np.r_[True, True, (np.diff(accepts, 2) != 0) | (np.diff(hits, 2) != 0), True]
    return Roc(curve.far[kept], curve.tar[kept], curve.thresholds[kept])


def _gathered(features: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    scores = np.empty(len(left))
    for start in range(0, len(left), 1 << 16):
        part = slice(start, start + (1 << 16))
        scores[part] = np.einsum("ij,ij->i", features[left[part]], features[right[part]], dtype=np.float64)
    return scores
