"""The reference points faces are aligned to, in this one place, and the transform that takes a face there."""
from typing import Dict, Tuple

import numpy as np
from skimage.transform import SimilarityTransform

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
    and one scale, never a reflection (Umeyama 1991, by scikit-image). Raises ValueError when the source points are one.
    """
    source = np.asarray(source, np.float64)
    fitted = SimilarityTransform()
    if not np.ptp(source, axis=0).any() or not fitted.estimate(source, np.asarray(target, np.float64)):
        raise ValueError("the points coincide: no similarity transform is defined by them")
    return fitted.params[:2]
