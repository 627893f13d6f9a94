"""Where images come from: a folder of identities, a zip or tar of such folders, or a list file.

Every source becomes one `ImageList`, grouped by identity. Archives are read in place, never unpacked; a member that
leads outside, or is a link, refuses the whole archive.
"""
import errno
import hashlib
import os
import stat
import zipfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from arcface_mxnet.datasets.image_headers import MOST_BYTES, image_suffixes
from arcface_mxnet.datasets.images import read_image
from arcface_mxnet.datasets.tar_members import BadArchive, tar_members
from arcface_mxnet.runtime.errors import InputError, one_line
from arcface_mxnet.runtime.files import PathLike
from arcface_mxnet.runtime.reading import ZIP_ERRORS, escaped, file_status, open_file, shown
from arcface_mxnet.runtime.text import Columns, is_real, iterate_lines, listed_path, real_number

import numpy as np

_HIGHEST_LABEL = 1 << 53  # labels are read as numbers with a fraction, which are exact up to here
_LIST_2018 = Columns("tab", "aligned path label [x1 y1 x2 y2 [x of five points, y of five points]]", (3, 7, 17))
_LIST_IM2REC = Columns("tab", "index label path", (3,))


@dataclass
class ImageList:
    """Images of identities, grouped by identity, in order of class.

    names: what each image is called in its source; labels: int64 (n,), never falling; identities: the name of each
    class, in order; states: what each image's bytes are known by (size and time), for telling whether a source is still
    the same; read(i): the encoded bytes of image i, safe from any thread; points: float64 (5, 2) of images still to be
    aligned; unaligned: the numbers of these; passed_over: files that are no images; tiff: whether TIFF is read.
    """

    where: str
    names: List[str]
    labels: np.ndarray
    identities: List[str]
    states: List[Tuple[int, int]]
    read: Callable[[int], bytes]
    points: Dict[int, np.ndarray] = field(default_factory=dict)
    unaligned: "set[int]" = field(default_factory=set)
    passed_over: List[str] = field(default_factory=list)
    tiff: bool = False


class Fingerprint:
    """What the first images of a source are known by: their names, labels, sizes and times, and the options given.

    fingerprint(count) is one hash of the first `count` images, for counts that never fall, and of whether the identity
    of the last of them ends there: images added later on do not change it, one added to that identity does.
    """

    def __init__(self, source: ImageList, *options: object) -> None:
        self._source, self._done = source, 0
        self._digest = hashlib.sha256(repr(options).encode("utf-8"))

    def __call__(self, count: int) -> str:
        """Raises ValueError where the source has not so many images."""
        source, labels = self._source, self._source.labels
        if count > len(labels):
            raise ValueError(f"{count} of {len(labels)} images")
        for number in range(self._done, count):
            line = f"{source.names[number]}\0{labels[number]}\0{source.states[number]}\n"
            self._digest.update(line.encode("utf-8", "surrogateescape"))
        self._done = count
        ends = count in (0, len(labels)) or labels[count] != labels[count - 1]
        return self._digest.hexdigest() + ("" if ends else " and more")


def open_source(path: PathLike, tiff: bool = False) -> ImageList:
    """A folder, .zip or .tar of identities as an ImageList; raises InputError naming what is wrong with it.

    tiff: TIFF files are images as well.
    """
    place = Path(path)
    if place.is_dir():
        return from_folder(place, tiff)
    file_status(place, "give a folder of identities, a .zip or .tar of one, or a .lst file")
    if zipfile.is_zipfile(place):
        return from_zip(place, tiff)
    if place.suffix in (".tar", ".tgz") or ".tar." in place.name:
        return from_tar(place, tiff)
    raise InputError(f"{place}: neither a folder nor a whole .zip, .tar or .lst file; get another copy, or "
                     "unpack it and name the folder")


def from_folder(root: Path, tiff: bool = False) -> ImageList:
    """`root/identity/.../image`; hidden files are passed over, links to files are followed."""
    files: List[str] = []
    states: Dict[str, Tuple[int, int]] = {}
    for folder, below, names in os.walk(root):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in names:
            if not name.startswith("."):
                inside = os.path.relpath(os.path.join(folder, name), root)
                files.append(inside)
                if _is_image(name, tiff):
                    states[inside] = _state(os.path.join(folder, name))
    return _grouped(str(root), files, states, lambda name: read_image(root / name), tiff)


def _state(path: str) -> Tuple[int, int]:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise InputError(f"{path}: is a link to nowhere; remove it or restore what it points at") from None
    except OSError:
        status = file_status(path, "remove it or restore what it points at")
    if not stat.S_ISREG(status.st_mode):
        file_status(path, "remove it, or give it a name that is no image's")
    return status.st_size, status.st_mtime_ns


