"""Lists of five points: one picture a line, its path and then ten numbers, x and y of each point in turn."""
from pathlib import Path
from typing import Dict, List, Tuple

from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import PathLike

import numpy as np

_NUMBERS = 10


def _split(line: str) -> Tuple[str, List[str]]:
    """Path and numbers: separated by tabs, or by blanks (then the path ends where eleven or ten numbers begin)."""
    if "\t" in line:
        path, *numbers = line.split("\t")
        return path, numbers[:_NUMBERS]
    words = line.split()
    first = len(words) - _NUMBERS
    if first >= 2 and words[first - 1].replace(".", "", 1).lstrip("-").isdigit():
        first -= 1  # the published IJB lists end in a detector score
    return " ".join(words[:first]), words[first:first + _NUMBERS]


def read_points(path: PathLike) -> Dict[str, np.ndarray]:
    """Picture -> points float64 (5, 2). Accepts tabs or blanks, and a score after the ten numbers (IJB's lists).

    Raises InputError naming the file and line where there are not ten numbers, or a picture comes twice.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text ({error}); give a list of `path x1 y1 ... x5 y5`") from None
    found: Dict[str, np.ndarray] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, values = _split(line)
        try:
            points = np.array([float(value) for value in values])
        except ValueError:
            points = np.empty(0)
        if points.size != _NUMBERS or not name or not np.isfinite(points).all():
            raise InputError(f"{path}: line {number}: expected a path and ten numbers; correct or delete the line")
        if name in found:
            raise InputError(f"{path}: line {number}: {name} comes twice; delete one of the two lines")
        found[name] = points.reshape(5, 2)
    if not found:
        raise InputError(f"{path}: no points in it; give a list of `path x1 y1 ... x5 y5`")
    return found


def rescale(points: np.ndarray, measured_width: float, width: int) -> np.ndarray:
    """Points (5, 2) measured in a picture of one width, in the same picture resized to another (pixel centres kept)."""
    return (points + 0.5) * (width / measured_width) - 0.5
