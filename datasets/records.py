"""A record set: train.rec, train.idx and property, in the published layout with identity ranges or without a header.

docs/original.md, sections 1.1 to 1.4. Reading is by `os.pread` on one descriptor: any number of threads may read at
once, and nothing of MXNet is held. Opening reads the index and the identity ranges, never the images.
"""
import os
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Mapping, Optional, Tuple

from arcface_mxnet.datasets.record_writer import RecordWriter, SetProperty, read_property
from arcface_mxnet.datasets.recordio import (
    FRAME_HEADER,
    IMAGE_HEADER,
    MAGIC,
    MAKE_INDEX,
    BrokenRecord,
    ImageRecord,
    RecordIndex,
    framed_length,
    missing_set,
    read_index,
    rec_and_idx,
    unframe,
    unpack_image,
    walk,
)
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import PathLike, atomic_open
from arcface_mxnet.runtime.reading import file_status, shown
from arcface_mxnet.runtime.text import is_whole, read_lines, whole_number

import numpy as np

__all__ = ["CRC_FILE", "RecordSet", "RecordWriter"]

CRC_FILE = "train.crc"


class RecordSet:
    """One opened record set.

    identities: how many identities are used (after the filter); images: how many images.
    keys: int64 (images,) keys of the images used, identity by identity; labels: int64 (images,) their classes.
    num_classes: width of a classifier for these labels; a filter alone keeps it (docs/original.md, section 1.5).
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
            raise missing_set(rec)
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
            raise InputError(f"{idx}: not found beside {rec.name}; {MAKE_INDEX} (only a shuffled record, "
                             "whose property says so, has none)")
        return walk(descriptor, size, rec)
    index = read_index(idx, size)
    for position in (int(np.argmin(index.offsets)), int(np.argmax(index.offsets))):
        _check_whole(rec, descriptor, index, position, size)
    return index


def _record_crcs(path: Path, count: int) -> Optional[np.ndarray]:
    """The CRC-32 of each record by ascending key, uint32 (records,), where a manifest was made; else None."""
    if not path.exists():
        return None
    size = file_status(path, "remove it").st_size
    if size != 4 * count:
        raise InputError(f"{path}: holds {size / 4:g} checksums for {count} records; it belongs to another set, "
                         "remove it")
    return np.fromfile(path, dtype="<u4")


def _check_whole(rec: Path, descriptor: int, index: RecordIndex, position: int, size: int) -> None:
    offset = int(index.offsets[position])
    try:
        length = framed_length(descriptor, offset, size)
    except BrokenRecord as error:
        raise InputError(f"{rec}: record {index.keys[position]} at byte {offset}: {error}; "
                         "the file is truncated or no .rec, copy it again") from None
    if length != index.lengths[position]:
        raise InputError(f"{rec}: its index leaves out records after key {index.keys[position]} (an interrupted or "
                         f"unclosed writer); {MAKE_INDEX}")


# The identity ranges of the published layout: record 0 points at them, each gives the keys of one identity.
#
# Keys stand there as float32, exact to 2^24 = 16,777,216 only; Glint360K has more (docs/original.md, section 1.3).
# Above it the stored bounds are rounded; here they are found again, exactly, from the labels of the images around.

EXACT_KEYS = 1 << 24
_READERS = 8
_CHUNK = 4096
_IMAGE = np.dtype([("magic", "<u4"), ("packed", "<u4"), ("flag", "<u4"), ("label", "<f4"), ("id", "<u8"),
                   ("id2", "<u8"), ("first", "<f4")])
_RANGE = np.dtype([("magic", "<u4"), ("packed", "<u4"), ("flag", "<u4"), ("label", "<f4"), ("id", "<u8"),
                   ("id2", "<u8"), ("bounds", "<f4", (2,))])
_EMPTY_RECORD = FRAME_HEADER + IMAGE_HEADER + 8  # a frame, a header and two labels, no image


@dataclass(frozen=True)
class Ranges:
    """Identity k has the image keys starts[k] .. starts[k] + counts[k] - 1 and the class labels[k].

    All int64 (identities,). `first_key` is the key of the first range record (A of record 0).
    """

    first_key: int
    starts: np.ndarray
    counts: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return int(self.starts.size)

    def keys(self) -> np.ndarray:
        """All image keys, identity by identity, int64."""
        before = np.cumsum(self.counts) - self.counts
        return np.repeat(self.starts - before, self.counts) + np.arange(int(self.counts.sum()))

    def select(self, kept: np.ndarray) -> "Ranges":
        """The identities where `kept` is true."""
        return Ranges(self.first_key, self.starts[kept], self.counts[kept], self.labels[kept])


def find_ranges(records: "RecordSet") -> Optional[Ranges]:
    """The identity ranges of a set with a header, None for one without; raises InputError where they make no sense.

    A header is record 0 with two labels and no image: a set without one may well have vector labels and a key 0.
    """
    if records.index.position(0) < 0:
        return None
    header = records.record(0)
    if header.encoded:
        return None
    if not header.vector or len(header.labels) != 2:
        raise InputError(f"{records.path}: record 0 is neither an image nor a header; use another copy of the set")
    first, end = _header_keys(records, *header.labels)
    bounds = _read_bounds(records, np.arange(first, end))
    starts, ends = bounds[:, 0], bounds[:, 1]
    if ends.size and float(ends.max()) > EXACT_KEYS:
        starts, ends = _exact_bounds(records, starts, ends, first)
    _check(records, starts, ends, first)
    full = ends > starts
    starts, ends = starts[full], ends[full]
    labels = first_labels(records, records.index.positions(starts))
    return Ranges(first, starts, ends - starts, labels)


def first_labels(records: "RecordSet", positions: np.ndarray) -> np.ndarray:
    """The class (element 0 of a vector) of the records at these positions, int64, read without their images.

    Raises InputError naming the file and key of a record that is none or whose label is no class.
    """
    raw = _gather(records, records.index.offsets[positions], _IMAGE)
    labels = np.where(raw["flag"] == 0, raw["label"], raw["first"])
    with np.errstate(invalid="ignore"):
        classes = labels.astype(np.int64)
    wrong = np.flatnonzero((raw["magic"] != MAGIC) | (classes != labels) | (classes < 0))
    if wrong.size:
        key = records.index.keys[positions[wrong[0]]]
        raise InputError(f"{records.path}: record {key} carries no class label; index and .rec do not belong together, "
                         "or the set is damaged: copy both again")
    return classes


def _gather(records: "RecordSet", offsets: np.ndarray, layout: np.dtype) -> np.ndarray:
    """The first bytes of many records as a structured array; read by several threads, for disks that answer slowly."""
    size = layout.itemsize

    def read(chunk: np.ndarray) -> bytes:
        return b"".join(records.raw(offset, size).ljust(size, b"\0") for offset in chunk.tolist())

    chunks = [offsets[start:start + _CHUNK] for start in range(0, offsets.size, _CHUNK)]
    with ThreadPoolExecutor(_READERS) as pool:
        return np.frombuffer(b"".join(pool.map(read, chunks)), dtype=layout)


def _header_keys(records: "RecordSet", first: float, end: float) -> Tuple[int, int]:
    """A and B of record 0 as exact keys."""
    last = int(records.index.keys[-1]) + 1
    exact_end = last if np.float32(last) == np.float32(end) else int(end)
    reach = int(np.spacing(np.float32(max(first, 0)))) if first >= EXACT_KEYS else 0
    for key in range(int(first) - reach, int(first) + reach + 1):
        if np.float32(key) == np.float32(first) and _is_range(records, key) and not _is_range(records, key - 1):
            return key, exact_end
    raise InputError(f"{records.path}: its header points at identity ranges {first:.0f} to {end:.0f} that are not "
                     "there; the set is incomplete or its index belongs to another one, copy both again")


def _is_range(records: "RecordSet", key: int) -> bool:
    position = records.index.position(key)
    return key != 0 and position >= 0 and int(records.index.lengths[position]) == _EMPTY_RECORD


def _read_bounds(records: "RecordSet", keys: np.ndarray) -> np.ndarray:
    """The stored [start, end) of the range records, int64 (identities, 2)."""
    positions = records.index.positions(keys)
    missing = np.flatnonzero(positions < 0)
    if missing.size:
        raise InputError(f"{records.path}: the identity range {keys[missing[0]]} is not in the index; "
                         f"{MAKE_INDEX}")
    raw = _gather(records, records.index.offsets[positions], _RANGE)
    wrong = np.flatnonzero((raw["magic"] != MAGIC) | (raw["flag"] != 2) |
                           (records.index.lengths[positions] != _EMPTY_RECORD))
    if wrong.size:
        raise InputError(f"{records.path}: record {keys[wrong[0]]} should be an identity range and is none; "
                         "copy the set again")
    return raw["bounds"].astype(np.int64)


def _exact_bounds(records: "RecordSet", starts: np.ndarray, ends: np.ndarray,
                  first: int) -> Tuple[np.ndarray, np.ndarray]:
    """Ranges that reach above 2^24 found again from the labels of the images there; the others as stored.

    In a set with ranges the images of an identity stand together, so each run of equal labels is one identity.
    """
    touched = np.flatnonzero(ends > EXACT_KEYS)
    begin = int(starts[touched[0]])
    if begin > EXACT_KEYS:
        begin = int(ends[touched[0] - 1]) if touched[0] else int(records.index.keys[records.index.keys > 0][0])
    keys = np.arange(begin, first)
    positions = records.index.positions(keys)
    if not np.array_equal(touched, np.arange(touched[0], starts.size)) or np.any(positions < 0):
        raise InputError(f"{records.path}: identity ranges above key {EXACT_KEYS} are not in order; "
                         "build the set again")
    labels = first_labels(records, positions)
    edges = np.concatenate([[0], np.flatnonzero(np.diff(labels)) + 1, [labels.size]])
    exact_starts, exact_ends = begin + edges[:-1], begin + edges[1:]
    same = exact_starts.size == touched.size and \
        np.array_equal(exact_starts.astype(np.float32), starts[touched].astype(np.float32)) and \
        np.array_equal(exact_ends.astype(np.float32), ends[touched].astype(np.float32))
    if not same:
        raise InputError(f"{records.path}: identity ranges above key {EXACT_KEYS} do not fit the labels of the images; "
                         "build the set again")
    starts, ends = starts.copy(), ends.copy()
    starts[touched], ends[touched] = exact_starts, exact_ends
    return starts, ends


def _check(records: "RecordSet", starts: np.ndarray, ends: np.ndarray, first: int) -> None:
    """Ranges must lie among the images and share none."""
    wrong = np.flatnonzero((starts < 1) | (ends < starts) | (ends > first))
    if not wrong.size:
        order = np.argsort(starts, kind="stable")
        wrong = order[1:][starts[order][1:] < ends[order][:-1]]
    if not wrong.size:
        wrong = np.flatnonzero((ends > starts) & ((records.index.positions(starts) < 0)
                                                  | (records.index.positions(ends - 1) < 0)))
    if wrong.size:
        which = int(wrong[0])
        raise InputError(f"{records.path}: identity range {first + which} is [{starts[which]}, {ends[which]}), which "
                         "no images answer to; use another copy or build the set again")


# identities.tsv beside a set: `class TAB name` for each identity, so that a class can be told from a number.


NAMES_FILE = "identities.tsv"


def read_names(folder: PathLike) -> Dict[int, str]:
    """{class: name} of a set; empty where it has no such file. Raises InputError naming a line that is none."""
    path = Path(folder) / NAMES_FILE
    if not path.exists():
        return {}
    names: Dict[int, str] = {}
    lines = read_lines(path, "correct or remove the file", errors="surrogateescape")  # folders may be called anything
    for number, line in enumerate(lines, 1):
        text, tab, name = line.partition("\t")
        if not line:
            continue
        if not tab or not is_whole(text):
            raise InputError(f"{path}: line {number}: {shown(line)} is not `class<TAB>name`; correct or delete it")
        label = whole_number(text, f"{path}: line {number}", what="a class")
        if label in names:
            raise InputError(f"{path}: line {number}: class {label} comes twice; correct or remove the file")
        names[label] = name
    return names


def write_names(folder: PathLike, names: Mapping[int, str]) -> None:
    """Write identities.tsv, atomically."""
    with atomic_open(Path(folder) / NAMES_FILE) as stream:
        for label in sorted(names):
            stream.write(f"{label}\t{names[label]}\n".encode("utf-8", "surrogateescape"))
