"""Figures from scores: arrays in, arrays out, no files and no networks.

Scores are "the larger, the more alike"; distances are squared Euclidean distances of unit vectors (0..4). Every
function sorts or counts once; none loops over thresholds.
"""
from dataclasses import dataclass
from typing import Any, Callable, List, Optional, Sequence, Tuple

from arcface_mxnet.runtime.errors import InputError

import numpy as np

ACCURACY_THRESHOLDS = np.arange(0, 4, 0.01)
"""The 400 thresholds of the original's accuracy (docs/original.md, section 5.2)."""
RATE_THRESHOLDS = np.arange(0, 4, 0.001)
"""The 4000 thresholds of the original's validation rate (docs/original.md, section 5.3)."""


@dataclass(frozen=True)
class FoldAccuracy:
    """k-fold accuracy: per fold the share of right decisions and the threshold chosen on the other folds."""

    accuracies: np.ndarray
    thresholds: np.ndarray
    correct: np.ndarray

    @property
    def mean(self) -> float:
        """Mean over folds."""
        return float(np.mean(self.accuracies))

    @property
    def std(self) -> float:
        """Population standard deviation over folds, as printed by the original."""
        return float(np.std(self.accuracies))


@dataclass(frozen=True)
class ValidationRate:
    """VAL@FAR: accepted genuine pairs and false accepts of the held-out folds, at the training folds' threshold."""

    rate: float
    std: float
    far: float


@dataclass(frozen=True)
class Roc:
    """Operating points from the strictest threshold to the loosest: accept when score >= threshold."""

    far: np.ndarray
    tar: np.ndarray
    thresholds: np.ndarray


