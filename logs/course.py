"""The arithmetic of comparing two training courses: arrays in, numbers out. Courses are aligned by images seen."""
from typing import NamedTuple, Optional, Tuple

import numpy as np

FOLDS = 10  # a validation accuracy is the mean over the folds of the 10-fold protocol
NEIGHBOURS = 2  # validations to either side that say how much a course moves by itself
RECENT = 5  # validations that a forecast is made from
BELOW, INSIDE, ABOVE = "below", "inside", "above"


class Band(NamedTuple):
    """A published course at given places: its value there, and the range it moves in; NaN before it begins."""

    expected: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Forecast(NamedTuple):
    """An expected final accuracy with the lowest and highest that the recent validations give by themselves."""

    final: float
    low: float
    high: float


def band(images: np.ndarray, accuracy: np.ndarray, std: np.ndarray, at: np.ndarray) -> Band:
    """The published course where another run has seen `at` images.

    images, accuracy, std: (n,) rising images seen, accuracies and their deviations over the folds. at: (m,).
    expected: (m,) linear between neighbouring validations, the last one after the end, NaN before the first.
    low, high: (m,) the smallest and largest accuracy among the validations around it (NEIGHBOURS to either side),
    widened by one standard error of the mean over the folds, std / sqrt(10).
    """
    images, accuracy, at = (np.asarray(values, dtype=float) for values in (images, accuracy, at))
    error = np.nan_to_num(np.asarray(std, dtype=float)) / np.sqrt(FOLDS)
    expected = np.interp(at, images, accuracy, left=np.nan)
    after = np.searchsorted(images, at)  # the first validation at or past the place
    low, high = np.full(len(at), np.nan), np.full(len(at), np.nan)
    for index in np.flatnonzero(~np.isnan(expected)):
        first = min(after[index] - NEIGHBOURS, len(images) - NEIGHBOURS - 1)
        around = slice(max(first, 0), after[index] + NEIGHBOURS)
        low[index] = (accuracy[around] - error[around]).min()
        high[index] = (accuracy[around] + error[around]).max()
    return Band(expected, low, high)


def standing(value: float, low: float, high: float) -> str:
    """Where a value is against a band: "below", "inside" or "above"; "" where there is no band."""
    if np.isnan(low) or np.isnan(value):
        return ""
    return BELOW if value < low else ABOVE if value > high else INSIDE


def forecast(ours: np.ndarray, expected: np.ndarray, final: float, same_rate: Optional[np.ndarray] = None,
             pairs: int = 6000) -> Forecast:
    """Expected final accuracy of a run that keeps its distance to a published course.

    ours, expected: (n,) accuracies of our validations and of the published course at the same images, NaN where there
    is none; `final` the published final accuracy; same_rate: (n,) whether both were at the same rate (relative to
    their first), which are preferred where there are any; `pairs` bounds how near to 1 an accuracy of that many pairs
    can be told from it. The distance is the median, over the last RECENT validations, of the difference of log-odds:
    half the errors stay half the errors. All NaN where nothing can be compared.
    """
    both = ~(np.isnan(ours) | np.isnan(expected))
    if same_rate is not None and (both & same_rate).any():
        both &= same_rate
    gaps = (_log_odds(ours[both], pairs) - _log_odds(expected[both], pairs))[-RECENT:]
    if not len(gaps):
        return Forecast(float("nan"), float("nan"), float("nan"))
    end = _log_odds(np.array([final]), pairs)[0]
    return Forecast(*(float(1 / (1 + np.exp(-(end + gap)))) for gap in (np.median(gaps), gaps.min(), gaps.max())))


def final_accuracy(accuracy: np.ndarray) -> float:
    """What a finished course ended with: the median of its last three validations."""
    known = np.asarray(accuracy, dtype=float)
    return float(np.median(known[~np.isnan(known)][-3:]))


def _log_odds(accuracy: np.ndarray, pairs: int) -> np.ndarray:
    half = 0.5 / pairs
    kept = np.clip(accuracy, half, 1 - half)
    return np.log(kept / (1 - kept))


def aligned(images: np.ndarray, values: np.ndarray, at: np.ndarray, width: float) -> Tuple[np.ndarray, np.ndarray]:
    """Means of a dense course (say, train accuracy) over the `width` images before each place, and how many they are.

    images, values: (n,) with images rising; at: (m,). Returns means (m,), NaN where no value lies in the range, and
    counts (m,).
    """
    known = ~np.isnan(values)
    images, sums = images[known], np.concatenate([[0.0], np.cumsum(values[known])])
    stop, start = np.searchsorted(images, at, "right"), np.searchsorted(images, at - width, "right")
    counts = stop - start
    means = np.full(len(at), np.nan)
    np.divide(sums[stop] - sums[start], counts, out=means, where=counts > 0)
    return means, counts
