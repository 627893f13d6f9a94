"""Everything about a picture that is not who is on it: pose, light, expression, age, occlusion, camera."""
from dataclasses import dataclass, replace
from typing import Tuple

from arcface_mxnet.datasets.faces import elementary

import numpy as np


@dataclass(frozen=True)
class NuisanceRanges:
    """How hard the task is. Angles in degrees, ages in years, lengths in pixels of the 112x112 crop.

    `*_spread` is a standard deviation, `*_rate` a probability, `*_range` a uniform interval, `*_most` the largest.
    """

    yaw_spread: float = 15.0
    yaw_range: Tuple[float, float] = (0.0, 0.0)  # if not empty, |yaw| is uniform in it, either side
    pitch_spread: float = 7.0
    roll_spread: float = 8.0
    landmark_spread: float = 0.6  # what a detector's points are off by
    expression_spread: float = 0.8
    blink_rate: float = 0.05
    age_spread: float = 5.0
    age_shift: float = 0.0  # years added to everybody
    ambient_range: Tuple[float, float] = (0.38, 0.80)
    exposure_range: Tuple[float, float] = (0.70, 1.22)
    gamma_range: Tuple[float, float] = (0.75, 1.35)
    warmth_spread: float = 0.10
    glasses_rate: float = 0.10
    hat_rate: float = 0.06
    hand_rate: float = 0.05
    restyle_spread: float = 0.30  # hair is cut, combed and coloured
    makeup_spread: float = 0.3
    beard_spread: float = 0.3  # shaving
    blur_most: float = 1.0
    noise_most: float = 7.0
    jpeg_range: Tuple[int, int] = (45, 95)


FRONTAL = replace(NuisanceRanges(), yaw_spread=6.0, pitch_spread=6.0)
PROFILE = replace(NuisanceRanges(), yaw_range=(42.0, 68.0))
YOUNG = replace(NuisanceRanges(), age_shift=-9.0, age_spread=3.0)
OLD = replace(NuisanceRanges(), age_shift=23.0, age_spread=4.0)


@dataclass(frozen=True)
class Nuisance:
    """One picture's circumstances, drawn from NuisanceRanges; angles in radians, `age_drift` in years."""

    yaw: float
    pitch: float
    roll: float
    landmark_noise: np.ndarray  # (5, 2) pixels
    smile: float
    mouth_open: float
    brow_raise: float
    squint: float
    gaze: Tuple[float, float]
    age_drift: float
    light: np.ndarray  # (3,) unit vector towards the light, z to the camera
    ambient: float
    exposure: float
    gamma: float
    tint: np.ndarray  # (3,) RGB gains
    glasses: bool
    hat: bool
    hand: bool
    hair_change: np.ndarray  # (4,) hairline, volume, shade, fringe
    makeup: float
    shave: float
    blur: float
    motion: float
    noise: float
    jpeg_quality: int
    scene_seed: int


def _light(generator: np.random.Generator) -> np.ndarray:
    azimuth, elevation = generator.uniform(-1.25, 1.25), generator.uniform(-0.35, 1.0)
    angles = np.array([azimuth, elevation])
    (across, up), (towards, level) = elementary.sin(angles), elementary.cos(angles)
    return np.array([across * level, -up, towards * level])


def _yaw(ranges: NuisanceRanges, generator: np.random.Generator) -> float:
    low, high = ranges.yaw_range
    side = 1.0 if generator.random() < 0.5 else -1.0
    spread = float(np.clip(generator.normal(), -2.3, 2.3)) * ranges.yaw_spread
    return float(np.radians(side * generator.uniform(low, high) if high > low else spread))


def draw_nuisance(ranges: NuisanceRanges, seed: int, number: int, image: int) -> Nuisance:
    """The circumstances of one picture; the same (ranges, seed, number, image) give the same ones anywhere."""
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, number, 1, image])))

    def normal(spread: float, most: float = 2.0) -> float:
        return float(np.clip(generator.normal(), -most, most)) * spread

    mood = ranges.expression_spread
    return Nuisance(
        yaw=_yaw(ranges, generator), pitch=float(np.radians(normal(ranges.pitch_spread))),
        roll=float(np.radians(normal(ranges.roll_spread))),
        landmark_noise=generator.normal(0.0, ranges.landmark_spread, (5, 2)),
        smile=normal(mood), mouth_open=max(0.0, normal(mood)), brow_raise=normal(mood),
        squint=1.0 if generator.random() < ranges.blink_rate else max(0.0, normal(0.35 * mood)),
        gaze=(normal(0.5), normal(0.3)), age_drift=ranges.age_shift + normal(ranges.age_spread),
        light=_light(generator), ambient=float(generator.uniform(*ranges.ambient_range)),
        exposure=float(generator.uniform(*ranges.exposure_range)),
        gamma=float(generator.uniform(*ranges.gamma_range)),
        tint=1.0 + np.array([1.0, 0.1, -1.0]) * normal(ranges.warmth_spread) + generator.normal(0.0, 0.02, 3),
        glasses=bool(generator.random() < ranges.glasses_rate), hat=bool(generator.random() < ranges.hat_rate),
        hand=bool(generator.random() < ranges.hand_rate),
        hair_change=np.clip(generator.normal(0.0, 1.0, 4), -2, 2) * ranges.restyle_spread,
        makeup=normal(ranges.makeup_spread), shave=normal(ranges.beard_spread),
        blur=float(generator.uniform(0.0, ranges.blur_most)),
        motion=float(generator.uniform(0.0, 1.0)) if generator.random() < 0.1 else 0.0,
        noise=float(generator.uniform(0.5, max(0.5, ranges.noise_most))),
        jpeg_quality=int(generator.integers(ranges.jpeg_range[0], ranges.jpeg_range[1] + 1)),
        scene_seed=int(generator.integers(1 << 31)))
