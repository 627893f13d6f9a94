"""The reference points faces are aligned to, in this one place, and the transform that takes a face there."""
from typing import Dict, Tuple

import numpy as np

# Left eye, right eye, nose tip, left and right mouth corner (left and right of the image), pixels (x, y) of a crop
# 112 high and 96 wide: the original's five-point template.
REFERENCE_112X96 = np.array([[30.2946, 51.6963], [65.5318, 51.5014], [48.0252, 71.7366], [33.5493, 92.3655],
                                [62.7299, 92.2041]])
REFERENCE_112 = REFERENCE_112X96 + (8.0, 0.0)  # the same face in the middle of a crop 112 wide

REFERENCES: Dict[Tuple[int, int], np.ndarray] = {(112, 112): REFERENCE_112, (112, 96): REFERENCE_112X96}
POINT_NAMES = ("left eye", "right eye", "nose tip", "left mouth corner", "right mouth corner")


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The similarity transform that takes points to points with the least summed squared distance.

    source, target: float (n, 2), n >= 2. Returns float64 (2, 3) M with target ~ M[:, :2] @ source + M[:, 2]: rotation
    and one scale, never a reflection. Umeyama 1991 for the plane, where it is the least-squares quotient of complex
    numbers. Raises ValueError when all source points coincide.
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    middle, aim = source.mean(0), target.mean(0)
    from_, to = source - middle, target - aim
    spread = (from_ ** 2).sum()
    if spread == 0.0:
        raise ValueError("all points coincide: no similarity transform is defined by them")
    along = (from_ * to).sum() / spread
    turn = (from_[:, 0] * to[:, 1] - from_[:, 1] * to[:, 0]).sum() / spread
    linear = np.array([[along, -turn], [turn, along]])
    return np.column_stack([linear, aim - linear @ middle])
