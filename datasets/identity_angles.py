"""How far images are from the centre of their identity, and which identities are near each other."""
from typing import List, Optional, Tuple

from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import PathLike

import numpy as np
from sklearn.cluster import KMeans

_ROWS = 2048


def load_embeddings(path: PathLike, rows: Optional[int] = None, what: str = "images") -> np.ndarray:
    """A saved .npy of embeddings (rows, d), memory-mapped; raises InputError naming the file when it does not fit."""
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{path}: not found; extract the embeddings first (python recognition/extract.py)") from None
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: no .npy of numbers ({error}); extract the embeddings again") from None
    if found.ndim != 2 or not np.issubdtype(found.dtype, np.floating) or (rows is not None and len(found) != rows):
        raise InputError(f"{path}: holds {found.dtype} of shape {found.shape}, not one row for each of {rows} {what}; "
                         "extract them from this very set")
    return found


def unit_rows(rows: np.ndarray, path: PathLike) -> np.ndarray:
    """Rows scaled to length 1, float64; raises InputError naming the file and row that is zero or not finite."""
    rows = np.asarray(rows, np.float64)
    norms = np.linalg.norm(rows, axis=1)
    bad = np.flatnonzero(~np.isfinite(norms) | (norms == 0))
    if bad.size:
        raise InputError(f"{path}: row {bad[0]} is zero or not finite; extract the embeddings again")
    return rows / norms[:, None]


def dominant_centre(unit: np.ndarray, sub_centres: int = 1, given: Optional[np.ndarray] = None) -> np.ndarray:
    """The centre most images of one identity belong to, unit length (d,).

    unit: (n, d) rows of length 1. With one sub-centre it is the normalised mean. With more, images are divided among
    sub-centres (`given` (k, d) trained ones, or k found by k-means) and that of most images is dominant, ties going to
    the first (sub-centre ArcFace, section 3.3 of the later paper).
    """
    if given is not None:
        lengths = np.maximum(np.linalg.norm(given, axis=1, keepdims=True), 1e-12)
        candidates = np.asarray(given, np.float64) / lengths
        return candidates[np.bincount((unit @ candidates.T).argmax(1), minlength=len(candidates)).argmax()]
    if sub_centres > 1 and len(unit) > sub_centres:
        members = KMeans(sub_centres, n_init=4, random_state=0).fit_predict(unit)
        unit = unit[members == np.bincount(members).argmax()]
    middle = unit.mean(0)
    return middle / max(float(np.linalg.norm(middle)), 1e-12)


def angles_to(unit: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Angle in degrees (n,) between rows of length 1 and a centre of length 1."""
    return np.degrees(np.arccos(np.clip(unit @ centre, -1.0, 1.0)))


def close_pairs(centres: np.ndarray, cosine: float) -> List[Tuple[int, int, float]]:
    """Pairs (i, j, cosine) with i < j of unit rows (c, d) that are at least so close, the closest first."""
    found: List[Tuple[int, int, float]] = []
    for start in range(0, len(centres), _ROWS):
        block = centres[start:start + _ROWS] @ centres[start:].T
        rows, columns = np.nonzero(np.triu(block, 1) >= cosine)
        found += [(start + int(i), start + int(j), float(block[i, j])) for i, j in zip(rows, columns)]
    return sorted(found, key=lambda pair: (-pair[2], pair[0], pair[1]))


def nearest(rows: np.ndarray, others: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """For each unit row (n, d) the number of the nearest of `others` (m, d) and its cosine, blockwise."""
    best, cosine = np.empty(len(rows), np.int64), np.empty(len(rows))
    for start in range(0, len(rows), _ROWS):
        block = rows[start:start + _ROWS] @ others.T
        best[start:start + _ROWS] = block.argmax(1)
        cosine[start:start + _ROWS] = block.max(1)
    return best, cosine
