"""Figures from scores: against loops a reader believes, scikit-learn, and properties every metric shares."""
from typing import Callable, Dict

from arcface_mxnet.evaluation import metrics
from arcface_mxnet.runtime.errors import InputError

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve
from sklearn.model_selection import KFold


def slow_accuracy(distances, same, folds, thresholds):
    """The original's accuracy, written as its description reads (docs/original.md, section 5.2)."""
    indices = np.arange(len(same))
    splits = KFold(folds).split(indices) if folds > 1 else [(indices, indices)]
    accuracies, chosen = [], []
    for train, test in splits:
        best, best_right = None, -1
        for threshold in thresholds:
            right = sum((distances[i] < threshold) == same[i] for i in train)
            if right > best_right:
                best, best_right = threshold, right
        chosen.append(best)
        accuracies.append(sum((distances[i] < best) == same[i] for i in test) / len(test))
    return accuracies, chosen


def slow_rate(distances, same, far, folds, thresholds):
    """The original's VAL at FAR (docs/original.md, section 5.3), folds without a class left out."""
    indices = np.arange(len(same))
    rates, fars = [], []
    for train, test in KFold(folds).split(indices):
        impostors = [i for i in train if not same[i]]
        curve = [sum(distances[i] < t for i in impostors) / max(1, len(impostors)) for t in thresholds]
        limit = np.interp(far, curve, thresholds) if max(curve) >= far else 0.0
        genuine, wrong = [i for i in test if same[i]], [i for i in test if not same[i]]
        if genuine:
            rates.append(sum(distances[i] < limit for i in genuine) / len(genuine))
        if wrong:
            fars.append(sum(distances[i] < limit for i in wrong) / len(wrong))
    mean = lambda values: float(np.mean(values)) if values else float("nan")  # noqa: E731
    return mean(rates), float(np.std(rates)) if rates else float("nan"), mean(fars)


def pairs(seed: int, count: int, shape: str):
    """Distances and truth of one awkward kind."""
    rng = np.random.default_rng(seed)
    same = rng.random(count) < 0.5
    distances = np.clip(rng.normal(np.where(same, 1.0, 1.9), 0.4), 0, 4)
    if shape == "ties":
        distances = np.round(distances, 1)
    elif shape == "on thresholds":
        distances = metrics.ACCURACY_THRESHOLDS[rng.integers(0, 400, count)]
    elif shape == "one class":
        same[:] = bool(seed % 2)
    elif shape == "duplicates":
        distances[:] = distances[0]
    elif shape == "ends":
        distances = rng.choice([0.0, 3.99, 4.0], count)
    return distances, same


SHAPES = ["plain", "ties", "on thresholds", "one class", "duplicates", "ends"]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count, folds", [(10, 10), (37, 10), (24, 5), (13, 1)])
def test_kfold_accuracy_is_the_originals(shape, count, folds):
    distances, same = pairs(count, count, shape)
    thresholds = np.arange(0, 4, 0.01)
    expected, chosen = slow_accuracy(distances, same, folds, thresholds)
    result = metrics.kfold_accuracy(distances, same, folds)
    np.testing.assert_array_equal(result.accuracies, expected)
    np.testing.assert_array_equal(result.thresholds, chosen)
    assert result.mean == np.mean(expected) and result.std == np.std(expected)
    assert result.correct.mean() == pytest.approx(np.average(expected, weights=[
        s.stop - s.start for s in metrics.fold_slices(count, folds)]))


