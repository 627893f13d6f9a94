"""Light on the skin, and what a camera does to a picture."""
import functools
from typing import Tuple

from arcface_mxnet.datasets.faces import elementary
from arcface_mxnet.datasets.faces.nuisance import Nuisance

import cv2
import numpy as np


def shading(normal: np.ndarray, n: Nuisance) -> np.ndarray:
    """Brightness of the skin, float32 (h, w, 1): ambient, one lamp, a little shine; 1 is paint as it is."""
    lamp = np.clip(times(normal, n.light.astype(np.float32)[:, None])[..., 0], -0.12, 1.0)
    facing = normal[:, :, 2]
    soft = 0.82 + 0.18 * facing
    square = np.clip(lamp * facing, 0.0, 1.0)
    square = square * square
    fourth = square * square
    shine = 0.16 * fourth * fourth * fourth  # the twelfth power
    return ((n.ambient * soft + (1.25 - n.ambient) * lamp + shine) * n.exposure)[:, :, None].astype(np.float32)


@functools.lru_cache(maxsize=1)
def _film() -> np.ndarray:
    """One large sheet of Gaussian grain, float32 (512, 512, 3), deviation 1; pictures take pieces of it."""
    generator = np.random.Generator(np.random.PCG64(20180801))
    return generator.standard_normal((512, 512, 3), np.float32)


def _grain(n: Nuisance, shape: Tuple[int, ...]) -> np.ndarray:
    film = _film()
    row = (n.scene_seed >> 4) % (film.shape[0] - shape[0])
    column = (n.scene_seed >> 14) % (film.shape[1] - shape[1])
    return film[row:row + shape[0], column:column + shape[1]] * np.float32(n.noise)


def photograph(image: np.ndarray, n: Nuisance) -> np.ndarray:
    """Tint, tone curve, blur and noise of one camera: float32 RGB 0..255 (at most 500 wide) in, uint8 out."""
    levels = np.arange(256)[:, None] / 255.0 * n.tint[None, :]
    curve = 255.0 * elementary.power(np.minimum(np.maximum(levels, 0.0), 1.0), n.gamma)
    toned = cv2.LUT(np.clip(image, 0, 255).astype(np.uint8), curve.astype(np.float32)[None])
    if n.blur > 0.3:
        toned = cv2.GaussianBlur(toned, (0, 0), n.blur)
    if n.motion > 0.0:
        length = 3 + 2 * int(2 * n.motion)
        toned = cv2.blur(toned, (length, 1) if n.gaze[0] > 0 else (1, length))
    return np.clip(toned + _grain(n, toned.shape), 0, 255).astype(np.uint8)


# Small products summed term by term: the same bits whatever linear algebra library and processor NumPy finds.


def times(vectors: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """`vectors` (..., k) times `matrix` (k, m): (..., m), the k terms added in order."""
    total = vectors[..., 0, None] * matrix[0]
    for term in range(1, len(matrix)):
        total = total + vectors[..., term, None] * matrix[term]
    return total


def length_scale(affine: np.ndarray) -> float:
    """How much an affine map (2, 3) or (2, 2) enlarges lengths: the root of its area factor."""
    return float(np.sqrt(abs(affine[0, 0] * affine[1, 1] - affine[0, 1] * affine[1, 0])))
