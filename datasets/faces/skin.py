"""The painted chart: skin, hair, beard, brows, eyes and mouth of one person in one picture (RGB)."""
import functools
from typing import Dict

from arcface_mxnet.datasets.faces import elementary
from arcface_mxnet.datasets.faces.head import (
    CHART,
    LONGITUDE,
    Hills,
    chart_points,
    colour_of,
    disc,
    fill,
    longitude_of,
    mix,
    paint_eyes,
    paint_mouth,
    stroke,
)
from arcface_mxnet.datasets.faces.identity import Identity
from arcface_mxnet.datasets.faces.nuisance import Nuisance

import cv2
import numpy as np

_LIGHT_SKIN, _DARK_SKIN = (240, 205, 182), (88, 56, 42)
_BLACK, _BROWN, _BLOND, _RED, _GREY = (26, 22, 20), (92, 60, 38), (205, 165, 100), (150, 70, 32), (190, 190, 190)


def skin_colour(t: Dict[str, float]) -> np.ndarray:
    """Middle skin colour, RGB float64 (3,)."""
    base = mix(_LIGHT_SKIN, _DARK_SKIN, elementary.power(t["skin_tone"], 1.2))
    return base + np.array([6, -5, -3]) * t["skin_red"] + np.array([4, 3, -11]) * t["skin_yellow"]


def hair_colour(t: Dict[str, float], n: Nuisance, age: float) -> np.ndarray:
    """Hair colour after dyeing and greying, RGB float64 (3,)."""
    dark = t["hair_dark"] + 0.25 * float(n.hair_change[2])
    base = mix(_BLOND, _BROWN, dark * 2.2) if dark < 0.45 else mix(_BROWN, _BLACK, (dark - 0.45) * 2.2)
    base = mix(base, _RED, max(0.0, t["hair_red"] - 0.75) * 2.5)
    return mix(base, _GREY, (age - 42.0 - 8.0 * t["hair_red"]) / 26.0)


def _smooth_skin(t: Dict[str, float], n: Nuisance, age: float, skin: np.ndarray) -> np.ndarray:
    """Skin before anything is drawn on it, float32 FIELD + (3,): blush, shadows of the hollows, age."""
    old = max(0.0, (age - 35.0) / 40.0)
    eye_at = longitude_of(t["eye_distance"], t["eye_level"])
    blush, dim = np.array([16.0, -12.0, -9.0]), -0.16 * skin
    hills = Hills()
    hills.add(blush * (t["cheek_red"] + 0.5 * n.makeup), 0.68, 0.24, 0.30, 0.12, True)
    hills.add(0.7 * blush * t["cheek_red"], 0.0, 0.16, t["eye_level"] + t["nose_length"] - 0.03, 0.06)
    hills.add(dim * (0.7 + 6.0 * t["eye_depth"]), eye_at, 0.20, t["eye_level"] - 0.035, 0.05, True)
    hills.add(dim * (0.9 * t["eye_bags"] + 0.6 * old), eye_at, 0.15, t["eye_level"] + 0.085, 0.03, True)
    hills.add(0.8 * dim, 0.0, 0.22, t["mouth_level"] + 0.11, 0.035)
    hills.add(1.6 * dim, 0.0, 0.7, 1.0, 0.10)
    return hills.field() + skin.astype(np.float32)


def _beard(t: Dict[str, float], n: Nuisance, colour: np.ndarray, canvas: np.ndarray) -> None:
    """Blend beard and moustache into the skin (FIELD + (3,)), in place."""
    hills = Hills()
    grown = [min(max(1.5 * t[name] + n.shave, 0.0), 0.92) for name in ("beard", "moustache")]
    if max(grown) == 0.0:
        return
    hills.add(grown[0], 0.0, 0.95, 0.92, 0.20)
    hills.add(0.8 * grown[0], 1.05, 0.22, 0.62, 0.20, True)
    hills.add(grown[1], 0.0, 0.30, t["mouth_level"] - 0.10, 0.035)
    cover = np.minimum(hills.field() * np.float32(1.4), np.float32(0.92))
    canvas += (colour.astype(np.float32) - canvas) * cover


