"""A record set: train.rec, train.idx and property, in the published layout with identity ranges or without a header.

Facts 1.1 to 1.4. Reading is by `os.pread` on one descriptor: any number of threads may read at once, and nothing of
MXNet is held. Opening reads the index and the identity ranges, never the images.
"""
import os
import zlib
from pathlib import Path
from typing import Optional, Tuple

from arcface_mxnet.datasets.record_ranges import Ranges, find_ranges, first_labels
from arcface_mxnet.datasets.record_writer import RecordWriter
from arcface_mxnet.datasets.recordindex import RecordIndex, framed_length, read_index, rec_and_idx, walk
from arcface_mxnet.datasets.recordio import BrokenRecord, ImageRecord, unframe, unpack_image
from arcface_mxnet.datasets.set_property import SetProperty, read_property
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import PathLike

import numpy as np

__all__ = ["CRC_FILE", "RecordSet", "RecordWriter"]

CRC_FILE = "train.crc"


class RecordSet:
    """One opened record set.

    identities: how many identities are used (after the filter); images: how many images.
    keys: int64 (images,) keys of the images used, identity by identity; labels: int64 (images,) their classes.
    num_classes: width of a classifier for these labels (facts, 1.5: a filter alone leaves labels as they are).
    header: (A, B) of record 0, None for a set without a header; vector labels are read by their element 0.
    """

    def __init__(self, rec: Path, descriptor: int, index: RecordIndex, properties: Optional[SetProperty]) -> None:
        self.path, self.folder, self.index, self.properties = rec, rec.parent, index, properties
        self._descriptor = descriptor
        self._labels: Optional[np.ndarray] = None
        self._renumber: Optional[np.ndarray] = None
        self.crcs = _record_crcs(self.folder / CRC_FILE, len(index)) if rec.name == "train.rec" else None
        self.ranges: Optional[Ranges] = find_ranges(self)
        self.keys = index.keys if self.ranges is None else self.ranges.keys()
        if not len(self.keys):
            raise InputError(f"{rec}: holds no image; build it again")

    @classmethod
    def open(cls, path: PathLike, min_images: int = 0, renumber: bool = False) -> "RecordSet":
        """Open a folder holding train.rec, a .rec file, or its prefix.

        min_images: identities with fewer images are left out; renumber: surviving classes become 0, 1, ... in order.
        Raises InputError naming the file where one is missing, empty, truncated or foreign.
        """
        rec, idx = rec_and_idx(Path(path))
        if not rec.exists():
            raise InputError(f"{rec}: not found; make a set with `python datasets/prepare.py build`, "
                             "or give --data-dir")
        beside = rec.parent / "property"
        properties = read_property(beside) if beside.exists() else None
        descriptor = os.open(rec, os.O_RDONLY)
        try:
            index = _index(rec, idx, descriptor, properties)
        except BaseException:
            os.close(descriptor)
            raise
        opened = cls(rec, descriptor, index, properties)
        if min_images > 1:
            opened._filter(min_images)
        if renumber:
            opened._number_again()
        opened._check_labels()
        return opened

    @property
    def header(self) -> Optional[Tuple[int, int]]:
        """(A, B) as in record 0: first identity-range key and one past the last; None without a header."""
        return None if self.ranges is None else (self.ranges.first_key, self.ranges.first_key + len(self.ranges))

    @property
    def images(self) -> int:
        """How many images are used."""
        return int(self.keys.size)

    @property
    def labels(self) -> np.ndarray:
        """Classes of `keys`, int64 (images,); without a header read from the records, once."""
        if self._labels is None:
            if self.ranges is not None:
                stored = np.repeat(self.ranges.labels, self.ranges.counts)
            else:
                stored = first_labels(self, self.index.positions(self.keys))
            self._labels = stored if self._renumber is None else self._renumber[stored]
        return self._labels

    @property
    def identities(self) -> int:
        """How many identities are used."""
        return len(self.ranges) if self.ranges is not None else int(np.unique(self.labels).size)

    @property
    def num_classes(self) -> int:
        """Classes a classifier for these labels needs: by `property`, else the labels; renumbered, the identities."""
        if self._renumber is not None:
            return self.identities
        if self.properties is not None:
            return self.properties.identities
        return int((self.labels if self.ranges is None else self.ranges.labels).max()) + 1

    @property
    def image_size(self) -> Optional[Tuple[int, int]]:
        """(height, width) by the property; None without one."""
        return None if self.properties is None else (self.properties.height, self.properties.width)

    def record(self, key: int) -> ImageRecord:
        """Any record by its key, as stored; raises InputError naming the file and key where it is absent or broken."""
        position = self.index.position(key)
        if position < 0:
            raise InputError(f"{self.path}: has no record {key}; the set is incomplete, copy it again")
        data = self.raw(int(self.index.offsets[position]), int(self.index.lengths[position]))
        if self.crcs is not None and zlib.crc32(data) != self.crcs[position]:
            raise InputError(f"{self.path}: record {key} is not what its checksum says; the file is damaged, "
                             "use another copy")
        try:
            return unpack_image(unframe(data))
        except BrokenRecord as error:
            raise InputError(f"{self.path}: record {key}: {error}; the file is damaged, use another copy") from None

    def raw(self, offset: int, length: int) -> bytes:
        """`length` bytes of the .rec from `offset` (fewer at its end); safe from any thread."""
        return os.pread(self._descriptor, length, offset)

    def read(self, key: int) -> Tuple[int, bytes]:
        """(class, encoded image) of one image; raises InputError naming the file and key where it is no such record."""
        record = self.record(key)
        if not record.encoded:
            raise InputError(f"{self.path}: record {key} holds no image; the index and the .rec do not belong together")
        return self.label_of(key, record), record.encoded

    def label_of(self, key: int, record: ImageRecord) -> int:
        """The class a record carries (element 0 of a vector), renumbered if the set is; InputError out of range."""
        stored = record.labels[0]
        known = self.properties.identities if self.properties is not None else 1 << 24
        if not 0 <= stored < known or stored != int(stored):
            raise InputError(f"{self.path}: record {key} has label {stored:g}, outside 0..{known - 1}; "
                             "correct `property` or build the set again")
        if self._renumber is None:
            return int(stored)
        label = int(self._renumber[int(stored)]) if stored < self._renumber.size else -1
        if label < 0:
            raise InputError(f"{self.path}: record {key} has label {stored:g}, its identity range another one; "
                             "run `python datasets/prepare.py verify` on the set")
        return label

    def check_expected(self, identities: Optional[int] = None, images: Optional[int] = None,
                       size: Optional[Tuple[int, int]] = None) -> None:
        """Raise InputError where the set is not what a preset or catalogue says it is; None is not checked."""
        found = {"identities": self.num_classes, "images": self.images, "size (height, width)": self.image_size or size}
        for name, wanted in (("identities", identities), ("images", images), ("size (height, width)", size)):
            if wanted is not None and found[name] != wanted:
                raise InputError(f"{self.folder}: has {found[name]} {name}, expected {wanted}; "
                                 "another edition of the set? choose the preset that fits, or get the right copy")

    def close(self) -> None:
        """Close the file; reading afterwards is an error."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> "RecordSet":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_descriptor", -1) >= 0:
            self.close()

    def _filter(self, min_images: int) -> None:
        if self.ranges is not None:
            self.ranges = self.ranges.select(self.ranges.counts >= min_images)
            self.keys = self.ranges.keys()
        else:
            kept = np.bincount(self.labels)[self.labels] >= min_images
            self.keys, self._labels = self.keys[kept], self.labels[kept]
        if not self.images:
            raise InputError(f"{self.path}: no identity has {min_images} images; lower the smallest number of images")

    def _number_again(self) -> None:
        stored = np.unique(self.ranges.labels if self.ranges is not None else self.labels)
        table = np.full(int(stored.max()) + 1, -1, dtype=np.int64)
        table[stored] = np.arange(stored.size)
        if self._labels is not None:
            self._labels = table[self._labels]
        self._renumber = table

    def _check_labels(self) -> None:
        if self.ranges is None or self.properties is None:
            return
        wrong = np.flatnonzero((self.ranges.labels < 0) | (self.ranges.labels >= self.properties.identities))
        if wrong.size:
            key = int(self.ranges.starts[wrong[0]])
            raise InputError(f"{self.path}: record {key} has label {self.ranges.labels[wrong[0]]}, but `property` says "
                             f"{self.properties.identities} identities; correct `property` or build the set again")


def _index(rec: Path, idx: Path, descriptor: int, properties: Optional[SetProperty]) -> RecordIndex:
    size = os.fstat(descriptor).st_size
    if not size:
        raise InputError(f"{rec}: empty; copy it again or build it with `python datasets/prepare.py build`")
    if not idx.exists():
        if properties is None or not properties.shuffled:
            raise InputError(f"{idx}: not found beside {rec.name}; copy it there (only a shuffled record, whose "
                             "property says so, has none)")
        return walk(descriptor, size, rec)
    index = read_index(idx, size)
    for position in (int(np.argmin(index.offsets)), int(np.argmax(index.offsets))):
        _check_whole(rec, descriptor, index, position, size)
    return index


def _record_crcs(path: Path, count: int) -> Optional[np.ndarray]:
    """The CRC-32 of each record by ascending key, uint32 (records,), where a manifest was made; else None."""
    if not path.exists():
        return None
    crcs = np.fromfile(path, dtype="<u4")
    if crcs.size != count:
        raise InputError(f"{path}: holds {crcs.size} checksums for {count} records; it belongs to another set, "
                         "remove it")
    return crcs


def _check_whole(rec: Path, descriptor: int, index: RecordIndex, position: int, size: int) -> None:
    offset = int(index.offsets[position])
    try:
        length = framed_length(descriptor, offset, size)
    except BrokenRecord as error:
        raise InputError(f"{rec}: record {index.keys[position]} at byte {offset}: {error}; "
                         "the file is truncated or no .rec, copy it again") from None
    if length != index.lengths[position]:
        raise InputError(f"{rec}: its index leaves out records after key {index.keys[position]} (an interrupted or "
                         "unclosed writer); copy train.idx again or build the set again")
