"""Verification of image pairs: distances and truth in, every figure of the protocol out.

LFW, CFP-FF, CFP-FP, AgeDB-30, CALFW, CPLFW and VGG2-FP share it (docs/original.md, section 5).
"""
from dataclasses import dataclass, field
from typing import Any, Dict, Tuple

from arcface_mxnet.datasets.pair_folds import FOLDS, dealt_order
from arcface_mxnet.evaluation.features import check_embeddings, normalise, squared_distances
from arcface_mxnet.evaluation.metrics import RATE_THRESHOLDS, auc, kfold_accuracy, roc, truth_values, validation_rate
from arcface_mxnet.runtime.errors import InputError

import numpy as np

FAR = 1e-3
_PAIRS_AT_ONCE = 512


@dataclass(frozen=True)
class PairResult:
    """The figures of one pair set.

    `accuracy`, `std` (population, over folds), `fold_accuracies`; `fold_thresholds` are squared distances (0..4);
    `auc`; `xnorm` the mean L2 norm of the raw embeddings; `pairs` their number; `val_at_far` with its `val_std` and the
    `val_far` reached, at FAR 1e-3. `distances` (P,) squared distances, `same` (P,) truth, `correct` (P,) decisions.
    """

    accuracy: float
    std: float
    fold_accuracies: Tuple[float, ...]
    fold_thresholds: Tuple[float, ...]
    auc: float
    xnorm: float
    pairs: int
    val_at_far: float
    val_std: float
    val_far: float
    distances: np.ndarray = field(repr=False, compare=False)
    same: np.ndarray = field(repr=False, compare=False)
    correct: np.ndarray = field(repr=False, compare=False)

    def figures(self) -> Dict[str, Any]:
        """What `result.json` holds: the numbers, without the arrays; an undefined figure (one class only) is None."""
        numbers = {"accuracy": self.accuracy, "std": self.std, "auc": self.auc, "xnorm": self.xnorm,
                   "val_at_far": self.val_at_far, "val_std": self.val_std, "val_far": self.val_far}
        known = {name: None if np.isnan(value) else value for name, value in numbers.items()}
        return {**known, "pairs": self.pairs, "genuine": int(self.same.sum()),
                "fold_accuracies": list(self.fold_accuracies), "fold_thresholds": list(self.fold_thresholds)}


def evaluate_distances(distances: np.ndarray, same: np.ndarray, xnorm: float = float("nan"),
                       folds: int = FOLDS) -> PairResult:
    """All figures of (P,) squared distances 0..4 and (P,) booleans in the order of the official list."""
    accuracy = kfold_accuracy(distances, same, folds)
    rate = validation_rate(distances, same, FAR, folds, RATE_THRESHOLDS)
    return PairResult(accuracy.mean, accuracy.std, tuple(accuracy.accuracies.tolist()),
                      tuple(accuracy.thresholds.tolist()), auc(roc(-distances, same)), float(xnorm), len(same),
                      rate.rate, rate.std, rate.far, distances, same, accuracy.correct)


def evaluate_pairs(embeddings: np.ndarray, same: np.ndarray, xnorm: float = float("nan"), folds: int = FOLDS,
                   deal: bool = False) -> PairResult:
    """All figures of (2 P, d) embeddings, pair i being rows 2i and 2i+1; they are L2-normalised here, in float64.

    `deal`: spread genuine and impostor pairs evenly over the folds (pair_folds.dealt_order) instead of file order.
    Raises InputError when the rows are not two per pair or not finite.
    """
    if len(embeddings) != 2 * len(same):
        raise InputError(f"{len(embeddings)} embeddings for {len(same)} pairs; two rows per pair are needed")
    check_embeddings(embeddings, "embeddings")
    distances = np.empty(len(same))
    for start in range(0, len(same), _PAIRS_AT_ONCE):
        unit = normalise(embeddings[2 * start:2 * (start + _PAIRS_AT_ONCE)].astype(np.float64), copy=False)
        distances[start:start + _PAIRS_AT_ONCE] = squared_distances(unit[0::2], unit[1::2])
    truth = truth_values(same)
    order = dealt_order(truth, folds) if deal else np.arange(len(truth))
    return evaluate_distances(distances[order], truth[order], xnorm, folds)
