"""One face to pixels: head, paint, light, things in front and behind, camera."""
from dataclasses import dataclass
from typing import Optional, Tuple

from arcface_mxnet.datasets.align import REFERENCE_112, similarity
from arcface_mxnet.datasets.faces import accessories, camera, head, skin
from arcface_mxnet.datasets.faces.camera import length_scale, times
from arcface_mxnet.datasets.faces.identity import Identity
from arcface_mxnet.datasets.faces.nuisance import Nuisance

import cv2
import numpy as np


@dataclass(frozen=True)
class Picture:
    """A rendered face: `image` uint8 (size, size, 3) RGB, `landmarks` float64 (5, 2) in its pixels, `age` in years."""

    image: np.ndarray
    landmarks: np.ndarray
    age: float


def _placement(points: np.ndarray, n: Nuisance) -> np.ndarray:
    """Camera plane -> crop pixels (2, 3): the five-point alignment a detector with small errors would have given."""
    plain = similarity(points, REFERENCE_112)
    noisy = points + n.landmark_noise / length_scale(plain)
    return similarity(noisy, REFERENCE_112).round(9)  # what a solver leaves beyond that depends on the machine


def render(identity: Identity, n: Nuisance, to_pixels: Optional[np.ndarray] = None, size: int = 112) -> Picture:
    """Draw one person under one set of circumstances.

    Without `to_pixels` the face is aligned to the reference landmarks of 112x112; with it (2, 3) the head is placed so
    in a picture of (size, size), as in an unaligned photograph. The same arguments give the same pixels.
    """
    t = identity.traits()
    age = max(17.0, t["birth_age"] + n.age_drift)
    field = head.height_field(t, n, age)
    rotate = head.rotation(n)
    points = times(head.landmarks(t, n, field), rotate.T)[:, :2]
    if to_pixels is None:
        to_pixels = _placement(points, n)
    seen = head.view(t, field, rotate, to_pixels, size)
    chart = skin.paint(identity, t, n, age)
    accessories.paint_on_chart(t, n, chart)
    light = camera.shading(seen.normal, n)
    face = head.on_chart(chart, seen.longitude, seen.level).astype(np.float32) * light
    scene = accessories.background(n, size)
    frame = accessories.Frame(t, field, rotate, to_pixels)
    accessories.behind(frame, t, n, skin.skin_colour(t), skin.hair_colour(t, n, age), scene)
    cover = seen.cover[:, :, None]
    image = scene * (1.0 - cover) + face * cover
    image = accessories.in_front(frame, t, n, skin.skin_colour(t), image)
    return Picture(camera.photograph(image, n), _project(points, to_pixels), age)


def _project(points: np.ndarray, to_pixels: np.ndarray) -> np.ndarray:
    return times(points, to_pixels[:, :2].T) + to_pixels[:, 2]


def encode(image: np.ndarray, quality: int) -> bytes:
    """RGB uint8 image as JPEG bytes."""
    done, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"OpenCV could not encode an image of shape {image.shape}")
    return data.tobytes()


def encoded_face(identity: Identity, n: Nuisance) -> Tuple[bytes, float]:
    """The aligned 112x112 face as JPEG bytes, and the age (years) it shows."""
    picture = render(identity, n)
    return encode(picture.image, n.jpeg_quality), picture.age