def from_zip(path: Path, tiff: bool = False) -> ImageList:
    """A .zip of identity folders; raises InputError naming a member that leads outside, is a link or is too large."""
    try:
        archive = zipfile.ZipFile(path)
    except ZIP_ERRORS as error:
        raise InputError(f"{path}: no whole .zip ({one_line(error)}); get another copy") from None
    states: Dict[str, Tuple[int, int]] = {}
    for member in archive.infolist():
        name = _checked_name(path, member.filename)
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _no_plain_file(path, name, "is a link or device, which an archive of images has no need of")
        if member.flag_bits & 1:
            raise InputError(f"{path}: {escaped(name)} is encrypted; unpack it and name the folder")
        if not member.is_dir():
            _must_be_new(path, name, states)
            _must_be_bounded(path, name, member.file_size, tiff)
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise InputError(f"{path}: {escaped(name)} is packed in a way that is not read (method "
                                 f"{member.compress_type}); unpack it and name the folder")
            states[name] = (member.file_size, member.CRC)

    def read(name: str) -> bytes:
        try:
            return archive.read(name)
        except ZIP_ERRORS:
            raise OSError(errno.EIO, "damaged in the archive, or packed in a way that cannot be read") from None

    return _grouped(str(path), list(states), states, read, tiff)


def from_tar(path: Path, tiff: bool = False) -> ImageList:
    """An uncompressed .tar of identity folders; raises InputError as `from_zip`, and for a compressed one."""
    places: Dict[str, Tuple[int, int]] = {}
    try:
        with open_file(path, "get another copy") as stream:
            for member in tar_members(stream):
                name = _checked_name(path, member.name)
                _must_be_new(path, name, places)
                _must_be_bounded(path, name, member.size, tiff)
                places[name] = (member.start, member.size)
    except BadArchive as error:
        raise InputError(f"{path}: {error}; unpack it yourself after a look, and name the folder") from None
    changed = path.stat().st_mtime_ns

    def read(name: str) -> bytes:
        with open(path, "rb") as stream:
            stream.seek(places[name][0])
            return stream.read(places[name][1])

    return _grouped(str(path), list(places), {name: (size, changed) for name, (_, size) in places.items()}, read, tiff)


def _no_plain_file(path: Path, name: str, why: str) -> InputError:
    return InputError(f"{path}: {escaped(name)} {why}; unpack it yourself after a look, and name the folder")


def _must_be_bounded(path: Path, name: str, size: int, tiff: bool) -> None:
    if size > MOST_BYTES and _is_image(name, tiff):
        raise _no_plain_file(path, name, f"has {size} bytes, more than the {MOST_BYTES} that are read of an image")


def _must_be_new(path: Path, name: str, seen: Dict[str, Tuple[int, int]]) -> None:
    if name in seen:
        raise InputError(f"{path}: {escaped(name)} is in it twice; pack each image once, or unpack it yourself")


def _checked_name(path: Path, name: str) -> str:
    member = PurePosixPath(name.replace("\\", "/"))
    if not name:
        raise InputError(f"{path}: holds a member without a name; get another copy")
    if member.is_absolute() or ".." in member.parts or ":" in name[:3]:
        raise InputError(f"{path}: {escaped(name)} leads outside the archive; do not trust it, get another copy")
    return name


def _grouped(where: str, files: Sequence[str], states: Dict[str, Tuple[int, int]],
             read: Callable[[str], bytes], tiff: bool) -> ImageList:
    """Identities are the first folder level below what all images have in common, in order of name."""
    kept = sorted((name for name in files if _is_image(name, tiff)), key=lambda name: PurePosixPath(name).parts)
    passed_over = sorted(name for name in set(files).difference(kept) if not PurePosixPath(name).name.startswith("."))
    if not kept:
        raise InputError(f"{where}: holds no image ({', '.join(image_suffixes(tiff))}); it should hold a folder for "
                         "each identity")
    cut = next((name for name in kept if "\n" in name or "\r" in name), None)
    if cut is not None:
        raise InputError(f"{where}: the name {shown(cut)} holds a line end, and lists have a name a line; rename it")
    parts = [PurePosixPath(name).parts for name in kept]
    loose = next((name for name, part in zip(kept, parts) if len(part) < 2), None)
    if loose is not None:
        raise InputError(f"{where}: {loose} lies in no identity's folder; move it into one named after the person")
    common = len(os.path.commonprefix([part[:-2] for part in parts]))
    people = [part[common] for part in parts]  # in order: the names are
    identities = sorted(set(people))
    number = {person: label for label, person in enumerate(identities)}
    labels = np.array([number[person] for person in people], dtype=np.int64)
    return ImageList(where, kept, labels, identities, [states[name] for name in kept],
                     lambda place: read(kept[place]), passed_over=passed_over, tiff=tiff)


