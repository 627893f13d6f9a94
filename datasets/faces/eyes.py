"""Eyes on the chart: the opening between the lids, white, iris, pupil, glint, lashes and the fold above."""
from typing import Dict, Tuple

from arcface_mxnet.datasets.faces.brush import chart_points, colour_of, disc, fill, mix, stroke
from arcface_mxnet.datasets.faces.nuisance import Nuisance

import numpy as np

_IRISES = np.array([[58, 36, 22], [92, 60, 30], [120, 100, 50], [86, 116, 84], [92, 128, 156], [60, 92, 150]], float)
_ASPECT = 1.45  # a level is this much longer on the head than the same step across


def _lids(t: Dict[str, float], n: Nuisance, side: float) -> Tuple[list, list]:
    """Upper and lower lid as points (across, level) from the inner to the outer corner."""
    along = np.linspace(-1.0, 1.0, 9)
    width = t["eye_width"]
    opening = t["eye_open"] * (1.0 - 0.92 * min(1.0, n.squint)) * (1.0 + 0.10 * n.brow_raise)
    opening = max(opening - 0.005 * max(0.0, n.smile), 0.004)
    power = 1.2 + 1.6 * t["eye_round"]
    arc = (1.0 - np.abs(along) ** power)
    tilt = -np.tan(t["eye_tilt"]) * along * width / _ASPECT
    peak = 1.0 + 0.25 * along * (t["eye_round"] - 0.5)
    across = side * (t["eye_distance"] + along * width)
    upper = t["eye_level"] + tilt - opening * 1.10 * arc * peak
    lower = t["eye_level"] + tilt + opening * 0.75 * arc
    return list(zip(across, upper)), list(zip(across, lower))


def paint_eyes(t: Dict[str, float], n: Nuisance, skin: np.ndarray, chart: np.ndarray) -> None:
    """Draw both eyes; expression squints them, the gaze moves the irises."""
    place = t["iris_colour"] ** 1.5 * (len(_IRISES) - 1)
    iris = mix(_IRISES[int(place)], _IRISES[min(int(place) + 1, len(_IRISES) - 1)], place - int(place))
    liner = colour_of(mix(skin * 0.42, (18, 12, 12), t["lash"] + n.makeup))
    for side in (-1.0, 1.0):
        upper, lower = _lids(t, n, side)
        outline = chart_points(upper + lower[::-1])
        low, high = np.floor(outline.min(0)).astype(int) - 3, np.ceil(outline.max(0)).astype(int) + 4
        patch = chart[low[1]:high[1], low[0]:high[0]]
        local = outline - low
        opening = np.zeros(patch.shape[:2], np.uint8)
        fill(opening, local, (255, 255, 255))
        eye = np.empty_like(patch)
        eye[:] = (226, 222, 218)
        centre = chart_points([(side * t["eye_distance"] + 0.035 * n.gaze[0],
                                t["eye_level"] - 0.008 + 0.018 * n.gaze[1])])[0] - low
        size = t["iris_size"] * 70.0
        disc(eye, centre, size, colour_of(iris * 0.55))
        disc(eye, centre, size * 0.82, colour_of(iris))
        disc(eye, centre, size * 0.42, (12, 10, 10))
        disc(eye, centre - (0.3 * size, 0.4 * size), size * 0.2, (250, 250, 250))
        shadow = np.linspace(0.62, 1.06, patch.shape[0])[:, None, None]
        cover = opening[:, :, None] / 255.0
        patch[:] = np.clip(patch * (1.0 - cover) + eye * shadow * cover, 0, 255)
        stroke(chart, chart_points(upper), liner, 2)
        stroke(chart, chart_points(lower), colour_of(skin * 0.62), 1)
        if t["lid_fold"] > 0.35:
            fold = [(x, y - 0.028 - 0.02 * t["lid_fold"]) for x, y in upper[1:-1]]
            stroke(chart, chart_points(fold), colour_of(skin * (0.92 - 0.32 * t["lid_fold"])), 1)
