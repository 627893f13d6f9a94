"""The head as a solid: an ellipsoid pushed in and out by a height field, its landmarks, and its view from a camera.

Head coordinates: x to the image's right, y down, z towards the camera; 1 is about half a head's width. A place on the
skin is (longitude in radians, level in [-1, 1]); the chart is the rectangle of those two, on which skin is painted.
"""
import math
from dataclasses import dataclass
from typing import Dict, List, Sequence, Tuple, Union

from arcface_mxnet.datasets.faces import elementary
from arcface_mxnet.datasets.faces.camera import length_scale, times
from arcface_mxnet.datasets.faces.nuisance import Nuisance

import cv2
import numpy as np

LONGITUDE = 2.2  # radians either side that the chart covers
CHART = (216, 300)  # rows, columns of the painted chart
FIELD = (108, 150)  # rows, columns of the height field and of smooth colour
_STEPS = 10  # samples along a ray before refinement
_COARSE = 56

_LEVELS = np.linspace(-1.0, 1.0, FIELD[0], dtype=np.float32)
_LONGITUDES = np.linspace(-LONGITUDE, LONGITUDE, FIELD[1], dtype=np.float32)


class Hills:
    """Smooth hills (Gaussians along longitude and level) that add up to a field over the chart.

    Each has an amount (one number, or one a channel), a middle and a width in longitude (radians) and in level.
    """

    def __init__(self) -> None:
        self._amounts: List[np.ndarray] = []
        self._shapes: List[Tuple[float, float, float, float, float]] = []

    def add(self, amount: Union[float, np.ndarray], longitude: float, width: float, level: float, height: float,
            pair: bool = False) -> None:
        """Add one hill, or with `pair` one on either side of the face."""
        self._amounts.append(np.atleast_1d(amount))
        self._shapes.append((longitude, width, level, height, float(pair)))

    def field(self) -> np.ndarray:
        """Their sum, float32 FIELD + (channels,)."""
        longitude, width, level, height, pair = np.array(self._shapes, np.float32).T[:, :, None]
        down = gaussian((_LEVELS - level) / height)
        across = gaussian((_LONGITUDES - longitude) / width)
        across += pair * gaussian((_LONGITUDES + longitude) / width)
        amounts = np.array(self._amounts, np.float32)
        total = np.zeros(FIELD + amounts.shape[1:], np.float32)
        for amount, column, row in zip(amounts, down, across):  # in this order: the same bits on every machine
            for channel, share in enumerate(amount):
                total[:, :, channel] += (column * share)[:, None] * row
        return total


def gaussian(distance: np.ndarray) -> np.ndarray:
    """exp(-d^2 / 2)."""
    return elementary.exp(-0.5 * (distance * distance))


def longitude_of(across: float, level: float) -> float:
    """Longitude (radians) of the point that, seen from the front, lies `across` half-widths from the middle."""
    return elementary.arcsin(max(-0.98, min(0.98, across / math.sqrt(max(1.0 - level * level, 0.05)))))


def _skull(t: Dict[str, float]) -> np.ndarray:
    """Deviation of a rounded box from the ellipsoid: power p instead of 2, (108, 1)."""
    sine = np.abs(_LEVELS)
    cosine = np.sqrt(1.0 - sine * sine)
    both = elementary.power(sine, t["squareness"]) + elementary.power(cosine, t["squareness"])
    return (1.0 / elementary.power(both, 1.0 / t["squareness"]) - 1.0)[:, None]


