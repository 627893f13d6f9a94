"""The video pairs of YTF: `meta_and_splits.mat` as published, or its text form (paper_tables.md, section 3.2)."""
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Tuple

from arcface_mxnet.evaluation.texts import read_lines
from arcface_mxnet.runtime.errors import InputError

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError


@dataclass(frozen=True)
class VideoPairs:
    """The pairs in split order: video names, int64 (P, 2) positions in them, bool (P,), and how many splits."""

    videos: Tuple[str, ...]
    pairs: np.ndarray
    same: np.ndarray
    splits: int


def read_splits(path: str) -> VideoPairs:
    """meta_and_splits.mat, or splits.txt with "split, pair, name, name, is same" a line; raises InputError."""
    place = Path(path)
    if not place.is_file():
        raise InputError(f"{place}: not found; give meta_and_splits.mat or splits.txt of YTF")
    videos, table = _from_mat(place) if place.suffix == ".mat" else _from_text(place)
    splits, sizes = np.unique(table[:, 0], return_counts=True)
    if len(set(sizes.tolist())) != 1:
        raise InputError(f"{place}: splits of {sizes.min()} to {sizes.max()} pairs; the protocol needs equal ones")
    table = table[np.argsort(table[:, 0], kind="stable")]
    return VideoPairs(tuple(videos), table[:, 1:3].astype(np.int64), table[:, 3].astype(bool), len(splits))


def _from_mat(place: Path) -> Tuple[List[str], np.ndarray]:
    """`video_names` and `Splits` (500, 3, 10): 1-based positions, 1-based positions, truth."""
    try:
        stored = loadmat(str(place))
        names = [str(np.ravel(name)[0]) for name in np.ravel(stored["video_names"])]
        splits = np.asarray(stored["Splits"], np.int64)
        pairs, three, count = splits.shape
    except (MatReadError, KeyError, ValueError, NotImplementedError, TypeError, IndexError) as error:
        raise InputError(f"{place}: no YTF splits ({error}); use another copy of meta_and_splits.mat") from None
    table = np.empty((pairs * count, 4), np.int64)
    table[:, 0] = np.repeat(np.arange(count), pairs)
    table[:, 1:] = splits.transpose(2, 0, 1).reshape(-1, three)
    table[:, 1:3] -= 1
    if table[:, 1:3].min() < 0 or table[:, 1:3].max() >= len(names):
        raise InputError(f"{place}: a pair names a video outside 1..{len(names)}; use another copy")
    return names, table


def _from_text(place: Path) -> Tuple[List[str], np.ndarray]:
    numbers: Dict[str, int] = {}
    table = []
    for line, text in enumerate(read_lines(place, "use another copy of splits.txt"), 1):
        parts = [part.strip() for part in text.split(",")]
        if not text.strip() or (line == 1 and not parts[0].isdigit()):
            continue
        if len(parts) < 5 or not parts[0].isdigit() or parts[4] not in ("0", "1"):
            raise InputError(f"{place}: line {line}: expected 'split, pair, video, video, 0 or 1', found '{text[:60]}'")
        first, second = (numbers.setdefault(name, len(numbers)) for name in parts[2:4])
        table.append((int(parts[0]), first, second, int(parts[4])))
    if not table:
        raise InputError(f"{place}: no pair in it; use another copy")
    return list(numbers), np.array(table, np.int64)
