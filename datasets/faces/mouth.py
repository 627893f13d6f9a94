"""The mouth on the chart: two lips, and what shows between them."""
from typing import Dict

from arcface_mxnet.datasets.faces.brush import chart_points, colour_of, fill, mix, stroke
from arcface_mxnet.datasets.faces.nuisance import Nuisance

import numpy as np


def paint_mouth(t: Dict[str, float], n: Nuisance, skin: np.ndarray, chart: np.ndarray) -> None:
    """Draw the mouth; a smile widens it and lifts its corners, an open mouth shows teeth."""
    along = np.linspace(-1.0, 1.0, 11)
    width = t["mouth_width"] * (1.0 + 0.09 * n.smile)
    lift = t["mouth_curve"] + 0.026 * n.smile
    middle = t["mouth_level"] - lift * (along ** 2 - 0.35)
    gap = 0.030 * max(0.0, n.mouth_open - 0.25) * (1.0 - along ** 2)
    fade = np.sqrt(np.clip(1.0 - np.abs(along) ** 2.4, 0.0, 1.0))
    bow = 1.0 - 0.45 * t["cupid_bow"] * np.exp(-(along / 0.13) ** 2)
    thin = 1.0 - 0.10 * n.smile
    top, bottom = middle - gap - t["upper_lip"] * fade * bow * thin, middle + gap * 1.3 + t["lower_lip"] * fade * thin
    natural = mix(skin * (0.86, 0.62, 0.60), (176, 84, 84), 0.75 * t["lip_colour"])
    lips = mix(natural, (170, 28, 52), max(0.0, n.makeup) * 0.8)
    across = along * width
    fill(chart, chart_points(list(zip(across, top)) + list(zip(across, bottom))[::-1]), colour_of(lips * 0.92))
    shine = list(zip(across * 0.8, middle + gap * 1.3 + 0.2 * t["lower_lip"]))
    fill(chart, chart_points(shine + list(zip(across * 0.55, bottom - 0.25 * t["lower_lip"]))[::-1]),
         colour_of(lips * 1.06))
    if gap.max() > 0.004:
        hollow = list(zip(across * 0.92, middle - gap)) + list(zip(across * 0.92, middle + gap * 1.3))[::-1]
        fill(chart, chart_points(hollow), colour_of(np.array([62.0, 22.0, 24.0])))
        teeth = list(zip(across * 0.72, middle - gap * 0.95)) + list(zip(across * 0.66, middle + gap * 0.35))[::-1]
        fill(chart, chart_points(teeth), (228, 222, 210))
    else:
        stroke(chart, chart_points(list(zip(across, middle))), colour_of(lips * 0.48), 1)