def _spots(identity: Identity, t: Dict[str, float], chart: np.ndarray, skin: np.ndarray) -> None:
    for across, down, size, darkness in identity.marks():
        if darkness < -0.2:
            continue
        centre = chart_points([(0.68 * across, 0.30 + 0.42 * down)])[0]
        size_on_chart = 2.1 + 1.05 * size
        disc(chart, centre, size_on_chart, colour_of(mix(skin * 0.72, (52, 30, 26), darkness)))
    if t["freckles"] > 0.15:
        generator = np.random.Generator(np.random.PCG64(identity.texture_seed))
        places = generator.normal(0.0, 1.0, (int(80 * t["freckles"]), 2)) * (26, 11) + (CHART[1] / 2, CHART[0] * 0.63)
        colour = colour_of(skin * (0.80, 0.70, 0.64))
        for x, y in places:
            disc(chart, (x, y), 0.9, colour)


def _wrinkles(t: Dict[str, float], n: Nuisance, age: float, chart: np.ndarray) -> None:
    """Lines of age and of laughter, multiplied into the skin."""
    old = min(max((age - 36.0) / 34.0, 0.0), 1.3)
    laugh = max(0.0, n.smile) * 0.4
    shade = np.full(chart.shape[:2], 255, np.uint8)
    nose_end, mouth = t["eye_level"] + t["nose_length"], t["mouth_level"]

    def line(points: list, strength: float) -> None:
        if strength > 0.05:
            grey = 255.0 - min(150.0, 150.0 * strength)
            for side in (-1.0, 1.0):
                stroke(shade, chart_points([(side * x, y) for x, y in points]), (grey, grey, grey), 2)

    line([(t["nose_width"] * 1.15, nose_end - 0.02), (t["mouth_width"] * 1.02, mouth - 0.09),
          (t["mouth_width"] * 1.22, mouth + 0.06)], 0.8 * old + laugh)
    line([(t["mouth_width"] * 1.06, mouth + 0.04), (t["mouth_width"] * 1.12, mouth + 0.17)], 0.7 * old - 0.1)
    for lift in (0.0, 0.075, 0.15):
        line([(0.0, -0.36 - lift), (0.22, -0.38 - lift), (0.42, -0.35 - lift)],
             0.7 * old - 0.15 + 0.3 * max(0.0, n.brow_raise))
    eye = t["eye_distance"] + t["eye_width"]
    for rise in (-0.05, 0.0, 0.05):
        line([(eye + 0.03, t["eye_level"] + 0.4 * rise), (eye + 0.14, t["eye_level"] + rise)], 0.7 * old + laugh - 0.15)
    line([(t["eye_distance"] - 0.10, t["eye_level"] + 0.10), (t["eye_distance"] + 0.08, t["eye_level"] + 0.115)],
         0.6 * old + 0.3 * t["eye_bags"])
    line([(0.045, -0.20), (0.04, -0.10)], 0.5 * old + 0.2 * max(0.0, -n.brow_raise))
    if int(shade.min()) == 255:
        return
    soft = cv2.GaussianBlur(shade, (0, 0), 1.1)
    chart[:] = cv2.multiply(chart, cv2.cvtColor(soft, cv2.COLOR_GRAY2RGB), scale=1.0 / 255)


def _bell(distance: np.ndarray) -> np.ndarray:
    return elementary.exp(-(distance * distance))


def _hair_mask(t: Dict[str, float], n: Nuisance, age: float) -> np.ndarray:
    """Where hair grows, float32 CHART in [0, 1]: above a hairline that comes down at the sides."""
    longitude = np.abs(np.linspace(-LONGITUDE, LONGITUDE, CHART[1], dtype=np.float32))
    signed = np.linspace(-LONGITUDE, LONGITUDE, CHART[1], dtype=np.float32)
    top = t["hairline"] - 0.006 * max(0.0, age - 40.0) + 0.05 * float(n.hair_change[0])
    line = top + t["hair_peak"] * _bell(longitude / 0.28)
    line = line - t["hair_temple"] * _bell((longitude - 0.62) / 0.22)
    fringe = max(0.0, t["fringe"] + 0.8 * float(n.hair_change[3]) - 0.45)
    line = line + fringe * 0.42 * _bell((signed - 0.25 * float(np.sign(t["hair_peak"]))) / 0.55)
    side_end = 0.05 + 0.75 * max(0.0, t["hair_length"])
    line = line + (side_end - line) / (1.0 + elementary.exp(-(longitude - t["hair_side"]) / 0.07))
    level = np.linspace(-1.0, 1.0, CHART[0], dtype=np.float32)[:, None]
    return np.clip((line[None, :] - level) / 0.035 + 0.5, 0.0, 1.0)


