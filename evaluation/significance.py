"""How sure a figure is: a bootstrap interval of the k-fold accuracy and McNemar's test between two models."""
from dataclasses import dataclass
from typing import Tuple

from arcface_mxnet.evaluation.metrics import ACCURACY_THRESHOLDS, best_thresholds, fold_histograms
from arcface_mxnet.runtime.errors import InputError

import numpy as np
from scipy.stats import binomtest

_REPLICATES_AT_ONCE = 128


@dataclass(frozen=True)
class McNemar:
    """Pairs that only one of two models decides rightly, and the exact two-sided p-value of "neither is better"."""

    only_first: int
    only_second: int
    p_value: float


def bootstrap_accuracy(distances: np.ndarray, same: np.ndarray, folds: int = 10, replicates: int = 1000,
                       level: float = 0.95, seed: int = 0) -> Tuple[float, float]:
    """Percentile interval of the k-fold accuracy when pairs are drawn again, with replacement, inside each fold.

    The whole protocol runs on every replicate, thresholds included: a pair matters only through the threshold that
    first accepts it, so that a replicate is one multinomial draw of each fold's histogram. Pairs that share a person
    are not independent; the interval is therefore a lower bound of the true spread. Raises InputError as
    `kfold_accuracy` does.
    """
    if replicates < 1 or not 0 < level < 1:
        raise InputError(f"--bootstrap {replicates}: at least 1 replicate, and a level between 0 and 1")
    genuine, impostor = fold_histograms(distances, same, folds, ACCURACY_THRESHOLDS)
    counts = np.concatenate([genuine, impostor], axis=1)
    sizes = counts.sum(axis=1)
    rng = np.random.default_rng(seed)
    means = []
    for start in range(0, replicates, _REPLICATES_AT_ONCE):
        block = min(_REPLICATES_AT_ONCE, replicates - start)
        drawn = np.stack([rng.multinomial(size, row / size, block) for size, row in zip(sizes, counts)], axis=1)
        right = best_thresholds(drawn[..., :genuine.shape[1]], drawn[..., genuine.shape[1]:])[1]
        means.append(np.mean(right / sizes, axis=1))
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mcnemar(first_correct: np.ndarray, second_correct: np.ndarray) -> McNemar:
    """McNemar's exact test on (P,) booleans: which decisions of two models on the same pairs are right.

    Under the hypothesis of equal models each pair that only one decides rightly falls to either with probability 1/2.
    """
    if first_correct.shape != second_correct.shape or first_correct.ndim != 1:
        raise InputError(f"McNemar's test needs the decisions of two models on the same pairs, "
                         f"found {first_correct.shape} and {second_correct.shape}")
    only_first = int(np.sum(first_correct & ~second_correct))
    only_second = int(np.sum(~first_correct & second_correct))
    differing = only_first + only_second
    p_value = float(binomtest(only_first, differing, 0.5).pvalue) if differing else 1.0
    return McNemar(only_first, only_second, p_value)
