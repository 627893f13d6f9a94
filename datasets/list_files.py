"""The two historical `.lst` forms, told apart and checked line by line (facts, 1.6 and 8.13).

2018:   aligned(0/1) TAB path TAB label [TAB x1 y1 x2 y2 [TAB 10 numbers: x of five points, then y]]
im2rec: index TAB label TAB path          (MXNet's own; label and path stand the other way round)
"""
import os
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from arcface_mxnet.datasets.image_sources import SUFFIXES, ImageList
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import PathLike

import numpy as np


class Line(NamedTuple):
    """One line of a list: its number, the image's path as written, its class; points float64 (5, 2) if it has them."""

    number: int
    path: str
    label: int
    aligned: bool = True
    points: Optional[np.ndarray] = None


def read_list(path: PathLike) -> List[Line]:
    """Read a list file of either form; InputError names the line that fits neither or not the others."""
    place = Path(path)
    try:
        text = place.read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        raise InputError(f"{place}: not found") from None
    rows = [(number, line.rstrip("\r").split("\t")) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not rows:
        raise InputError(f"{place}: empty; each line names one image")
    if not _is_im2rec(place, rows):
        return [_line_2018(place, number, fields) for number, fields in rows]
    _check_counted(place, rows)
    return [_im2rec_line(place, number, fields) for number, fields in rows]


def from_list(path: PathLike, root: Optional[PathLike] = None, renumber: bool = False) -> ImageList:
    """The images of a list file, grouped by identity whatever the order of its lines.

    root: the folder its paths start from (the list's own by default). Labels must be 0, 1, ... without a gap, or be
    renumbered in order. Raises InputError naming the line of a missing file or of a path that comes twice.
    """
    place = Path(path)
    lines = read_list(place)
    start = Path(root) if root is not None else place.parent
    states = _states(place, lines, start)
    present = sorted({line.label for line in lines})
    if present != list(range(len(present))) and not renumber:
        gap = next((label for label, found in enumerate(present) if label != found), len(present))
        raise InputError(f"{place}: no image has label {gap}, yet some have higher or lower ones; labels count from 0 "
                         "without a gap: correct the list or add --renumber")
    numbers = {label: number for number, label in enumerate(present)}
    order = sorted(range(len(lines)), key=lambda number: lines[number].label)
    lines = [lines[number] for number in order]
    made = ImageList(str(place), [line.path for line in lines],
                     np.array([numbers[line.label] for line in lines], dtype=np.int64),
                     [str(label) for label in present], [states[number] for number in order],
                     lambda number: (start / lines[number].path).read_bytes())
    made.unaligned = {number for number, line in enumerate(lines) if not line.aligned}
    made.points = {number: line.points for number, line in enumerate(lines)
                   if line.points is not None and not line.aligned}
    return made


def _is_im2rec(place: Path, rows: Sequence[Tuple[int, List[str]]]) -> bool:
    """Whether the first line is im2rec's: numbers and then a path; the other form has its path second."""
    number, fields = rows[0]
    if len(fields) < 3:
        raise InputError(f"{place}: line {number} has {len(fields)} columns; columns are separated by tabs: "
                         "`aligned path label` or im2rec's `index label path`")
    last_is_path = not _is_number(fields[-1]) or (fields[-1].lower().endswith(SUFFIXES))
    return last_is_path and all(_is_number(value) for value in fields[:-1])


def _check_counted(place: Path, rows: Sequence[Tuple[int, List[str]]]) -> None:
    """im2rec counts its lines; a first column that repeats is the other form's `aligned`, label and path swapped."""
    seen: Dict[str, int] = {}
    for number, fields in rows:
        before = seen.setdefault(fields[0], number)
        if before != number:
            raise InputError(f"{place}: line {number} has the index {fields[0]} of line {before}; if the first column "
                             "is `aligned`, label and path are swapped: the form is `aligned path label`")


def _line_2018(place: Path, number: int, fields: List[str]) -> Line:
    if len(fields) not in (3, 7, 17):
        raise InputError(f"{place}: line {number} has {len(fields)} columns; `aligned path label` has 3, 7 with a box, "
                         "17 with five points")
    aligned, path, label = fields[:3]
    if _is_number(path) and not _is_number(label):
        raise InputError(f"{place}: line {number} has label and path swapped against the lines before it; "
                         "use one form throughout")
    if aligned not in ("0", "1"):
        raise InputError(f"{place}: line {number} begins with {aligned!r} where aligned is 0 or 1; in im2rec's form "
                         "(index, label, path) label and path stand the other way round")
    if not all(_is_number(value) for value in fields[3:]):
        raise InputError(f"{place}: line {number} has a box or points that are no numbers; correct the list")
    points = np.array(fields[7:], dtype=np.float64).reshape(2, 5).T if len(fields) == 17 else None
    return Line(number, path, _label(place, number, label), aligned == "1", points)


def _im2rec_line(place: Path, number: int, fields: List[str]) -> Line:
    if len(fields) != 3:
        raise InputError(f"{place}: line {number} has {len(fields)} columns; im2rec's form here is `index label path`, "
                         "one label an image")
    _, label, path = fields
    if _is_number(path) and not _is_number(label):
        raise InputError(f"{place}: line {number} has label and path swapped against the lines before it; "
                         "use one form throughout")
    return Line(number, path, _label(place, number, label))


def _label(place: Path, number: int, text: str) -> int:
    value = float(text) if _is_number(text) else -1.0
    if value < 0 or value != int(value):
        raise InputError(f"{place}: line {number} has label {text!r}; a label is a whole number from 0 "
                         "(are label and path swapped?)")
    return int(value)


def _is_number(text: str) -> bool:
    try:
        return np.isfinite(float(text)) and "_" not in text
    except ValueError:
        return False


def _states(place: Path, lines: Sequence[Line], start: Path) -> List[Tuple[int, int]]:
    """Size and time of each image; a path must be there, and only once."""
    seen: Dict[str, int] = {}
    states = []
    for line in lines:
        image = os.path.normpath(start / line.path)
        if image in seen:
            raise InputError(f"{place}: line {line.number} names {line.path} again (line {seen[image]} did); an image "
                             "belongs to one identity once: remove one of the lines")
        seen[image] = line.number
        try:
            status = os.stat(image)
        except (FileNotFoundError, NotADirectoryError):
            raise InputError(f"{place}: line {line.number}: {image} not found; name the folder the paths start from "
                             "with --root") from None
        states.append((status.st_size, status.st_mtime_ns))
    return states