@functools.lru_cache(maxsize=8)
def _strands(texture_seed: int, rows: int) -> np.ndarray:
    """Brightness of hair over the chart, float32 CHART around 1: a person's strands, curlier with more rows."""
    generator = np.random.Generator(np.random.PCG64(texture_seed + 1))
    coarse = np.clip(generator.normal(0.0, 1.0, (rows, 75)), -2.0, 2.0).astype(np.float32)
    return 1.0 + np.float32(0.16) * cv2.resize(coarse, (CHART[1], CHART[0]), interpolation=cv2.INTER_CUBIC)


def _paint_hair(identity: Identity, t: Dict[str, float], colour: np.ndarray, mask: np.ndarray,
                chart: np.ndarray) -> np.ndarray:
    shade = _strands(identity.texture_seed, 6 + int(14 * t["hair_curl"]))
    hair = cv2.merge([np.clip(shade * np.float32(channel), 0, 255).astype(np.uint8) for channel in colour])
    return cv2.blendLinear(chart, hair, 1.0 - mask, mask)


def _brows(t: Dict[str, float], n: Nuisance, colour: np.ndarray, skin: np.ndarray, chart: np.ndarray) -> None:
    level = t["eye_level"] - t["brow_height"] - 0.02 * n.brow_raise
    inner = max(0.07, t["eye_distance"] - 0.72 * t["brow_length"] - t["brow_gap"] - 0.06)
    span = t["brow_length"] * 1.75
    along = np.linspace(0.0, 1.0, 7)
    arch = level - t["brow_arch"] * elementary.sin(np.pi * along) * 1.6 + t["brow_tilt"] * span * (0.5 - along)
    arch = arch + 0.02 * n.brow_raise * (along - 0.7)
    thick = t["brow_thickness"] * (0.55 + 0.45 * elementary.cos(1.4 * along)) * (0.8 + 0.2 * t["brow_density"])
    paint = colour_of(mix(skin * 0.75, np.minimum(colour * 0.8, 150), 0.25 + 0.75 * t["brow_density"]))
    for side in (-1.0, 1.0):
        upper = [(side * (inner + span * a), y - h) for a, y, h in zip(along, arch, thick)]
        lower = [(side * (inner + span * a), y + h) for a, y, h in zip(along, arch, thick)]
        fill(chart, chart_points(upper + lower[::-1]), paint)


def _nostrils(t: Dict[str, float], skin: np.ndarray, chart: np.ndarray) -> None:
    end = t["eye_level"] + t["nose_length"]
    dark, shade = colour_of(skin * 0.34), colour_of(skin * 0.66)
    width = t["nose_width"]
    for side in (-1.0, 1.0):
        wing = [(side * width * 0.78, end - 0.055), (side * width * 1.12, end - 0.02),
                (side * width * 1.02, end + 0.018), (side * width * 0.72, end + 0.02)]
        stroke(chart, chart_points(wing), shade, 1)
        hole, tall = width * 0.26, 0.010 + 0.014 * t["nostril"]
        middle = side * width * 0.50
        fill(chart, chart_points([(middle - hole, end + 0.012), (middle, end + 0.006 - tall),
                                  (middle + hole, end + 0.010), (middle, end + 0.018)]), dark)
    tip = [(-0.3 * width, end + 0.022), (0.0, end + 0.032), (0.3 * width, end + 0.022)]
    stroke(chart, chart_points(tip), shade, 1)


def paint(identity: Identity, t: Dict[str, float], n: Nuisance, age: float) -> np.ndarray:
    """The whole chart, uint8 CHART + (3,) RGB, unlit; `age` in years."""
    skin, hair = skin_colour(t), hair_colour(t, n, age)
    smooth = _smooth_skin(t, n, age, skin)
    _beard(t, n, hair, smooth)
    smooth = np.clip(smooth, 0, 255).astype(np.uint8)
    chart = cv2.resize(smooth, (CHART[1], CHART[0]), interpolation=cv2.INTER_LINEAR)
    _spots(identity, t, chart, skin)
    _nostrils(t, skin, chart)
    _wrinkles(t, n, age, chart)
    paint_eyes(t, n, skin, chart)
    paint_mouth(t, n, skin, chart)
    _brows(t, n, hair, skin, chart)
    return _paint_hair(identity, t, hair, _hair_mask(t, n, age), chart)
