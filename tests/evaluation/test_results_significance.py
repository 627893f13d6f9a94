"""Intervals and tests: against draws of whole pairs, binomial sums written out, and known coverage."""
from math import comb

from arcface_mxnet.evaluation.metrics import kfold_accuracy
from arcface_mxnet.evaluation.results import bootstrap_accuracy, mcnemar
from arcface_mxnet.runtime.errors import InputError

import numpy as np
import pytest


def sample(count=200, seed=0):
    rng = np.random.default_rng(seed)
    same = rng.random(count) < 0.5
    return np.clip(rng.normal(np.where(same, 1.1, 1.8), 0.35), 0, 4), same


def test_the_interval_is_that_of_drawing_whole_pairs():
    distances, same = sample(2000)
    rng = np.random.default_rng(7)
    means = []
    for _ in range(500):
        rows = np.concatenate([start + rng.integers(0, 200, 200) for start in range(0, 2000, 200)])
        means.append(kfold_accuracy(distances[rows], same[rows]).mean)
    for level in (0.5, 0.95):
        slow = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
        fast = bootstrap_accuracy(distances, same, replicates=1000, level=level, seed=1)
        np.testing.assert_allclose(fast, slow, atol=0.0025)
        assert fast[0] < kfold_accuracy(distances, same).mean < fast[1]


def test_the_interval_repeats_and_narrows():
    distances, same = sample(400)
    first = bootstrap_accuracy(distances, same, replicates=300, seed=3)
    assert first == bootstrap_accuracy(distances, same, replicates=300, seed=3)
    half = bootstrap_accuracy(distances, same, replicates=300, level=0.5, seed=3)
    assert first[0] < half[0] <= half[1] < first[1]


def test_nothing_to_doubt_gives_a_point():
    assert bootstrap_accuracy(np.array([0.1, 3.0] * 20), np.array([True, False] * 20), replicates=20) == (1.0, 1.0)


def exact_p(few, many):
    """Two-sided binomial test with probability 1/2: twice the smaller tail, at most 1."""
    count = few + many
    tail = sum(comb(count, k) for k in range(0, min(few, many) + 1)) / 2 ** count
    return min(1.0, 2 * tail)


@pytest.mark.parametrize("only_first, only_second", [(0, 0), (1, 0), (5, 5), (2, 11), (30, 12)])
def test_mcnemar_is_the_binomial_sum(only_first, only_second):
    first = np.r_[np.ones(only_first, bool), np.zeros(only_second, bool), np.ones(9, bool), np.zeros(4, bool)]
    second = np.r_[np.zeros(only_first, bool), np.ones(only_second, bool), np.ones(9, bool), np.zeros(4, bool)]
    test = mcnemar(first, second)
    assert (test.only_first, test.only_second) == (only_first, only_second)
    assert test.p_value == pytest.approx(exact_p(only_first, only_second))
    assert mcnemar(second, first).p_value == pytest.approx(test.p_value)


def test_unusable_requests_are_refused():
    distances, same = sample(20)
    with pytest.raises(InputError, match="--bootstrap 0"):
        bootstrap_accuracy(distances, same, replicates=0)
    with pytest.raises(InputError, match="on the same pairs"):
        mcnemar(np.ones(3, bool), np.ones(4, bool))
