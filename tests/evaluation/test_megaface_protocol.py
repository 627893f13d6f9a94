"""The exact protocol against a double loop, on random and adversarial arrays."""
from arcface_mxnet.evaluation.megaface.protocol import (
    Features,
    RankCounter,
    as_left,
    as_right,
    evaluate,
    mates,
    pair_scores,
    rounding_error,
)
from arcface_mxnet.runtime.errors import InputError
from tests.evaluation import megaface_reference as slow

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

FARS = [1e-3, 0.01, 0.1, 1.0]


def clustered(seed, spread, probes=24, distractors=200, dimensions=8):
    generator = np.random.default_rng(seed)
    ids = generator.integers(0, 6, probes)
    centres = generator.standard_normal((6, dimensions))
    return ((centres[ids] + spread * generator.standard_normal((probes, dimensions))).astype(np.float32), ids,
            generator.standard_normal((distractors, dimensions)).astype(np.float32))


def check(probes, ids, distractors, unit, counts):
    results = evaluate(Features(probes, unit), ids, Features(distractors, unit), counts, FARS)
    if unit:
        probes, distractors = slow.normalised(probes), slow.normalised(distractors)
    for count, result in zip(counts, results):
        ranks = np.array([rank for _, _, rank in slow.trials(probes, ids, distractors[:count])])
        assert result.trials == len(ranks)
        assert result.rank1 == np.mean(ranks == 0)
        for within in (1, 2, 5, count + 1):
            assert result.identified(within) == pytest.approx(np.mean(ranks < within), abs=1e-12)
        both = slow.pairs(probes, ids, distractors[:count])
        for far in FARS:
            assert result.tar[far] == pytest.approx(slow.tar(*both, far), abs=1e-12)
        assert np.all(np.diff(result.roc_far) >= 0) and np.all(np.diff(result.roc_tar) >= -1e-12)
        assert result.roc_far[-1] == 1 and result.roc_tar[-1] == 1


@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("spread", [0.2, 1.0, 4.0])
def test_random_features(spread, unit):
    check(*clustered(0, spread), unit, [1, 10, 200])


def test_distractors_equal_to_probes_tie_and_favour_the_mate():
    probes, ids, distractors = clustered(1, 0.5)
    distractors[5:29] = probes
    distractors[100:124] = probes
    check(probes, ids, distractors, True, [50, 200])


def test_scores_on_a_coarse_grid_tie_everywhere():
    probes, ids, distractors = clustered(2, 1.0)
    check(np.round(probes), ids, np.round(distractors), False, [60, 200])


def test_zero_vectors():
    probes, ids, distractors = clustered(3, 0.5)
    probes[3], distractors[10:20] = 0, 0
    check(probes, ids, distractors, True, [200])


def test_a_collapsed_network_ties_everywhere_and_the_mate_wins():
    probes, ids, distractors = clustered(4, 0.5)
    probes[:], distractors[:] = 1, 1
    check(probes, ids, distractors, True, [200])


def test_a_probe_without_a_mate_gives_impostor_pairs_but_no_trial():
    probes, ids, distractors = clustered(5, 0.5)
    ids[0] = 99
    check(probes, ids, distractors, False, [100])


def test_noise_distractors_far_away_change_nothing():
    probes, ids, distractors = clustered(6, 0.5)
    probes = np.c_[probes, np.zeros(len(probes))].astype(np.float32)
    distractors = np.c_[distractors, np.zeros(len(distractors))].astype(np.float32)
    distractors[::7, -1] = 100
    check(probes, ids, distractors, False, [200])


def test_long_and_short_distractors():
    probes, ids, distractors = clustered(7, 0.5)
    distractors[::2] *= 60
    distractors[1::4] *= 0.01
    check(probes, ids, distractors, False, [200])


@settings(max_examples=15)
@given(st.integers(0, 10 ** 6), st.sampled_from([0.1, 1.0, 5.0]), st.integers(2, 12), st.integers(1, 60))
def test_any_small_case(seed, spread, people, distractors):
    generator = np.random.default_rng(seed)
    ids = np.r_[0, 0, generator.integers(0, people, 10)]
    probes = generator.integers(-3, 4, (12, 4)) + spread * ids[:, None]
    check(probes.astype(np.float32), ids, generator.integers(-4, 9, (distractors, 4)).astype(np.float32), False,
          [distractors])


def test_tabled_and_sieved_queries_agree():
    """Random features let most distractors through, so the table counts; forcing the sieve must change nothing."""
    probes, ids, distractors = clustered(8, 30.0, distractors=3000)
    features, others = Features(probes, True), Features(distractors, True)
    tabled = evaluate(features, ids, others, [3000], [0.1])[0]
    original = RankCounter._pilot
    try:
        RankCounter._pilot = lambda self, scores: None
        sieved = evaluate(features, ids, others, [3000], [0.1])[0]
    finally:
        RankCounter._pilot = original
    np.testing.assert_array_equal(tabled.ranks, sieved.ranks)
    np.testing.assert_array_equal(tabled.shares, sieved.shares)
    ranks = [rank for _, _, rank in slow.trials(slow.normalised(probes), ids, slow.normalised(distractors)[:500])]
    assert evaluate(features, ids, others, [500], [0.1])[0].rank1 == np.mean(np.array(ranks) == 0)


