"""Drawing on the chart with sub-pixel points and smooth edges."""
from typing import Sequence, Tuple, Union

from arcface_mxnet.datasets.faces.head import CHART, LONGITUDE

import cv2
import numpy as np

_SHIFT = 4  # fractional bits of OpenCV's drawing coordinates
Colour = Tuple[float, float, float]
Triple = Union[np.ndarray, Sequence[float]]


def chart_points(points: Union[np.ndarray, Sequence[Tuple[float, float]]]) -> np.ndarray:
    """Points (n, 2) of (across, level) as seen from the front -> chart pixels (n, 2) of (column, row)."""
    across, level = np.asarray(points, np.float64).T
    flat = across / np.sqrt(np.maximum(1.0 - level * level, 0.05))
    longitude = np.arcsin(np.minimum(np.maximum(flat, -0.98), 0.98))
    return np.stack([(longitude / (2 * LONGITUDE) + 0.5) * (CHART[1] - 1), (level + 1) * 0.5 * (CHART[0] - 1)], 1)


def _fixed(points: np.ndarray) -> np.ndarray:
    return np.round(points * (1 << _SHIFT)).astype(np.int32)


def fill(image: np.ndarray, points: np.ndarray, colour: Colour) -> None:
    """Fill a polygon given in pixels (n, 2), edges smoothed."""
    cv2.fillPoly(image, [_fixed(points)], colour, cv2.LINE_AA, _SHIFT)


def stroke(image: np.ndarray, points: np.ndarray, colour: Colour, width: int = 1, closed: bool = False) -> None:
    """Draw an open or closed line through pixels (n, 2)."""
    cv2.polylines(image, [_fixed(points)], closed, colour, width, cv2.LINE_AA, _SHIFT)


def disc(image: np.ndarray, centre: Sequence[float], radius: float, colour: Colour) -> None:
    """Fill a circle; centre (2,) and radius in pixels."""
    x, y = (round(float(value) * (1 << _SHIFT)) for value in centre)
    cv2.circle(image, (x, y), round(radius * (1 << _SHIFT)), colour, -1, cv2.LINE_AA, _SHIFT)


def mix(first: Triple, second: Triple, share: float) -> np.ndarray:
    """Colour between two colours, float64 (3,); share 0 gives the first, 1 the second."""
    share = min(max(share, 0.0), 1.0)
    return np.asarray(first, float) * (1.0 - share) + np.asarray(second, float) * share


def colour_of(values: np.ndarray) -> Colour:
    """A float colour array as the tuple OpenCV draws with, clipped to 0..255."""
    red, green, blue = (min(max(float(value), 0.0), 255.0) for value in values)
    return red, green, blue
