"""Exact counts of a stream of scores in 65,536 equal bins: a whole ROC curve in half a megabyte."""
from dataclasses import dataclass
from typing import Tuple

import cv2
import numpy as np

BINS = 1 << 16
_MOST_AT_ONCE = 1 << 24
_IN_CACHE = 1 << 16


@dataclass(frozen=True)
class Bins:
    """Equal bins from `low` to `high` (scores outside fall into the first or last).

    One rounding in float32 decides a score's bin, always the same way: counts at bin edges are exact.
    """

    low: float
    high: float

    @property
    def width(self) -> float:
        """Width of a bin in units of score."""
        return (self.high - self.low) / BINS

    def index(self, scores: np.ndarray) -> np.ndarray:
        """The bin of each score, uint16, in the shape of `scores` (floating, no NaN)."""
        flat = np.ascontiguousarray(scores).reshape(-1)
        indices = np.empty(len(flat), np.uint16)
        for start in range(0, len(flat), _IN_CACHE):
            position = np.subtract(flat[start:start + _IN_CACHE], np.float32(self.low), dtype=np.float32)
            np.multiply(position, np.float32(1 / self.width), out=position)
            np.clip(position, 0, BINS - 1, out=position)
            np.copyto(indices[start:start + _IN_CACHE], position, casting="unsafe")
        return indices.reshape(scores.shape)


class Histogram:
    """Counts of scores per bin; `add` a block (or its bin indices) as often as needed."""

    def __init__(self, bins: Bins) -> None:
        self.bins = bins
        self.counts = np.zeros(BINS, np.int64)

    def add(self, scores: np.ndarray) -> None:
        """Count scores of any shape."""
        self.add_indices(self.bins.index(scores))

    def add_indices(self, indices: np.ndarray) -> None:
        """Count uint16 bin indices of any shape."""
        flat = indices.reshape(1, -1)
        for start in range(0, flat.shape[1], _MOST_AT_ONCE):  # OpenCV returns float32 counts: exact below 2^24
            part = np.ascontiguousarray(flat[:, start:start + _MOST_AT_ONCE])
            self.counts += cv2.calcHist([part], [0], None, [BINS], [0, BINS]).ravel().astype(np.int64)

    @property
    def total(self) -> int:
        """Number of scores counted."""
        return int(self.counts.sum())

    def at_least(self) -> np.ndarray:
        """int64 (BINS,): how many scores lie in bin b or above."""
        return np.cumsum(self.counts[::-1])[::-1]


def operating_points(genuine: Histogram, impostors: Histogram) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(far, tar, thresholds), each (BINS,), FAR descending: accepting every score whose bin is b or above.

    Exact points of the ROC curve, at the edges of the bins, which both histograms share.
    """
    edges = impostors.bins.low + np.arange(BINS) * impostors.bins.width
    return impostors.at_least() / max(impostors.total, 1), genuine.at_least() / max(genuine.total, 1), edges
