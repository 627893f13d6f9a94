"""Alignment, band and forecast against slow versions of themselves and against courses that are known to the end."""
import math
from typing import Tuple

from arcface_mxnet.logs.catalogue import published_run
from arcface_mxnet.logs.compare import Forecast, aligned, band, final_accuracy, forecast, standing

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st


def test_a_band_by_hand() -> None:
    images, accuracy = np.array([10., 20, 30, 40, 50, 60]), np.array([.5, .6, .8, .7, .9, .95])
    std = np.array([0, 0, 0, .1, 0, 0]) * math.sqrt(10)
    got = band(images, accuracy, std, np.array([5., 10, 25, 40, 70]))
    assert got.expected[1:].tolist() == pytest.approx([.5, .7, .7, .95]) and math.isnan(got.expected[0])
    # at 25 the neighbours are 10, 20 before and 30, 40 after: 0.5 to 0.8, and 0.7 +- 0.1
    assert (got.low[2], got.high[2]) == pytest.approx((.5, .8))
    assert (got.low[4], got.high[4]) == pytest.approx((.6, .95))  # past the end: the last validations
    assert math.isnan(got.low[0])
    assert [standing(value, got.low[2], got.high[2]) for value in (.49, .5, .7, .8, .81)] == [
        "below", "inside", "inside", "inside", "above"]
    assert standing(.7, got.low[0], got.high[0]) == ""


@given(st.lists(st.floats(.5, 1), min_size=1, max_size=12), st.floats(0, 1.4))
def test_a_course_is_inside_its_own_band(values: list, where: float) -> None:
    images = np.arange(1, len(values) + 1) * 1000.0
    got = band(images, np.array(values), np.full(len(values), .01), np.array([images[0] + where * np.ptp(images)]))
    assert got.low[0] <= got.expected[0] <= got.high[0]
    same = band(images, np.array(values), np.full(len(values), .01), images)
    assert all(standing(*three) == "inside" for three in zip(values, same.low, same.high))


def test_a_forecast_keeps_the_ratio_of_errors() -> None:
    """Half the odds of an error now, half the odds of an error at the end."""
    ours, theirs, final = np.array([.9, .95]), np.array([9 / 11, 19 / 21]), .99
    got = forecast(ours, theirs, final)
    assert [(1 - value) / value for value in got] == pytest.approx([.5 * .01 / .99] * 3)
    assert all(math.isnan(value) for value in forecast(np.array([.9]), np.array([math.nan]), .99))


def test_a_forecast_prefers_validations_at_the_same_rate() -> None:
    ours, theirs = np.array([.8, .9, .9]), np.array([.8, .8, .8])
    assert forecast(ours, theirs, .9, np.array([True, False, False])).final == pytest.approx(.9)
    assert forecast(ours, theirs, .9, np.array([False] * 3)) == forecast(ours, theirs, .9)
    assert forecast(ours, theirs, .9).final > .93


def test_a_forecast_looks_at_the_last_validations() -> None:
    early = forecast(np.array([.5] * 9 + [.8] * 5), np.full(14, .8), .9)
    assert early == pytest.approx((.9, .9, .9))


def halfway(name: str, other: str, target: str, share: float) -> Tuple[Forecast, float]:
    """The forecast of a published run from its first part and another run's whole course, and what came of it."""
    run, beside = published_run(name).run, published_run(other).run
    known, whole = run.validations.iloc[:int(len(run.validations) * share)], beside.validations
    column = f"{target}_accuracy"
    expected = band(whole["images"].to_numpy(), whole[column].to_numpy(), whole[f"{target}_std"].to_numpy(),
                    known["images"].to_numpy()).expected
    return (forecast(known[column].to_numpy(), expected, final_accuracy(whole[column].to_numpy())),
            final_accuracy(run.table[column].to_numpy()))


@pytest.mark.parametrize(("name", "other", "target", "error"), [
    ("r34", "r50", "lfw", .001), ("r34", "r50", "agedb_30", .001), ("r34", "r50", "cfp_fp", .005),
    ("moli-arcface", "y1", "lfw", .0015), ("moli-arcface", "y1", "agedb_30", .002)])
def test_a_tenth_of_a_published_run_foretells_its_end(name: str, other: str, target: str, error: float) -> None:
    got, came = halfway(name, other, target, 0.1)
    assert got.final == pytest.approx(came, abs=error)


def test_aligned_windows_are_open_before_and_closed_behind() -> None:
    means, counts = aligned(np.array([10., 20, 30]), np.array([1., 2, 4]), np.array([30.]), 10)
    assert (means.tolist(), counts.tolist()) == ([4.0], [1])


@given(st.lists(st.tuples(st.floats(0, 100), st.one_of(st.floats(0, 1), st.just(math.nan))), max_size=30),
       st.lists(st.floats(0, 120), min_size=1, max_size=5), st.floats(.5, 50))
def test_aligned_means_against_a_loop(points: list, at: list, width: float) -> None:
    points = sorted(points, key=lambda point: point[0])
    images, values = (np.array([point[index] for point in points], dtype=float) for index in (0, 1))
    means, counts = aligned(images, values, np.array(at), width)
    for place, mean, count in zip(at, means, counts):
        inside = [value for image, value in points if place - width < image <= place and not math.isnan(value)]
        assert count == len(inside)
        assert mean == pytest.approx(sum(inside) / len(inside)) if inside else math.isnan(mean)