@pytest.mark.parametrize("shape", SHAPES)
def test_validation_rate_is_the_originals(shape):
    thresholds = np.arange(0, 4, 0.02)
    for far in (1e-3, 0.1, 0.5):
        distances, same = pairs(3, 33, shape)
        result = metrics.validation_rate(distances, same, far, 5, thresholds)
        expected = slow_rate(distances, same, far, 5, thresholds)
        np.testing.assert_allclose([result.rate, result.std, result.far], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", ["plain", "ties", "duplicates", "ends"])
def test_roc_and_auc_agree_with_scikit_learn(shape):
    distances, same = pairs(11, 200, shape)
    curve = metrics.roc(-distances, same)
    far, tar, thresholds = roc_curve(same, -distances, drop_intermediate=False)
    np.testing.assert_allclose(curve.far, far, atol=1e-15)
    np.testing.assert_allclose(curve.tar, tar, atol=1e-15)
    np.testing.assert_array_equal(curve.thresholds, thresholds)
    assert metrics.auc(curve) == pytest.approx(roc_auc_score(same, -distances), abs=1e-12)


def test_roc_of_one_class_has_no_other_rate():
    curve = metrics.roc(np.array([0.1, 0.3]), np.array([True, True]))
    assert np.isnan(curve.far).all() and curve.tar[-1] == 1
    assert np.isnan(metrics.auc(curve))


def test_false_accepts_allowed_survives_rounding():
    for count in (10, 70, 1000, 3_530_000_000):
        for wanted in (1, 3, 7):
            assert metrics.false_accepts_allowed(wanted / count, count) == wanted
    assert metrics.false_accepts_allowed(0.999 / 10, 10) == 0


def test_tar_at_nearest_far_prefers_the_larger_tar():
    curve = metrics.Roc(np.array([0, 0, 0.1, 0.1, 1.0]), np.array([0, 0.4, 0.5, 0.7, 1.0]), np.arange(5.0))
    np.testing.assert_array_equal(metrics.tar_at_nearest_far(curve, [1e-6, 0.09, 0.9]), [0.4, 0.7, 1.0])


METRICS: Dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "auc": lambda scores, same: metrics.auc(metrics.roc(scores, same)),
    "tar at nearest 0.1": lambda scores, same: metrics.tar_at_nearest_far(metrics.roc(scores, same), [0.1])[0],
    "accuracy, one fold": lambda scores, same: metrics.kfold_accuracy(
        -scores, same, 1, np.r_[np.unique(-scores), np.inf]).mean,
}
TRUTH_AND_SCORES = st.lists(st.tuples(st.booleans(), st.integers(-8, 8)), min_size=4, max_size=40).filter(
    lambda rows: 0 < sum(row[0] for row in rows) < len(rows))


@pytest.mark.parametrize("name", METRICS)
@settings(max_examples=25)
@given(rows=TRUTH_AND_SCORES, seed=st.integers(0, 99))
def test_every_metric_ignores_order_scale_and_copies(name, rows, seed):
    metric = METRICS[name]
    same, scores = np.array([row[0] for row in rows]), np.array([float(row[1]) for row in rows])
    value = metric(scores, same)
    order = np.random.default_rng(seed).permutation(len(rows))
    assert 0 <= value <= 1
    assert metric(scores[order], same[order]) == pytest.approx(value)
    assert metric(np.exp(scores / 4) * 3 - 50, same) == pytest.approx(value)
    assert metric(np.repeat(scores, 2), np.repeat(same, 2)) == pytest.approx(value)


def test_better_scores_never_lower_a_metric():
    rng = np.random.default_rng(5)
    same = np.arange(200) % 2 == 0
    scores = rng.normal(size=200)
    for name, metric in METRICS.items():
        assert metric(scores + 0.5 * same, same) >= metric(scores, same), name
        assert metric(scores + 50.0 * same, same) == 1, name


@pytest.mark.parametrize("distances, same, folds, words", [
    (np.array([0.1, np.nan]), np.array([True, False]), 1, "pair 1 has no number"),
    (np.array([0.1]), np.array([True, False]), 1, "do not match"),
    (np.array([0.1, 0.2]), np.array([True, False]), 10, "cannot be cut into 10 folds"),
    (np.array([0.1, 0.2]), np.array([1, 0]), 1, "do not match"),
])
def test_unusable_pairs_are_refused(distances, same, folds, words):
    with pytest.raises(InputError, match=words):
        metrics.kfold_accuracy(distances, same, folds)
