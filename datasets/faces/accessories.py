"""What is around a face: background, neck and long hair behind it; hat, glasses and hand before it."""
from dataclasses import dataclass
from typing import Dict, List

from arcface_mxnet.datasets.faces import elementary
from arcface_mxnet.datasets.faces.camera import length_scale, times
from arcface_mxnet.datasets.faces.head import CHART, colour_of, fill, longitude_of, skin_point, stroke
from arcface_mxnet.datasets.faces.nuisance import Nuisance

import cv2
import numpy as np


@dataclass(frozen=True)
class Frame:
    """Where the head stands: traits, height field, head-to-camera rotation (3, 3), camera plane to pixels (2, 3)."""

    traits: Dict[str, float]
    field: np.ndarray
    rotate: np.ndarray
    to_pixels: np.ndarray

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """Head coordinates (n, 3) -> pixels (n, 2)."""
        return times(times(points, self.rotate.T)[:, :2], self.to_pixels[:, :2].T) + self.to_pixels[:, 2]


def _generator(n: Nuisance, which: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(n.scene_seed + which))


def background(n: Nuisance, size: int) -> np.ndarray:
    """A blurred scene, float32 (size, size, 3) RGB 0..255."""
    generator = _generator(n, 1)
    middle = generator.uniform(25, 215) + generator.normal(0.0, 14.0, 3)
    shape = (int(generator.integers(2, 7)), 5)
    grey = generator.normal(0.0, generator.uniform(4, 45), shape)[:, :, None]
    patches = middle + grey + generator.normal(0.0, generator.uniform(2, 16), shape + (3,))
    scene = cv2.resize(patches.astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    return np.clip(scene * np.float32(n.exposure), 0, 255)


def behind(frame: Frame, t: Dict[str, float], n: Nuisance, skin: np.ndarray, hair: np.ndarray,
           scene: np.ndarray) -> None:
    """Draw long hair, neck and clothes on the scene, in place."""
    generator = _generator(n, 2)
    dim = n.exposure * (0.55 + 0.4 * n.ambient)
    length = t["hair_length"] + 0.25 * float(n.hair_change[1])
    if length > 0.45:
        wide, low = 1.06 + 0.9 * t["hair_volume"], 0.3 + 1.5 * length
        turn = np.linspace(0.0, 2.0 * np.pi, 25)
        sine, cosine = elementary.sin(turn), elementary.cos(turn)
        tall = np.where(cosine > 0, 1.58, low)
        curve = np.stack([np.sign(sine) * elementary.power(np.abs(sine), 0.6) * wide, -cosine * tall,
                          np.full(25, -0.35)], 1)
        fill(scene, frame.pixels(curve), colour_of(hair * dim))
    neck = 0.52 + 0.5 * t["jaw_width"]
    column = np.array([[-neck, 0.6, -0.35], [neck, 0.6, -0.35], [neck * 1.05, 2.6, -0.5], [-neck * 1.05, 2.6, -0.5]])
    fill(scene, frame.pixels(column), colour_of(skin * dim * 0.8))
    cloth = np.array([[-0.75, 2.05, -0.2], [0.75, 2.05, -0.2], [2.6, 2.7, -0.5], [2.6, 4.0, -0.5], [-2.6, 4.0, -0.5],
                         [-2.6, 2.7, -0.5]])
    fill(scene, frame.pixels(cloth), colour_of(generator.uniform(10, 230, 3) * dim))


def paint_on_chart(t: Dict[str, float], n: Nuisance, chart: np.ndarray) -> None:
    """Put on the hat, if one is worn: a knitted cap pulled down to the brows."""
    if not n.hat:
        return
    generator = _generator(n, 3)
    edge = t["eye_level"] - t["brow_height"] - generator.uniform(0.08, 0.2)
    colour = generator.uniform(15, 215, 3)
    rows = (np.array([edge, edge - 0.14]) + 1) * 0.5 * (CHART[0] - 1)
    chart[:int(rows[0])] = colour * 0.8
    chart[:int(rows[1])] = colour
    chart[:int(rows[0]), ::6] = chart[:int(rows[0]), ::6] * 0.85


def _lens(frame: Frame, side: float, wide: float, tall: float, power: float) -> np.ndarray:
    """The rim of one glass in pixels: a rounded rectangle that stands just before the eye."""
    t = frame.traits
    turn = np.linspace(0.0, 2.0 * np.pi, 20, endpoint=False)
    c, s = elementary.cos(turn), elementary.sin(turn)
    x = np.sign(c) * elementary.power(np.abs(c), power) * wide + side * t["eye_distance"] * 1.06
    y = np.sign(s) * elementary.power(np.abs(s), power) * tall
    eye = skin_point(longitude_of(t["eye_distance"], t["eye_level"]), t["eye_level"], t, frame.field)
    z = eye[2] + 0.20 - 0.30 * np.maximum(0.0, np.abs(x) - t["eye_distance"])
    return frame.pixels(np.stack([x * t["head_width"], y + t["eye_level"] * t["head_height"] + 0.03, z], 1))


def _glasses(frame: Frame, n: Nuisance, image: np.ndarray) -> None:
    generator = _generator(n, 4)
    wide, tall = generator.uniform(0.22, 0.31), generator.uniform(0.17, 0.27)
    power, width = generator.uniform(0.5, 1.0), int(generator.integers(1, 4))
    colour = colour_of(generator.uniform(8, 90, 3) * n.exposure)
    dark = generator.random() < 0.25
    rims: List[np.ndarray] = [_lens(frame, side, wide, tall, power) for side in (-1.0, 1.0)]
    glass = image.copy()
    for rim in rims:
        fill(glass, rim, (22, 22, 26) if dark else (205, 215, 222))
    image[:] = cv2.addWeighted(glass, 0.86 if dark else 0.10, image, 0.14 if dark else 0.90, 0)
    for rim in rims:
        stroke(image, rim, colour, width, closed=True)
    stroke(image, np.stack([rims[0][0], rims[1][10]]), colour, width)
    ears = [skin_point(side * 1.5, frame.traits["eye_level"] + 0.02, frame.traits, frame.field) for side in (-1.0, 1.0)]
    visible = times(np.stack(ears), frame.rotate.T)[:, 2] > -0.05
    for shown, rim, ear, at in zip(visible, rims, frame.pixels(np.stack(ears)), (10, 0)):
        if shown:
            stroke(image, np.stack([rim[at], ear]), colour, width)


def _hand(frame: Frame, n: Nuisance, skin: np.ndarray, image: np.ndarray) -> None:
    """Four fingers laid over the lower face from one side."""
    generator = _generator(n, 5)
    side = 1.0 if generator.random() < 0.5 else -1.0
    level, reach = generator.uniform(0.55, 1.3), generator.uniform(-0.1, 0.35)
    scale = length_scale(frame.to_pixels)
    shade = n.exposure * (0.5 + 0.5 * n.ambient)
    for finger in range(4):
        tip = np.array([side * (reach + 0.06 * abs(finger - 1.4)), level + 0.19 * finger - 0.25, 1.35])
        base = np.array([side * 1.7, level + 0.19 * finger + 0.35, 1.2])
        line = frame.pixels(np.stack([base, tip]))
        stroke(image, line, colour_of(skin * shade * 0.55), max(2, int(0.22 * scale)))
        stroke(image, line, colour_of(skin * shade * (0.98 - 0.03 * finger)), max(1, int(0.185 * scale)))


def in_front(frame: Frame, t: Dict[str, float], n: Nuisance, skin: np.ndarray,
             image: np.ndarray) -> np.ndarray:
    """Draw glasses and hand over the finished face; float32 (h, w, 3) in and out."""
    image = np.ascontiguousarray(np.clip(image, 0, 255), dtype=np.float32)
    if n.glasses:
        _glasses(frame, n, image)
    if n.hand:
        _hand(frame, n, skin, image)
    return image