def _is_image(name: str, tiff: bool) -> bool:
    plain = PurePosixPath(name).name
    return not plain.startswith(".") and plain.lower().endswith(image_suffixes(tiff))


# The two historical `.lst` forms, told apart and checked line by line (docs/original.md, section 1.6).
#
# 2018:   aligned(0/1) TAB path TAB label [TAB x1 y1 x2 y2 [TAB 10 numbers: x of five points, then y]]
# im2rec: index TAB label TAB path          (MXNet's own; label and path stand the other way round)


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
    rows = [(number, line) for number, line in iterate_lines(place, "give a list in UTF-8, an image a line")
            if line.strip()]
    if not rows:
        raise InputError(f"{place}: empty; each line names one image")
    if not _is_im2rec(place, rows):
        return [_line_2018(place, number, line) for number, line in rows]
    _check_counted(place, rows)
    return [_im2rec_line(place, number, line) for number, line in rows]


def from_list(path: PathLike, root: Optional[PathLike] = None, renumber: bool = False, tiff: bool = False) -> ImageList:
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
                     lambda number: read_image(start / lines[number].path), tiff=tiff)
    made.unaligned = {number for number, line in enumerate(lines) if not line.aligned}
    made.points = {number: line.points for number, line in enumerate(lines)
                   if line.points is not None and not line.aligned}
    return made


def _is_im2rec(place: Path, rows: Sequence[Tuple[int, str]]) -> bool:
    """Whether the first line is im2rec's: numbers and then a path; the other form has its path second."""
    number, line = rows[0]
    fields = [field.strip() for field in line.split("\t")]
    if len(fields) < 3:
        raise InputError(f"{place}: line {number}: {len(fields)} columns separated by tabs in {shown(line)}; the form "
                         f"is `{_LIST_2018.form}`, or im2rec's `{_LIST_IM2REC.form}`")
    last_is_path = not is_real(fields[-1]) or fields[-1].lower().endswith(image_suffixes(True))
    return last_is_path and all(is_real(value) for value in fields[:-1])


def _check_counted(place: Path, rows: Sequence[Tuple[int, str]]) -> None:
    """im2rec counts its lines; a first column that repeats is the other form's `aligned`, label and path swapped."""
    seen: Dict[str, int] = {}
    for number, line in rows:
        index = line.partition("\t")[0]
        before = seen.setdefault(index, number)
        if before != number:
            raise InputError(f"{place}: line {number} has the index {escaped(index)} of line {before}; if the first "
                             "column is `aligned`, label and path are swapped: the form is `aligned path label`")


def _line_2018(place: Path, number: int, line: str) -> Line:
    fields = _LIST_2018.split(line, f"{place}: line {number}")
    aligned, path, label = fields[:3]
    if is_real(path) and not is_real(label):
        raise InputError(f"{place}: line {number} has label and path swapped against the lines before it; "
                         "use one form throughout")
    if aligned not in ("0", "1"):
        raise InputError(f"{place}: line {number} begins with {shown(aligned)} where aligned is 0 or 1; in im2rec's "
                         "form (index, label, path) label and path stand the other way round")
    numbers = [real_number(value, f"{place}: line {number}: a box or points", what="a number") for value in fields[3:]]
    points = np.array(numbers[4:], dtype=np.float64).reshape(2, 5).T if len(fields) == 17 else None
    return Line(number, listed_path(path, f"{place}: line {number}"), _label(place, number, label), aligned == "1",
                points)


def _im2rec_line(place: Path, number: int, line: str) -> Line:
    _, label, path = _LIST_IM2REC.split(line, f"{place}: line {number}")
    if is_real(path) and not is_real(label):
        raise InputError(f"{place}: line {number} has label and path swapped against the lines before it; "
                         "use one form throughout")
    return Line(number, listed_path(path, f"{place}: line {number}"), _label(place, number, label))


def _label(place: Path, number: int, text: str) -> int:
    """A class, as a whole number or as im2rec writes it (3.000000)."""
    value = float(text) if is_real(text) else -1.0
    if not 0 <= value <= _HIGHEST_LABEL or value != int(value):
        raise InputError(f"{place}: line {number} has label {shown(text)}; a label is a whole number from 0 to "
                         f"{_HIGHEST_LABEL} (are label and path swapped?)")
    return int(value)


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
            status = file_status(image, "name the folder the paths start from with --root")
        except InputError as error:
            raise InputError(f"{place}: line {line.number}: {error}") from None
        states.append((status.st_size, status.st_mtime_ns))
    return states
