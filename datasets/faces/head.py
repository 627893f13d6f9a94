"""The head as a solid: an ellipsoid pushed in and out by a height field, its landmarks, and its view from a camera.

Head coordinates: x to the image's right, y down, z towards the camera; 1 is about half a head's width. A place on the
skin is (longitude in radians, level in [-1, 1]); the chart is the rectangle of those two, on which skin is painted.
"""
import math
from dataclasses import dataclass
from typing import Dict, List, Tuple, Union

from arcface_mxnet.datasets.faces.exact import length_scale, times
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
        down = np.exp(-0.5 * ((_LEVELS - level) / height) ** 2)
        across = np.exp(-0.5 * ((_LONGITUDES - longitude) / width) ** 2)
        across += pair * np.exp(-0.5 * ((_LONGITUDES + longitude) / width) ** 2)
        amounts = np.array(self._amounts, np.float32)
        # einsum and not a matrix product: no BLAS, so the same bits whatever the number of threads
        return np.stack([np.einsum("ki,kj->ij", down * amounts[:, c, None], across)
                            for c in range(amounts.shape[1])], 2)


def longitude_of(across: float, level: float) -> float:
    """Longitude (radians) of the point that, seen from the front, lies `across` half-widths from the middle."""
    return math.asin(max(-0.98, min(0.98, across / math.sqrt(max(1.0 - level * level, 0.05)))))


def _skull(t: Dict[str, float]) -> np.ndarray:
    """Deviation of a rounded box from the ellipsoid: power p instead of 2, (108, 1)."""
    sine = np.abs(_LEVELS)
    cosine = np.sqrt(1.0 - sine ** 2)
    return ((sine ** t["squareness"] + cosine ** t["squareness"]) ** (-1.0 / t["squareness"]) - 1.0)[:, None]


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
    direction = np.array([around * np.sin(longitude), level, around * np.cos(longitude)])
    return radii(t) * direction * (1.0 + float(stand))


def rotation(n: Nuisance) -> np.ndarray:
    """Head to camera rotation (3, 3): yaw about y, then pitch about x, then roll about z."""
    (sy, cy), (sx, cx), (sz, cz) = ((np.sin(angle), np.cos(angle)) for angle in (n.yaw, n.pitch, n.roll))
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
    across = to_camera[0, 0] * at[None, :] + to_camera[0, 1] * at[:, None] + to_camera[0, 2]
    down = to_camera[1, 0] * at[None, :] + to_camera[1, 1] * at[:, None] + to_camera[1, 2]
    return across.astype(np.float32), down.astype(np.float32)


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
        c = origin[0] ** 2 + origin[1] ** 2 + origin[2] ** 2
        return (*origin, b, c)

    def place(self, origin: Tuple[np.ndarray, ...], depth: np.ndarray) -> Tuple[np.ndarray, ...]:
        """(longitude, level, gap) at that depth; gap is how far the point is outside the skin, in radii."""
        x, y, z = (origin[i] + depth * self.towards[i] for i in range(3))
        radius = np.sqrt(x * x + y * y + z * z) + np.float32(1e-6)
        longitude, level = np.arctan2(x, z), y / radius
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
    share = np.clip(before / np.where(np.abs(before - after) < 1e-6, 1e-6, before - after), 0.0, 1.0)
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
    slope_floor = np.float32(0.35 * np.sqrt(solid.a))
    off = solid.place(origin, depth)[2]
    slope = np.maximum(origin[3] + solid.a * depth, slope_floor)
    depth = depth - np.clip(off / slope, -0.08, 0.08)
    longitude, level, _ = solid.place(origin, depth)
    scale = np.float32(length_scale(to_pixels))
    smooth = cv2.GaussianBlur(depth * scale, (3, 3), 0.8)
    right = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, ksize=3, scale=0.125)
    below = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, ksize=3, scale=0.125)
    normal = np.dstack([-right, -below, np.ones_like(right)])
    normal /= np.sqrt((normal ** 2).sum(2, keepdims=True))
    return View(longitude, level, np.clip(0.5 - gap * scale, 0.0, 1.0), normal)