def height_field(t: Dict[str, float], n: Nuisance, age: float) -> np.ndarray:
    """How far the skin stands out from the ellipsoid, as a fraction of its radius, float32 FIELD.

    `t` are the traits; age (years) sags the cheeks and lengthens the nose; expression lifts the cheeks and drops
    the jaw.
    """
    old = max(0.0, (age - 30.0) / 40.0)
    nose_end, eyes = t["eye_level"] + t["nose_length"] + 0.02 * old, t["eye_level"]
    eye_at = longitude_of(t["eye_distance"], eyes)
    hills = Hills()
    hills.add(t["jaw_width"], 1.0, 0.38, t["jaw_height"] + 0.12, 0.20, True)
    hills.add(-0.05, 1.25, 0.40, 0.92, 0.22, True)
    hills.add(t["chin_length"] + 0.03 * n.mouth_open, 0.0, t["chin_width"] * 1.6, 0.97, 0.12)
    hills.add(0.05, 0.0, t["chin_width"], 0.86, 0.07)
    hills.add(t["cheekbone"] + 0.012 * n.smile, 0.72, 0.24, eyes + 0.22, 0.10, True)
    hills.add(t["fullness"] - 0.03 * old, 0.62, 0.34, 0.48, 0.15, True)
    hills.add(0.03 * old, 0.62, 0.25, 0.72, 0.10, True)
    hills.add(t["forehead"], 0.0, 0.8, -0.5, 0.22)
    hills.add(t["brow_ridge"], eye_at * 0.9, 0.26, eyes - t["brow_height"] + 0.02, 0.045, True)
    hills.add(-(t["eye_depth"] + 0.01 * old), eye_at, 0.17, eyes, 0.065, True)
    nose = t["nose_height"]
    for part in (0.25, 0.5, 0.75):  # the bridge rises towards the tip
        rise = 0.18 + 0.55 * part
        hills.add(0.55 * nose * rise, 0.0, t["nose_bridge"] * 0.9, eyes + part * t["nose_length"], 0.075)
    hills.add(t["nose_hump"], 0.0, t["nose_bridge"], eyes + 0.45 * t["nose_length"], 0.06)
    hills.add(0.85 * nose, 0.0, t["nose_tip"] * 1.2, nose_end - 0.035, 0.05)
    hills.add(0.32 * nose, t["nose_width"] * 0.85, 0.06, nose_end - 0.005, 0.032, True)
    mouth = longitude_of(t["mouth_width"], t["mouth_level"])
    hills.add(t["lip_depth"], 0.0, mouth * 0.75, t["mouth_level"], 0.05)
    hills.add(0.015, 0.0, 0.05, t["mouth_level"] - 0.10, 0.05)
    hills.add(t["ear_size"] * 1.6, 1.62, 0.10, eyes + 0.12, 0.11, True)
    return hills.field()[:, :, 0] + _skull(t)


def _to_field(longitude: np.ndarray, level: np.ndarray, shape: Tuple[int, ...]) -> Tuple[np.ndarray, ...]:
    """Chart coordinates as (columns, rows) of an array of `shape` over the chart, float32."""
    columns = (longitude * np.float32(0.5 / LONGITUDE) + np.float32(0.5)) * np.float32(shape[1] - 1)
    return columns, (level + np.float32(1.0)) * np.float32(0.5 * (shape[0] - 1))