@pytest.mark.parametrize("unit", [True, False])
def test_the_table_is_exact_beside_a_mate(unit):
    """Every second distractor is a mate moved by 1e-7 to 1e-3: in the mate's bin or the next, on either side."""
    probes, ids, distractors = clustered(12, 30.0, distractors=6000)
    generator = np.random.default_rng(12)
    lengths = np.linalg.norm(probes, axis=1).mean()
    moved = lengths * 10.0 ** generator.uniform(-7, -3, (3000, 1)) * generator.standard_normal((3000, 8))
    distractors = (distractors * 30).astype(np.float32)
    distractors[::2] = probes[generator.integers(0, 24, 3000)] + moved
    result = evaluate(Features(probes, unit), ids, Features(distractors, unit), [6000], [0.1])[0]
    left, right = probes.astype(float), distractors.astype(float)
    if unit:
        left, right = slow.normalised(left), slow.normalised(right)
    ranks = []
    for query in range(24):
        others = np.array([slow.score(left[query], row) for row in right])
        ranks += [np.count_nonzero(others > slow.score(left[query], left[mate]))
                  for mate in np.flatnonzero(ids == ids[query]) if mate != query]
    assert result.trials == len(ranks)
    np.testing.assert_array_equal(np.repeat(result.ranks, np.rint(np.diff(result.shares, prepend=0)
                                                                  * len(ranks)).astype(int)), np.sort(ranks))


@pytest.mark.parametrize("rows, others", [(1e30, 1), (1, 1e30), (1e19, 1e19)])
def test_features_too_long_to_be_compared_as_stored_are_refused(rows, others):
    """Their squares do not fit a float32, and every score would be minus infinity."""
    probes, ids, distractors = clustered(13, 0.5)
    given = Features(probes * np.float32(rows), False), ids, Features(distractors * np.float32(others), False)
    with pytest.raises(InputError, match="features: a row .*; normalise them|is not finite"):
        evaluate(*given, [200], [0.1])
    evaluate(Features(given[0].rows, True), ids, Features(given[2].rows, True), [200], [0.1])


@pytest.mark.parametrize("dimensions", [3, 128, 512])
@pytest.mark.parametrize("shift", [0, 3])
def test_the_product_stays_within_its_error_bound(dimensions, shift):
    generator = np.random.default_rng(9)
    left, right = (slow.normalised(generator.standard_normal((size, dimensions)) + shift).astype(np.float32)
                   for size in (20, 300))
    product = as_left(left).astype(np.float32) @ as_right(right).T
    exact = np.array([[slow.score(x, y) for y in right] for x in left])
    bound = rounding_error(dimensions, np.linalg.norm(left, axis=1)[:, None], exact)
    assert np.all(np.abs(product - exact) < bound)


def test_mates_are_all_unordered_pairs():
    ids = np.array(["b", "a", "b", "c", "a", "b"])
    assert sorted(zip(*map(list, mates(ids)))) == [(0, 2), (0, 5), (1, 4), (2, 5)]
    rows = Features(np.eye(6), unit=False)
    np.testing.assert_array_equal(pair_scores(rows, np.array([0, 1]), rows, np.array([2, 1])), [-1, 0])


@pytest.mark.parametrize("change, message", [
    (lambda p, i, d: (np.where(np.arange(8) == 3, np.nan, p), i, d), "probe features: row 0 is not finite"),
    (lambda p, i, d: (p, i, np.where(np.arange(200)[:, None] == 150, np.nan, d)), "distractor features: a row"),
    (lambda p, i, d: (p, i[:-1], d), "23 ids for 24"),
    (lambda p, i, d: (p, np.arange(24), d), "no person has two images"),
    (lambda p, i, d: (p, i, d[:, :5]), "8 dimensions"),
    (lambda p, i, d: (p, i, d[:50]), "--distractors 10,200")])
def test_bad_input_is_one_clear_error(change, message):
    probes, ids, distractors = change(*clustered(10, 0.5))
    with pytest.raises(InputError, match=message) as caught:
        evaluate(Features(probes, False), ids, Features(distractors, False), [10, 200], [0.1])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("far", [0.0, -1.0, 1.5])
def test_a_far_outside_its_range_is_refused(far):
    probes, ids, distractors = clustered(11, 0.5)
    with pytest.raises(InputError, match="--far"):
        evaluate(Features(probes, False), ids, Features(distractors, False), [10], [far])
