"""Small products summed term by term: the same bits whatever linear algebra library and processor NumPy finds."""
import numpy as np


def times(vectors: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """`vectors` (..., k) times `matrix` (k, m): (..., m), the k terms added in order."""
    total = vectors[..., 0, None] * matrix[0]
    for term in range(1, len(matrix)):
        total = total + vectors[..., term, None] * matrix[term]
    return total


def length_scale(affine: np.ndarray) -> float:
    """How much an affine map (2, 3) or (2, 2) enlarges lengths: the root of its area factor."""
    return float(np.sqrt(abs(affine[0, 0] * affine[1, 1] - affine[0, 1] * affine[1, 0])))
