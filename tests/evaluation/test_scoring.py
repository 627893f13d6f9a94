"""Blocks, sieves, order statistics and histograms against the whole matrix at once."""
from arcface_mxnet.evaluation import ranking
from arcface_mxnet.evaluation.ranking import Largest, RowBest, RowLargest
from arcface_mxnet.evaluation.scoring import BINS, Bins, Histogram, block_borders, operating_points, score_blocks, sieve
from arcface_mxnet.runtime.errors import InputError

import numpy as np
import pytest


@pytest.mark.parametrize("columns, stops, block", [(1, (), 8), (100, (7, 50), 16), (1000, (1000,), 300), (5, (), 8)])
def test_borders_cover_everything_stop_where_asked_and_stay_small(columns, stops, block):
    ends = block_borders(columns, stops, block)
    assert ends[-1] == columns and set(stops) <= set(ends)
    assert all(0 < size <= block for size in np.diff([0, *ends]))


def test_blocks_are_the_whole_product():
    generator = np.random.default_rng(0)
    rows, columns = generator.standard_normal((7, 5)).astype(np.float32), generator.standard_normal((333, 5))
    joined = np.concatenate([scores.copy() for _, scores in score_blocks(rows, columns, block_borders(333, block=100))],
                            axis=1)
    np.testing.assert_allclose(joined, rows.astype(float) @ columns.T, atol=1e-5)


def test_prepare_sees_every_column_once():
    seen = []

    def prepare(part):
        seen.append(len(part))
        return 2 * part

    rows, columns = np.eye(3, dtype=np.float32), np.arange(12, dtype=np.float32).reshape(4, 3)
    for start, scores in score_blocks(rows, columns, [1, 4], prepare):
        np.testing.assert_array_equal(scores, 2 * columns[start:start + scores.shape[1]].T)
    assert seen == [1, 3]


def test_sieve_is_strict_and_counts_columns_from_the_start():
    scores = np.array([[1, 2, 3], [3, 2, 1]], np.float32)
    found = sieve(scores, np.array([2, 0], np.float32), 10)
    assert found.rows.tolist() == [0, 1, 1, 1]
    assert found.columns.tolist() == [12, 10, 11, 12]
    assert found.scores.tolist() == [3, 3, 2, 1]


def feed(matrix, consumer, width=64):
    for start in range(0, matrix.shape[1], width):
        consumer.take(sieve(matrix[:, start:start + width], consumer.cut, start))


@pytest.mark.parametrize("count", [1, 5, 500, 20000])
@pytest.mark.parametrize("levels", [3, 10 ** 6])
def test_largest_holds_every_order_statistic(count, levels):
    matrix = np.random.default_rng(1).integers(0, levels, (40, 500)).astype(np.float32)
    largest = Largest(count)
    feed(matrix, largest)
    ordered = np.sort(matrix, axis=None)[::-1]
    for index in {0, count // 2, count - 1}:
        assert largest.at(index) == ordered[index]
    np.testing.assert_array_equal(largest.sorted_scores()[:count], ordered[:count])


def test_largest_beyond_what_was_seen_is_minus_infinity():
    largest = Largest(10)
    feed(np.ones((1, 4), np.float32), largest)
    assert largest.at(3) == 1 and largest.at(4) == -np.inf


def test_largest_settles_rounded_scores_with_exact_ones():
    generator = np.random.default_rng(2)
    exact = generator.random((30, 400))
    rounded = (exact + generator.uniform(-1e-3, 1e-3, exact.shape)).astype(np.float32)
    largest = Largest(300, lambda score: 2.1e-3, lambda rows, columns: exact[rows, columns])
    feed(rounded, largest)
    ordered = np.sort(exact, axis=None)[::-1]
    assert [largest.at(index) for index in (0, 10, 299)] == [ordered[0], ordered[10], ordered[299]]


def test_largest_refuses_what_it_cannot_keep():
    with pytest.raises(InputError, match="smaller FAR"):
        Largest(10 ** 9)


def test_row_best_equals_a_stable_sort():
    matrix = np.random.default_rng(3).integers(0, 30, (20, 500)).astype(np.float32)
    best = RowBest(20, 4)
    feed(matrix, best)
    order = np.argsort(-matrix, axis=1, kind="stable")[:, :4]
    np.testing.assert_array_equal(best.columns, order)
    np.testing.assert_array_equal(best.scores, np.take_along_axis(matrix, order, axis=1))


def test_histogram_counts_every_score_once_and_clips_the_rest():
    scores = np.r_[np.linspace(-1, 1, 10001), -7, 7].astype(np.float32)
    bins = Bins(-1, 1)
    histogram = Histogram(bins)
    histogram.add(scores[:5000].reshape(50, 100))
    histogram.add(scores[5000:])
    places = np.clip(np.floor((scores.astype(np.float64) + 1) / bins.width), 0, BINS - 1)
    assert histogram.total == len(scores)
    assert bins.index(np.float32([-7, -1, 1, 7])).tolist() == [0, 0, BINS - 1, BINS - 1]
    assert np.abs(bins.index(scores) - places).max() <= 1
    np.testing.assert_array_equal(histogram.counts, np.bincount(bins.index(scores), minlength=BINS))


def test_a_bin_holds_more_than_a_float32_counts():
    """OpenCV counts in float32, where 2^24 + 1 is 2^24."""
    histogram = Histogram(Bins(-1, 1))
    histogram.add_indices(np.full((1 << 24) + 3, 7, np.uint16))
    assert histogram.counts[7] == histogram.total == (1 << 24) + 3


def test_operating_points_lie_on_the_roc_curve():
    generator = np.random.default_rng(4)
    genuine, impostor = generator.normal(0.5, 0.2, 300), generator.normal(0, 0.2, 3000)
    histograms = Histogram(Bins(-2, 2)), Histogram(Bins(-2, 2))
    for histogram, scores in zip(histograms, (genuine, impostor)):
        histogram.add(scores)
    far, tar, edges = operating_points(*histograms)
    for place in range(0, BINS, 4096):
        assert abs(far[place] - np.mean(impostor >= edges[place])) <= 1 / len(impostor)
        assert abs(tar[place] - np.mean(genuine >= edges[place])) <= 1 / len(genuine)


def test_a_score_exactly_the_margin_below_the_largest_is_scored_again():
    largest = RowLargest(1, 0.5, lambda rows, columns: np.array([0.7, 0.75])[columns])
    largest.take(np.array([[1.0, 0.5]], np.float32), 0)
    best, crowded = largest.largest()
    assert best.tolist() == [0.75] and crowded == 0


@pytest.mark.parametrize("near,crowded", [(8, 0), (9, 1)])
def test_as_many_near_ties_as_allowed_are_scored_again_and_not_one_more(monkeypatch, near, crowded):
    monkeypatch.setattr(ranking, "MOST_NEAR", 8)
    largest = RowLargest(1, 0.25, lambda rows, columns: columns / 16)
    largest.take(np.full((1, near), 0.5, np.float32), 0)
    assert largest.largest()[1] == crowded
    assert largest.largest()[0].tolist() == ([0.75] if crowded else [(near - 1) / 16])
