"""Where images come from: a folder of identities, a zip or tar of such folders, or a list file.

Every source becomes one `ImageList`, grouped by identity. Archives are read in place, never unpacked; a member that
leads outside, or is a link, refuses the whole archive.
"""
import errno
import hashlib
import os
import stat
import tarfile
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import PathLike

import numpy as np

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".pgm", ".ppm", ".tif", ".tiff", ".webp")


@dataclass
class ImageList:
    """Images of identities, grouped by identity, in order of class.

    names: what each image is called in its source; labels: int64 (n,), never falling; identities: the name of each
    class, in order; states: what each image's bytes are known by (size and time), for telling whether a source is still
    the same; read(i): the encoded bytes of image i, safe from any thread; points: float64 (5, 2) of images still to be
    aligned; unaligned: the numbers of these; passed_over: files that are no images.
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


def open_source(path: PathLike) -> ImageList:
    """A folder, .zip or .tar of identities as an ImageList; raises InputError naming what is wrong with it."""
    place = Path(path)
    if place.is_dir():
        return from_folder(place)
    if not place.exists():
        raise InputError(f"{place}: not found; give a folder of identities, a .zip or .tar of one, or a .lst file")
    if zipfile.is_zipfile(place):
        return from_zip(place)
    if place.suffix in (".tar", ".tgz") or ".tar." in place.name:
        return from_tar(place)
    raise InputError(f"{place}: neither a folder nor a whole .zip, .tar or .lst file; get another copy, or "
                     "unpack it and name the folder")


def from_folder(root: Path) -> ImageList:
    """`root/identity/.../image`; hidden files are passed over, links to files are followed."""
    files: List[str] = []
    states: Dict[str, Tuple[int, int]] = {}
    for folder, below, names in os.walk(root):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in names:
            if not name.startswith("."):
                inside = os.path.relpath(os.path.join(folder, name), root)
                files.append(inside)
                states[inside] = _state(os.path.join(folder, name))
    return _grouped(str(root), files, states, lambda name: (root / name).read_bytes())


def _state(path: str) -> Tuple[int, int]:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise InputError(f"{path}: is a link to nowhere; remove it or restore what it points at") from None
    return status.st_size, status.st_mtime_ns


def from_zip(path: Path) -> ImageList:
    """A .zip of identity folders; raises InputError naming a member that leads outside or is a link."""
    archive = zipfile.ZipFile(path)
    states: Dict[str, Tuple[int, int]] = {}
    for member in archive.infolist():
        _must_stay_inside(path, member.filename)
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _no_plain_file(path, member.filename)
        if member.flag_bits & 1:
            raise InputError(f"{path}: {member.filename} is encrypted; unpack it and name the folder")
        if not member.is_dir():
            _must_be_new(path, member.filename, states)
            states[member.filename] = (member.file_size, member.CRC)

    def read(name: str) -> bytes:
        try:
            return archive.read(name)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError):
            raise OSError(errno.EIO, "damaged in the archive, or packed in a way that cannot be read") from None

    return _grouped(str(path), list(states), states, read)


def from_tar(path: Path) -> ImageList:
    """An uncompressed .tar of identity folders; raises InputError as `from_zip`, and for a compressed one."""
    try:
        with tarfile.open(path, "r:") as archive:
            members = archive.getmembers()
    except tarfile.TarError:
        raise InputError(f"{path}: no uncompressed tar, and only that can be read at random; unpack it and name "
                         "the folder") from None
    places: Dict[str, Tuple[int, int]] = {}
    for member in members:
        _must_stay_inside(path, member.name)
        if not (member.isreg() or member.isdir()):
            raise _no_plain_file(path, member.name)
        if member.isreg():
            _must_be_new(path, member.name, places)
            places[member.name] = (member.offset_data, member.size)
    changed = path.stat().st_mtime_ns

    def read(name: str) -> bytes:
        with open(path, "rb") as stream:
            stream.seek(places[name][0])
            return stream.read(places[name][1])

    return _grouped(str(path), list(places), {name: (size, changed) for name, (_, size) in places.items()}, read)


def _no_plain_file(path: Path, name: str) -> InputError:
    return InputError(f"{path}: {name} is a link or device, which an archive of images has no need of; "
                      "unpack it yourself after a look, and name the folder")


def _must_be_new(path: Path, name: str, seen: Dict[str, Tuple[int, int]]) -> None:
    if name in seen:
        raise InputError(f"{path}: {name} is in it twice; pack each image once, or unpack it and name the folder")


def _must_stay_inside(path: Path, name: str) -> None:
    member = PurePosixPath(name.replace("\\", "/"))
    if member.is_absolute() or ".." in member.parts or ":" in name[:3]:
        raise InputError(f"{path}: {name} leads outside the archive; do not trust it, get another copy")


def _grouped(where: str, files: Sequence[str], states: Dict[str, Tuple[int, int]],
             read: Callable[[str], bytes]) -> ImageList:
    """Identities are the first folder level below what all images have in common, in order of name."""
    kept = sorted((name for name in files if _is_image(name)), key=lambda name: PurePosixPath(name).parts)
    passed_over = sorted(name for name in files if not _is_image(name) and not PurePosixPath(name).name.startswith("."))
    if not kept:
        raise InputError(f"{where}: holds no image ({', '.join(SUFFIXES)}); it should hold a folder for each identity")
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
                     lambda place: read(kept[place]), passed_over=passed_over)


def _is_image(name: str) -> bool:
    plain = PurePosixPath(name).name
    return not plain.startswith(".") and plain.lower().endswith(SUFFIXES)


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