def on_chart(image: np.ndarray, longitude: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Sample an array painted over the chart at (h, w) places, bilinearly."""
    columns, rows = _to_field(longitude, level, image.shape[:2])
    return cv2.remap(image, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def radii(t: Dict[str, float]) -> np.ndarray:
    """Half axes of the ellipsoid (3,), head units."""
    return np.array([t["head_width"], t["head_height"], t["head_depth"]])


def skin_point(longitude: float, level: float, t: Dict[str, float], field: np.ndarray) -> np.ndarray:
    """Head coordinates (3,) of a place on the skin."""
    stand = on_chart(field, np.array([[longitude]], np.float32), np.array([[level]], np.float32))[0, 0]
    around = np.sqrt(1.0 - level * level)
    direction = np.array([around * elementary.sin(longitude), level, around * elementary.cos(longitude)])
    return radii(t) * direction * (1.0 + float(stand))


def rotation(n: Nuisance) -> np.ndarray:
    """Head to camera rotation (3, 3): yaw about y, then pitch about x, then roll about z."""
    angles = np.array([n.yaw, n.pitch, n.roll])
    (sy, sx, sz), (cy, cx, cz) = elementary.sin(angles), elementary.cos(angles)
    turn = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    nod = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    lean = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return times(times(lean, nod), turn)


def landmarks(t: Dict[str, float], n: Nuisance, field: np.ndarray) -> np.ndarray:
    """The five points in head coordinates (5, 3): left eye, right eye, nose tip, left and right mouth corner."""
    eye, mouth = longitude_of(t["eye_distance"], t["eye_level"]), longitude_of(t["mouth_width"], t["mouth_level"])
    corner = t["mouth_level"] - 0.035 * n.smile
    places = [(-eye, t["eye_level"]), (eye, t["eye_level"]), (0.0, t["eye_level"] + t["nose_length"] - 0.035),
              (-mouth, corner), (mouth, corner)]
    return np.stack([skin_point(longitude, level, t, field) for longitude, level in places])


@dataclass(frozen=True)
class View:
    """What the camera sees, per pixel: `longitude`, `level` float32, `cover` in [0, 1], `normal` float32 (h, w, 3)."""

    longitude: np.ndarray
    level: np.ndarray
    cover: np.ndarray
    normal: np.ndarray


def _rays(to_camera: np.ndarray, size: int, every: float) -> Tuple[np.ndarray, np.ndarray]:
    """Camera-plane coordinates of pixel centres on a grid with `every` pixels between samples, two (n, n) arrays."""
    count = int(size / every)
    at = (np.arange(count, dtype=np.float32) + 0.5) * every - 0.5
    first, second = to_camera.tolist()  # plain numbers: NumPy 2 would widen float32 for a scalar of float64
    across = first[0] * at[None, :] + first[1] * at[:, None] + first[2]
    down = second[0] * at[None, :] + second[1] * at[:, None] + second[2]
    return across, down


class _Solid:
    """The height-field ellipsoid in the frame where the bare ellipsoid is the unit ball."""

    def __init__(self, t: Dict[str, float], field: np.ndarray, rotate: np.ndarray) -> None:
        scaled = (rotate / radii(t)[None, :]).astype(np.float32)  # rows: camera axes in ball coordinates
        self.across, self.down, self.towards = scaled
        self.field = field
        self.a = float(np.sum(self.towards * self.towards))

    def foot(self, across: np.ndarray, down: np.ndarray) -> Tuple[np.ndarray, ...]:
        """Ray origins (three arrays), and b and c of |origin + depth * towards|^2 = a depth^2 + 2 b depth + c."""
        origin = [across * self.across[i] + down * self.down[i] for i in range(3)]
        b = origin[0] * self.towards[0] + origin[1] * self.towards[1] + origin[2] * self.towards[2]
        c = origin[0] * origin[0] + origin[1] * origin[1] + origin[2] * origin[2]
        return (*origin, b, c)

    def place(self, origin: Tuple[np.ndarray, ...], depth: np.ndarray) -> Tuple[np.ndarray, ...]:
        """(longitude, level, gap) at that depth; gap is how far the point is outside the skin, in radii."""
        x, y, z = (origin[i] + depth * self.towards[i] for i in range(3))
        radius = np.sqrt(x * x + y * y + z * z) + np.float32(1e-6)
        longitude, level = elementary.arctan2(x, z), y / radius
        flat = longitude.reshape(-1, longitude.shape[-1]), level.reshape(-1, level.shape[-1])
        stand = on_chart(self.field, *flat).reshape(longitude.shape)
        return longitude, level, radius - 1.0 - stand


def _first_hit(solid: _Solid, across: np.ndarray, down: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """March rays from the camera inwards: depth of the first skin, and the smallest gap met (negative inside)."""
    origin = solid.foot(across, down)
    b, c = origin[3], origin[4]
    outer = np.float32(1.5)
    reach = np.sqrt(np.maximum(b * b - solid.a * (c - outer * outer), 0.0))
    near, far = (-b + reach) / solid.a, (-b - 0.25 * reach) / solid.a
    steps = np.linspace(0.0, 1.0, _STEPS, dtype=np.float32)[:, None, None]
    depth = near + (far - near) * steps
    gap = solid.place(origin, depth)[2]
    inside = gap < 0
    index = np.where(inside.any(0), np.maximum(inside.argmax(0), 1), gap.argmin(0).clip(1, None))[None]
    after, before = np.take_along_axis(gap, index, 0)[0], np.take_along_axis(gap, index - 1, 0)[0]
    share = np.clip(before / np.where(np.abs(before - after) < 1e-6, np.float32(1e-6), before - after), 0.0, 1.0)
    hit = np.where(after < 0, share, 1.0) + index[0] - 1
    return (near + (far - near) * hit / (_STEPS - 1)).astype(np.float32), gap.min(0)


def view(t: Dict[str, float], field: np.ndarray, rotate: np.ndarray, to_pixels: np.ndarray,
         size: int) -> View:
    """Look at the head from far away (orthographic): which place of the skin each pixel of (size, size) shows.

    `to_pixels` (2, 3) maps camera-plane coordinates (head units) to pixels and must be a similarity.
    """
    solid = _Solid(t, field, rotate)
    to_camera = cv2.invertAffineTransform(to_pixels)
    every = size / max(_COARSE, size // 3)
    coarse_depth, coarse_gap = _first_hit(solid, *_rays(to_camera, size, every))
    depth = cv2.resize(coarse_depth, (size, size), interpolation=cv2.INTER_LINEAR)
    gap = cv2.resize(coarse_gap, (size, size), interpolation=cv2.INTER_LINEAR)
    origin = solid.foot(*_rays(to_camera, size, 1.0))
    slope_floor = np.float32(0.35 * math.sqrt(solid.a))
    off = solid.place(origin, depth)[2]
    slope = np.maximum(origin[3] + solid.a * depth, slope_floor)
    depth = depth - np.clip(off / slope, -0.08, 0.08)
    longitude, level, _ = solid.place(origin, depth)
    scale = np.float32(length_scale(to_pixels))
    smooth = cv2.GaussianBlur(depth * scale, (3, 3), 0.8)
    right = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, ksize=3, scale=0.125)
    below = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, ksize=3, scale=0.125)
    normal = np.dstack([-right, -below, np.ones_like(right)])
    normal /= np.sqrt(right * right + below * below + 1.0)[:, :, None]
    return View(longitude, level, np.clip(0.5 - gap * scale, 0.0, 1.0), normal)


# Eyes on the chart: the opening between the lids, white, iris, pupil, glint, lashes and the fold above.


_IRISES = np.array([[58, 36, 22], [92, 60, 30], [120, 100, 50], [86, 116, 84], [92, 128, 156], [60, 92, 150]], float)
_ASPECT = 1.45  # a level is this much longer on the head than the same step across


def _lids(t: Dict[str, float], n: Nuisance, side: float) -> Tuple[list, list]:
    """Upper and lower lid as points (across, level) from the inner to the outer corner."""
    along = np.linspace(-1.0, 1.0, 9)
    width = t["eye_width"]
    opening = t["eye_open"] * (1.0 - 0.92 * min(1.0, n.squint)) * (1.0 + 0.10 * n.brow_raise)
    opening = max(opening - 0.005 * max(0.0, n.smile), 0.004)
    power = 1.2 + 1.6 * t["eye_round"]
    arc = 1.0 - elementary.power(np.abs(along), power)
    tilt = -elementary.tan(t["eye_tilt"]) * along * width / _ASPECT
    peak = 1.0 + 0.25 * along * (t["eye_round"] - 0.5)
    across = side * (t["eye_distance"] + along * width)
    upper = t["eye_level"] + tilt - opening * 1.10 * arc * peak
    lower = t["eye_level"] + tilt + opening * 0.75 * arc
    return list(zip(across, upper)), list(zip(across, lower))


def paint_eyes(t: Dict[str, float], n: Nuisance, skin: np.ndarray, chart: np.ndarray) -> None:
    """Draw both eyes; expression squints them, the gaze moves the irises."""
    place = elementary.power(t["iris_colour"], 1.5) * (len(_IRISES) - 1)
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


# The mouth on the chart: two lips, and what shows between them.


def paint_mouth(t: Dict[str, float], n: Nuisance, skin: np.ndarray, chart: np.ndarray) -> None:
    """Draw the mouth; a smile widens it and lifts its corners, an open mouth shows teeth."""
    along = np.linspace(-1.0, 1.0, 11)
    width = t["mouth_width"] * (1.0 + 0.09 * n.smile)
    lift = t["mouth_curve"] + 0.026 * n.smile
    square = along * along
    middle = t["mouth_level"] - lift * (square - 0.35)
    gap = 0.030 * max(0.0, n.mouth_open - 0.25) * (1.0 - square)
    fade = np.sqrt(np.clip(1.0 - elementary.power(np.abs(along), 2.4), 0.0, 1.0))
    bow = 1.0 - 0.45 * t["cupid_bow"] * elementary.exp(-square / 0.0169)
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


# Drawing on the chart with sub-pixel points and smooth edges.


_SHIFT = 4  # fractional bits of OpenCV's drawing coordinates
Colour = Tuple[float, float, float]
Triple = Union[np.ndarray, Sequence[float]]


def chart_points(points: Union[np.ndarray, Sequence[Tuple[float, float]]]) -> np.ndarray:
    """Points (n, 2) of (across, level) as seen from the front -> chart pixels (n, 2) of (column, row)."""
    across, level = np.asarray(points, np.float64).T
    flat = across / np.sqrt(np.maximum(1.0 - level * level, 0.05))
    longitude = elementary.arcsin(np.minimum(np.maximum(flat, -0.98), 0.98))
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
