"""Where images come from: a record set, a pair pack, a list of paths or a folder, all read by position."""
import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import List, Optional, Sequence

from arcface_mxnet.datasets.image_headers import image_suffixes
from arcface_mxnet.datasets.images import read_image
from arcface_mxnet.datasets.pairs import read_pack
from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import PathLike
from arcface_mxnet.runtime.reading import shown
from arcface_mxnet.runtime.text import HIGHEST, iterate_lines, listed_path, whole_number

import numpy as np


class Source(ABC):
    """Encoded images in a fixed order. `names`: unique, one a row; `labels`: int64 or None."""

    origin: str
    names: Sequence[str]
    labels: Optional[np.ndarray] = None

    def __len__(self) -> int:
        return len(self.names)

    @abstractmethod
    def read(self, row: int) -> bytes:
        """The encoded image of a row; raises OSError or InputError where it cannot be read."""


class RecordSource(Source):
    """The images of a .rec in the order of its keys, named by key, labelled by class."""

    def __init__(self, path: PathLike) -> None:
        self._records = RecordSet.open(path)
        self.origin = str(path)
        self.names = [str(key) for key in self._records.keys]
        self.labels = self._records.labels

    def read(self, row: int) -> bytes:
        """The record's image."""
        return self._records.read(int(self._records.keys[row]))[1]


class PackSource(Source):
    """The images of a .bin pack in pair order, named PAIR_0 and PAIR_1 from pair 0."""

    def __init__(self, path: PathLike) -> None:
        self._images = read_pack(path).images
        self.origin = str(path)
        self.names = [f"{row // 2}_{row % 2}" for row in range(len(self._images))]

    def read(self, row: int) -> bytes:
        """The pack's image."""
        return self._images[row]


class FileSource(Source):
    """Image files named by their path under `root`; labels, where given, are one integer a file."""

    def __init__(self, origin: str, root: Path, names: List[str], labels: Optional[np.ndarray] = None) -> None:
        if not names:
            raise InputError(f"{origin}: no image in it; expected {', '.join(image_suffixes())}")
        for name in names:  # they become the lines of a file in UTF-8, one an image
            if "\n" in name or "\r" in name or name != name.encode("utf-8", "replace").decode("utf-8"):
                raise InputError(f"{origin}: the name {shown(name)} holds a line end, or is not UTF-8; rename the file")
        self.origin, self._root, self.names, self.labels = origin, root, names, labels

    def read(self, row: int) -> bytes:
        """The file's bytes."""
        return read_image(self._root / self.names[row])


def folder_source(folder: PathLike) -> FileSource:
    """Every image under a folder, sorted by path; the class is the number of its sorted parent folder."""
    root = Path(folder)
    names = sorted(os.path.relpath(os.path.join(place, name), root) for place, _, files in os.walk(root)
                   for name in files if name.lower().endswith(image_suffixes()))
    _, labels = np.unique([os.path.dirname(name) for name in names], return_inverse=True)
    return FileSource(str(folder), root, names, labels.astype(np.int64))


def list_source(path: PathLike, root: Optional[PathLike] = None) -> FileSource:
    """A text file of one path a line, or "PATH<TAB>CLASS"; '#' starts a comment.

    Paths are under `root`, or else under the file's own folder. Raises InputError naming file and line where a class is
    no integer, or only some lines have one.
    """
    place = Path(path)
    names: List[str] = []
    labels: List[int] = []
    for number, line in iterate_lines(place, "give a list of paths, one a line"):
        if not line.strip() or line.startswith("#"):
            continue
        where = f"{place}: line {number}"
        name, tab, label = line.rstrip().partition("\t")
        names.append(listed_path(name, where))
        if tab:
            labels.append(whole_number(label, where, -HIGHEST, HIGHEST, "a class (the form is PATH<TAB>CLASS)"))
        if labels and len(labels) != len(names):
            raise InputError(f"{place}: line {number}: a class on some lines only; give every path one, or none")
    return FileSource(str(path), Path(root) if root else place.parent, names,
                      np.array(labels, np.int64) if labels else None)


def open_source(path: PathLike, root: Optional[PathLike] = None) -> Source:
    """The source of a *.rec or a folder with train.rec, a *.bin, a folder of images, one image, or a list of paths."""
    place = Path(path)
    if not place.exists():
        raise InputError(f"{place}: not found; give a .rec, a .bin, a folder of images, an image or a list of paths")
    if place.suffix == ".rec" or any(place.glob("*.rec")):
        return RecordSource(place)
    if place.suffix == ".bin":
        return PackSource(place)
    if place.is_dir():
        return folder_source(place)
    if place.suffix.lower() in image_suffixes():
        return FileSource(str(path), place.parent, [place.name])
    return list_source(place, root)

