"""What is done to a training image, and by which chance: every draw is a function of (seed, epoch, position) alone.

Facts, 1.5: mirror with probability 0.5; off by default as in the original: colour jitter, re-compression, cut-out.
"""
from dataclasses import dataclass

from arcface_mxnet.datasets.images import decode_bgr, encode_jpeg

import cv2
import numpy as np

JITTER = 0.125
LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)
COMPRESSION_QUALITY = (2, 20)
CUTOUT_VALUE = 128.0
# The streams of chance drawn from one (seed, epoch): see `stream`.
ORDER, MIRROR, IMAGE, TRIPLETS = range(4)


@dataclass(frozen=True)
class Augmentation:
    """What to do to an image.

    mirror: left and right swapped with probability 0.5. colour: 0 none, 1 jitter of brightness, contrast and saturation
    by up to 12.5 %, 2 that after JPEG re-compression (probability 0.5, quality 2 to 20); the original's `data_color`.
    cutout: side in pixels of a grey square at a random place with probability 0.5, 0 for none; its `data_cutoff`.
    """

    mirror: bool = True
    colour: int = 0
    cutout: int = 0

    @property
    def changes_pixels(self) -> bool:
        """Whether anything but the mirror is on."""
        return self.colour > 0 or self.cutout > 0


def stream(seed: int, epoch: int, purpose: int, position: int = 0) -> np.random.Generator:
    """The random numbers of one purpose (ORDER, MIRROR, ...) at one place of one epoch; no state, no sharing."""
    sequence = np.random.SeedSequence(entropy=seed, spawn_key=(epoch, purpose, position))
    return np.random.Generator(np.random.Philox(sequence))


def augment(image: np.ndarray, settings: Augmentation, chance: np.random.Generator) -> np.ndarray:
    """Change one RGB uint8 (h, w, 3) image as set (but for the mirror); float32 if the colour was touched.

    Order as in the original: re-compression, jitter, cut-out. Jittered values are not clipped to 0..255, as there.
    """
    if settings.colour > 1 and chance.random() < 0.5:
        image = recompress(image, int(chance.integers(COMPRESSION_QUALITY[0], COMPRESSION_QUALITY[1] + 1)))
    if settings.colour > 0:
        image = jitter(image, chance)
    if settings.cutout > 0 and chance.random() < 0.5:
        height, width = image.shape[:2]
        image = cut_out(image, int(chance.integers(height)), int(chance.integers(width)), settings.cutout)
    return image


def recompress(image: np.ndarray, quality: int) -> np.ndarray:
    """An RGB uint8 image after one more JPEG compression at `quality` (1..100)."""
    encoded = encode_jpeg(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality)
    return cv2.cvtColor(decode_bgr(encoded), cv2.COLOR_BGR2RGB)


def jitter(image: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    """Brightness, contrast and saturation in random order, each by 1 + U(-0.125, 0.125); float32, not clipped.

    As mx.image.ColorJitter: contrast is towards the mean luminance of the image, saturation towards each pixel's own.
    """
    result = image.astype(np.float32)
    for step in chance.permutation(3):
        alpha = np.float32(1.0 + chance.uniform(-JITTER, JITTER))
        if step == 0:
            result = result * alpha
        elif step == 1:
            result = result * alpha + (1 - alpha) * np.float32((result @ LUMINANCE).mean())
        else:
            result = result * alpha + (1 - alpha) * (result @ LUMINANCE)[:, :, None]
    return result


def cut_out(image: np.ndarray, row: int, column: int, side: int) -> np.ndarray:
    """A copy with a square of `side` pixels centred at (row, column), clipped to the image, filled with 128."""
    result = image.copy()
    top, left = max(row - side // 2, 0), max(column - side // 2, 0)
    result[top:row - side // 2 + side, left:column - side // 2 + side] = CUTOUT_VALUE
    return result
