"""Found faces: box, score and five points; how overlapping ones are thinned out and how one is chosen."""
from dataclasses import dataclass
from typing import List, Optional, Protocol, Tuple

import cv2
import numpy as np


@dataclass(frozen=True)
class Face:
    """A face in a photograph: `box` float64 (4,) x1, y1, x2, y2 and `points` float64 (5, 2), in its pixels; `score`."""

    box: np.ndarray
    score: float
    points: np.ndarray


class Detector(Protocol):
    """Anything that finds faces."""

    def detect(self, bgr: np.ndarray) -> List[Face]:
        """Faces in a BGR uint8 (h, w, 3) image, the surest first."""


def suppress(faces: List[Face], overlap: float) -> List[Face]:
    """Keep the surest of faces whose boxes overlap by more than `overlap` (intersection over union), surest first."""
    if not faces:
        return []
    boxes = [(float(f.box[0]), float(f.box[1]), float(f.box[2] - f.box[0]), float(f.box[3] - f.box[1])) for f in faces]
    kept = cv2.dnn.NMSBoxes(boxes, [f.score for f in faces], 0.0, overlap)
    return [faces[int(index)] for index in np.asarray(kept).reshape(-1)]


def choose(faces: List[Face], height: int, width: int) -> Optional[Face]:
    """The face a picture of one person is of: the largest area less twice the squared distance from the middle.

    The rule of the original's pack builder (facts, 1.7). None when there is no face.
    """
    def weight(face: Face) -> float:
        x1, y1, x2, y2 = face.box
        aside = ((x1 + x2) / 2 - width / 2) ** 2 + ((y1 + y2) / 2 - height / 2) ** 2
        return float((x2 - x1) * (y2 - y1) - 2.0 * aside)

    return max(faces, key=weight, default=None)


def letterbox(bgr: np.ndarray, size: Tuple[int, int]) -> Tuple[np.ndarray, float]:
    """The image scaled into the top left of a black (height, width) one, and the factor it was scaled by."""
    scale = min(size[0] / bgr.shape[0], size[1] / bgr.shape[1])
    fitted = cv2.resize(bgr, (max(1, round(bgr.shape[1] * scale)), max(1, round(bgr.shape[0] * scale))),
                        interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    canvas = np.zeros((size[0], size[1], 3), np.uint8)
    canvas[:fitted.shape[0], :fitted.shape[1]] = fitted
    return canvas, scale
