"""The identity ranges of the published layout: record 0 points at them, each gives the keys of one identity.

Keys stand there as float32, exact to 2^24 = 16,777,216 only (facts, 1.3: Glint360K has 17,091,657 images). Above it the
stored bounds are rounded; here they are found again, exactly, from the labels of the images around them.
"""
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Optional, Tuple

from arcface_mxnet.datasets.recordio import FRAME_HEADER, IMAGE_HEADER, MAGIC
from arcface_mxnet.runtime.errors import InputError

import numpy as np

if TYPE_CHECKING:
    from arcface_mxnet.datasets.records import RecordSet

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
                         "copy train.idx again")
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
