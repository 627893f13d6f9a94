"""Scores of single pairs of features in float64, and the float32 form whose product gives all of them at once.

The score is -|x - y|^2 / 2: the order of the devkit's identity model (-|x - y|^2) and, for unit features, of the
cosine (cosine - 1). In float64 equal features score equal, to the last bit.
"""
from dataclasses import dataclass
from typing import Tuple

from arcface_mxnet.evaluation.vectors import normalise

import numpy as np

_PAIRS_AT_ONCE = 1 << 13
_HALF_ULP = 2.0 ** -24


@dataclass(frozen=True)
class Features:
    """Rows of features (n, d), floating, possibly memory-mapped; `unit`: each is L2-normalised when read."""

    rows: np.ndarray
    unit: bool

    def __len__(self) -> int:
        return len(self.rows)

    def exact(self, indices: np.ndarray) -> np.ndarray:
        """Float64 features (n, d) of the rows asked for."""
        part = np.asarray(self.rows[indices], np.float64)
        return normalise(part, copy=False) if self.unit else part

    def single(self, part: np.ndarray) -> np.ndarray:
        """Float32 features of a slice of the rows, normalised if `unit`."""
        single = np.array(part, np.float32)
        return normalise(single, copy=False) if self.unit else single


def pair_scores(left: Features, left_rows: np.ndarray, right: Features, right_rows: np.ndarray) -> np.ndarray:
    """Float64 scores -|x - y|^2 / 2 of (n,) pairs given by row numbers."""
    scores = np.empty(len(left_rows))
    for start in range(0, len(scores), _PAIRS_AT_ONCE):
        part = slice(start, start + _PAIRS_AT_ONCE)
        difference = left.exact(left_rows[part]) - right.exact(right_rows[part])
        scores[part] = -0.5 * np.sum(difference * difference, axis=1)
    return scores


def as_left(features: np.ndarray) -> np.ndarray:
    """(m, d + 2) float32 [x, -|x|^2 / 2, 1]: its product with `as_right` gives the scores."""
    return np.column_stack([features, -_half_squares(features), np.ones(len(features), np.float32)])


def as_right(features: np.ndarray) -> np.ndarray:
    """(n, d + 2) float32 [y, 1, -|y|^2 / 2]."""
    return np.column_stack([features, np.ones(len(features), np.float32), -_half_squares(features)])


def rounding_error(dimensions: int, left_norms: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """How far the float32 product may be from a score, for columns that score about `scores` against these rows.

    4 + sqrt(d) / 2 units of rounding of the largest sum that occurs on the way, (|x| + |y|)^2 / 2 with |y| at most |x|
    plus the distance: two to ten times the largest error seen.
    """
    reach = 2 * left_norms + np.sqrt(np.maximum(-2 * scores, 0))
    return (2 + 0.25 * np.sqrt(dimensions + 2)) * _HALF_ULP * reach * reach


def mates(ids: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """All unordered pairs of rows i < j with the same id (n,), by person, then i, then j: two int64 arrays."""
    order = np.argsort(ids, kind="stable")
    ordered = np.asarray(ids)[order]
    borders = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1], True]) if len(ids) else np.zeros(1, int)
    left, right = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for start, end in zip(borders[:-1], borders[1:]):
        first, second = np.triu_indices(end - start, 1)
        left.append(order[start:end][first])
        right.append(order[start:end][second])
    return np.concatenate(left), np.concatenate(right)


def _half_squares(features: np.ndarray) -> np.ndarray:
    return (0.5 * np.einsum("ij,ij->i", features, features, dtype=np.float64)).astype(np.float32)