def fold_slices(pairs: int, folds: int) -> List[slice]:
    """Contiguous folds in file order, the first `pairs % folds` one longer (scikit-learn's KFold without shuffle)."""
    if not 1 <= folds <= pairs:
        raise InputError(f"{pairs} pairs cannot be cut into {folds} folds; use --folds between 1 and {pairs}")
    sizes = np.full(folds, pairs // folds)
    sizes[:pairs % folds] += 1
    ends = np.cumsum(sizes)
    return [slice(int(end - size), int(end)) for end, size in zip(ends, sizes)]


def fold_histograms(distances: np.ndarray, same: np.ndarray, folds: int,
                    thresholds: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Per fold, how many genuine and impostor pairs are first accepted at each threshold.

    Two int arrays (folds, len(thresholds) + 1); the last column counts pairs that no threshold accepts. A pair is
    accepted when distance < threshold (strict).
    """
    check_pairs(distances, same)
    slices, columns = fold_slices(len(distances), folds), len(thresholds) + 1
    first = np.searchsorted(thresholds, distances, side="right")
    genuine = np.zeros((folds, columns), np.int64)
    impostor = np.zeros((folds, columns), np.int64)
    for fold, rows in enumerate(slices):
        genuine[fold] = np.bincount(first[rows][same[rows]], minlength=columns)
        impostor[fold] = np.bincount(first[rows][~same[rows]], minlength=columns)
    return genuine, impostor


def best_thresholds(genuine: np.ndarray, impostor: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """The original's choice on histograms (..., folds, columns): index of the threshold, and right decisions, per fold.

    On all other folds the first threshold with the most right decisions wins; a single fold is judged by itself.
    """
    right = np.cumsum(genuine, axis=-1)[..., :-1] + (impostor.sum(axis=-1, keepdims=True)
                                                     - np.cumsum(impostor, axis=-1)[..., :-1])
    training = right if genuine.shape[-2] == 1 else right.sum(axis=-2, keepdims=True) - right
    chosen = np.argmax(training, axis=-1)
    return chosen, np.take_along_axis(right, chosen[..., None], axis=-1)[..., 0]


def kfold_accuracy(distances: np.ndarray, same: np.ndarray, folds: int = 10,
                   thresholds: np.ndarray = ACCURACY_THRESHOLDS) -> FoldAccuracy:
    """Accuracy (docs/original.md, section 5.2): (P,) distances 0..4 and (P,) booleans, in the official list's order.

    `correct` of the result tells for each pair whether its fold's threshold decided it rightly. Raises InputError
    for NaN distances, lengths that differ and fewer pairs than folds.
    """
    genuine, impostor = fold_histograms(distances, same, folds, thresholds)
    chosen, right = best_thresholds(genuine, impostor)
    sizes = genuine.sum(axis=1) + impostor.sum(axis=1)
    limits = np.repeat(thresholds[chosen], sizes)
    return FoldAccuracy(right / sizes, thresholds[chosen], (distances < limits) == same)


def validation_rate(distances: np.ndarray, same: np.ndarray, far: float = 1e-3, folds: int = 10,
                    thresholds: np.ndarray = RATE_THRESHOLDS) -> ValidationRate:
    """VAL at a false accept rate (docs/original.md, section 5.3); the threshold is interpolated, 0 if out of reach.

    Folds without genuine (impostor) pairs are left out of the mean rate (far); NaN where no fold has any.
    """
    genuine, impostor = fold_histograms(distances, same, folds, thresholds)
    accepted = np.cumsum(impostor, axis=1)[:, :-1]
    rates, fars = np.full(folds, np.nan), np.full(folds, np.nan)
    for fold, rows in enumerate(fold_slices(len(distances), folds)):
        others = np.arange(folds) != fold if folds > 1 else np.ones(1, bool)
        curve = accepted[others].sum(axis=0) / max(1, impostor[others].sum())
        limit = np.interp(far, curve, thresholds) if curve[-1] >= far else 0.0
        yes, truth = distances[rows] < limit, same[rows]
        if truth.any():
            rates[fold] = np.mean(yes[truth])
        if not truth.all():
            fars[fold] = np.mean(yes[~truth])
    return ValidationRate(*(_nan_statistic(statistic, values) for statistic, values in
                            ((np.mean, rates), (np.std, rates), (np.mean, fars))))


def roc(scores: np.ndarray, same: np.ndarray) -> Roc:
    """The whole ROC curve of (P,) scores: one point per distinct score after the point (0, 0) at threshold +inf.

    Equal to sklearn.metrics.roc_curve(drop_intermediate=False). A rate whose class is empty is NaN.
    """
    check_pairs(scores, same)
    order = np.argsort(-scores, kind="stable")
    ordered, truth = scores[order], same[order]
    last = np.r_[np.flatnonzero(ordered[1:] != ordered[:-1]), len(ordered) - 1] if len(ordered) else np.zeros(0, int)
    accepted_genuine = np.r_[0, np.cumsum(truth)[last]]
    accepted = np.r_[0, last + 1]
    genuine = int(truth.sum())
    impostor = len(truth) - genuine
    with np.errstate(invalid="ignore"):
        return Roc((accepted - accepted_genuine) / np.float64(impostor), accepted_genuine / np.float64(genuine),
                   np.r_[np.inf, ordered[last]])


def auc(curve: Roc) -> float:
    """Area under a ROC curve by the trapezoid rule; NaN when a class is empty."""
    trapezoid = np.trapezoid if hasattr(np, "trapezoid") else np.trapz  # the name before NumPy 2
    return float(trapezoid(curve.tar, curve.far))


def false_accepts_allowed(far: float, impostors: int) -> int:
    """The most impostor pairs that may be accepted at a FAR: floor(far * impostors), safe against rounding below."""
    return int(np.floor(far * impostors * (1 + 1e-12) + 1e-9))


def tar_at_nearest_far(curve: Roc, fars: Sequence[float]) -> np.ndarray:
    """TAR at the point whose FAR is nearest each target, the largest TAR among equals: the rule of the IJB scripts.

    (docs/original.md, section 7.3; the scripts apply it to sklearn's curve with its collinear points dropped.)
    """
    far, tar = curve.far[::-1], curve.tar[::-1]
    return np.array([tar[np.argmin(np.abs(far - target))] for target in fars])


def truth_values(same: np.ndarray, what: str = "pairs") -> np.ndarray:
    """Truth (P,) as bool; raises InputError naming a pair whose value is not 0, 1, True or False."""
    given = np.asarray(same)
    if given.dtype == np.bool_:
        return given
    wrong = np.flatnonzero(~np.isin(given, (0, 1))) if given.dtype.kind in "iuf" else np.arange(given.size)
    if wrong.size:
        found = given.ravel().tolist()[wrong[0]]
        raise InputError(f"{what}: the truth value of pair {wrong[0]} is {found!r}, which is not 0, 1, True or False; "
                         "correct the list")
    return given.astype(bool)


def check_pairs(values: np.ndarray, same: np.ndarray, what: Optional[str] = None) -> None:
    """Raise InputError unless `values` (P,) is floating without NaN and `same` is (P,) boolean."""
    name = what or "pairs"
    if values.ndim != 1 or values.shape != same.shape or same.dtype != np.bool_:
        raise InputError(f"{name}: {values.shape} values and {same.dtype} {same.shape} labels do not match; "
                         "give one number and one true/false per pair")
    if np.isnan(values).any():
        raise InputError(f"{name}: pair {int(np.argmax(np.isnan(values)))} has no number (NaN); "
                         "the embeddings are broken, check the checkpoint")


def _nan_statistic(statistic: Callable[..., Any], values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(statistic(known)) if len(known) else float("nan")
