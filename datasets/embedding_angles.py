"""Images that are nearly the same picture, found by a perceptual hash.

The hash: the picture in grey at 28x28, the signs of its 16x16 lowest cosine coefficients (the constant one left out):
255 bits. Re-compression (quality 30), blur and 15 % more brightness move at most 20 of them (measured on 1,000 pictures
of LFW), so pictures up to 26 bits apart count as one; among the 13,233 of LFW that finds 16 pairs, each truly one
photograph, four of them under two names. Beside decoding the hash is to cost little: every second row is enough.

The search never compares all pairs: in each of 40 tables, pictures that agree in 22 bits drawn at random are compared.
A pair 26 bits apart is found with probability 0.97, one 14 bits apart with 0.999997, one with equal hashes always.
"""
from typing import List, NamedTuple, Optional, Sequence, Tuple

from arcface_mxnet.runtime.arrays import load_array
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import PathLike

import cv2
import numpy as np
from scipy.fft import dct
from sklearn.cluster import KMeans

REACH = 26
TABLES, BITS = 40, 22
MOST_COMPARED = 256
_SIDE, _LOW = 28, 16
_BASIS = dct(np.eye(_SIDE), norm="ortho", axis=0)[:_LOW].astype(np.float32)
_ACROSS = np.repeat(_BASIS, 2, axis=1) / 2  # of columns half as wide
_FLAT = 0.01  # grey levels; what is less is rounding, and equal pictures have equal bits
_ONES = np.array([bin(value).count("1") for value in range(256)], dtype=np.uint8)


class NearPairs(NamedTuple):
    """Pairs i < j of pictures and how many bits their hashes differ in; int64 (m,) each."""

    first: np.ndarray
    second: np.ndarray
    distance: np.ndarray


def thumbnail(image: np.ndarray) -> np.ndarray:
    """BGR uint8 (h, w, 3) to (28, 56, 3), the part of the hash that is taken picture by picture."""
    rows = image[::2] if len(image) >= 4 * _SIDE else image
    return cv2.resize(rows, (2 * _SIDE, _SIDE), interpolation=cv2.INTER_AREA)


def hashes(thumbnails: Sequence[np.ndarray]) -> np.ndarray:
    """Hashes of thumbnails, uint64 (n, 4); the 256th bit is 0."""
    if not len(thumbnails):
        return np.empty((0, 4), dtype=np.uint64)
    grey = cv2.cvtColor(np.concatenate(thumbnails), cv2.COLOR_BGR2GRAY)
    low = _BASIS @ (grey.astype(np.float32) @ _ACROSS.T).reshape(-1, _SIDE, _LOW)
    above = low.reshape(-1, _LOW * _LOW)[:, 1:] > _FLAT
    return np.packbits(np.pad(above, ((0, 0), (0, 1))), axis=1).view(np.uint64)


def distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Differing bits of hashes row by row, int64 (n,)."""
    return _ONES[(first ^ second).view(np.uint8)].sum(axis=1, dtype=np.int64)


def near_pairs(found: np.ndarray, reach: int = REACH) -> NearPairs:
    """Pairs of hashes (uint64 (n, 4)) that differ in at most `reach` bits, in order.

    Of pictures with one hash each is paired with the next of them only. At most 256 neighbours are compared within a
    table, so that a million grey pictures cost no quadratic time.
    """
    alike, one = _equal(found)
    unique = found[one]
    words = np.ascontiguousarray(unique.T)
    chance = np.random.default_rng(0)
    pairs: List[np.ndarray] = []
    for _ in range(TABLES if len(unique) > 1 else 0):
        pairs.append(_near_in_table(unique, words, chance, reach))
    close = np.unique(np.concatenate(pairs), axis=0) if pairs else np.empty((0, 2), dtype=np.int64)
    ends = np.sort(np.concatenate([one[close], alike]), axis=1)
    ends = ends[np.lexsort((ends[:, 1], ends[:, 0]))]
    return NearPairs(ends[:, 0], ends[:, 1], distances(found[ends[:, 0]], found[ends[:, 1]]))


def _equal(found: np.ndarray) -> "tuple[np.ndarray, np.ndarray]":
    """Chains of pictures with equal hashes, int64 (m, 2), and one picture of each hash."""
    order = np.lexsort((np.arange(len(found)),) + tuple(found.T))
    same = np.all(found[order[1:]] == found[order[:-1]], axis=1)
    alike = np.stack([order[:-1][same], order[1:][same]], axis=1)
    return alike, order[np.concatenate([[True], ~same])[:len(order)]]


def _near_in_table(unique: np.ndarray, words: np.ndarray, chance: np.random.Generator, reach: int) -> np.ndarray:
    """Near pairs among the hashes (and the same by word) that agree in bits drawn at random; int64 (m, 2)."""
    chosen = np.zeros(256, dtype=np.uint8)
    chosen[chance.choice(255, BITS, replace=False)] = 1
    mask = np.packbits(chosen).view(np.uint64)
    mixer = chance.integers(0, 1 << 63, 4, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    key = np.zeros(len(unique), dtype=np.uint64)  # one number for the chosen bits, modulo 2^64
    for word, bits, factor in zip(words, mask, mixer):
        key += (word & bits) * factor
    key >>= np.uint64(32)  # the half that every chosen bit moves
    order = np.argsort(key.astype(np.uint16), kind="stable")  # 16 bits at a time: NumPy sorts these by counting
    order = order[np.argsort((key >> np.uint64(16)).astype(np.uint16)[order], kind="stable")]
    key = key[order]
    pairs: List[np.ndarray] = []
    for step in range(1, min(MOST_COMPARED, len(key) - 1) + 1):
        together = np.flatnonzero(key[step:] == key[:-step])
        if not together.size:
            break
        first, second = order[together], order[together + step]
        near = distances(unique[first], unique[second]) <= reach
        pairs.append(np.stack([first[near], second[near]], axis=1))
    return np.sort(np.concatenate(pairs), axis=1) if pairs else np.empty((0, 2), dtype=np.int64)


# How far images are from the centre of their identity, and which identities are near each other.


_ROWS = 2048


def load_embeddings(path: PathLike, rows: Optional[int] = None, what: str = "images") -> np.ndarray:
    """A saved .npy of embeddings (rows, d), memory-mapped; raises InputError naming the file when it does not fit."""
    found = load_array(path, "extract the embeddings with `python recognition/extract.py`")
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
    the first (docs/original.md, section 3.8).
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
