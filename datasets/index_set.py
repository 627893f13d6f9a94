"""Make train.idx anew from the records, and `property` where it is missing.

Records can be read front to back without an index, so that a lost or damaged one is no loss. Keys are the ids that the
records carry where no two are the same; else they count the records from 0 (as MXNet's own tool does), or from 1 with
key 0 for a header at the end. An index that stood there is kept as train.idx.before. A `property` is written only where
there is none: the classes from the labels, the size from the pictures, which must agree.
"""
import argparse
import os
import struct
import sys
from array import array
from pathlib import Path
from typing import Dict, NamedTuple, Optional, Tuple

from arcface_mxnet.datasets.image_headers import NoImage, read_header
from arcface_mxnet.datasets.record_writer import write_property
from arcface_mxnet.datasets.recordio import (
    BrokenRecord,
    frames,
    missing_set,
    rec_and_idx,
    unframe,
    unpack_image,
)
from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import PathLike, atomic_open
from arcface_mxnet.runtime.locks import claimed
from arcface_mxnet.runtime.reading import open_file
from arcface_mxnet.runtime.text import HIGHEST

import numpy as np

EXAMPLE = "  python datasets/prepare.py index data/mine\n  python datasets/prepare.py index data/other/val.rec"
KEPT = ".before"
_HEAD = struct.Struct("<IIIfQQ")  # frame and header of an image record
_PICTURES_LOOKED_AT = 4096


class Found(NamedTuple):
    """Where the records of a file start (int64, n), their keys (int64, n), and which hold a picture (bool, n)."""

    offsets: np.ndarray
    keys: np.ndarray
    pictures: np.ndarray


def make_index(path: PathLike) -> Tuple[int, bool]:
    """Write the .idx of a record set, and its `property` where there is none; returns (records, if it was written).

    Raises InputError naming the file and byte where a record is not whole, and where the pictures are of several sizes.
    """
    rec, idx = rec_and_idx(Path(path))
    if not rec.exists():
        raise missing_set(rec)
    with claimed(idx), open_file(rec, "name a .rec, or a folder that holds train.rec") as stream:
        size = stream.seek(0, 2)
        found = find_records(stream.fileno(), size, rec)
        beside = rec.parent / "property"
        stated = None if beside.exists() else _image_size(stream.fileno(), size, rec, found)
    if idx.exists():
        os.replace(idx, idx.with_name(idx.name + KEPT))
    with atomic_open(idx, "w") as written:
        written.writelines(f"{key}\t{offset}\n" for key, offset in zip(found.keys.tolist(), found.offsets.tolist()))
    if stated is not None:
        with RecordSet.open(rec) as records:
            write_property(beside, records.num_classes, stated)
    return len(found.keys), stated is not None


def find_records(descriptor: int, size: int, name: Path) -> Found:
    """Hop from record to record; raises InputError naming the file and the byte where one is not whole."""
    offsets, ids, empty, two = array("q"), array("Q"), bytearray(), bytearray()
    try:
        for at, length in frames(descriptor, size, name):
            head = os.pread(descriptor, _HEAD.size, at)
            if len(head) < _HEAD.size:
                raise BrokenRecord(f"at byte {at}, after {len(offsets)} whole records: shorter than the header of an "
                                   "image record")
            _, _, flag, _, key, _ = _HEAD.unpack(head)
            offsets.append(at)
            ids.append(key)
            empty.append(length == _HEAD.size + 4 * flag)
            two.append(flag == 2)
    except BrokenRecord as error:
        raise InputError(f"{name}: {error}; the file is cut off or damaged, and no index mends that: use another "
                         "copy") from None
    if not offsets:
        raise InputError(f"{name}: empty; copy it again")
    keys = _keys(np.array(ids, np.uint64), bool(empty[-1] and two[-1]))
    return Found(np.array(offsets, np.int64), keys, np.frombuffer(empty, np.uint8) == 0)


def _keys(ids: np.ndarray, header_last: bool) -> np.ndarray:
    if np.unique(ids).size == ids.size and int(ids.max()) < HIGHEST:
        return ids.astype(np.int64)
    counted = np.arange(ids.size, dtype=np.int64)
    return np.append(counted[1:], 0) if header_last else counted


def _image_size(descriptor: int, size: int, name: Path, found: Found) -> Tuple[int, int]:
    """(height, width) of the pictures, by the headers of up to 4,096 of them spread evenly."""
    where = np.flatnonzero(found.pictures)
    if not where.size:
        raise InputError(f"{name}: holds no picture; use another copy")
    ends = np.append(found.offsets[1:], size)
    sizes: Dict[Tuple[int, int], int] = {}
    for record in where[np.unique(np.linspace(0, where.size - 1, min(where.size, _PICTURES_LOOKED_AT)).astype(int))]:
        start, key = int(found.offsets[record]), int(found.keys[record])
        try:
            header = read_header(unpack_image(unframe(os.pread(descriptor, int(ends[record]) - start, start))).encoded)
        except (BrokenRecord, NoImage) as error:
            raise InputError(f"{name}: record {key}: {error}; it is no set of pictures, or damaged") from None
        sizes.setdefault((header.height, header.width), key)
        if len(sizes) > 1:
            (first, one), (second, other) = sizes.items()
            raise InputError(f"{name}: record {one} is {first[0]}x{first[1]}, record {other} {second[0]}x{second[1]}; "
                             "a set holds one size, write its `property` yourself")
    return next(iter(sizes))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    parser.add_argument("path", metavar="SET", help="folder that holds train.rec, or a .rec file")


def run(args: argparse.Namespace) -> Optional[int]:
    """Write the index and say what was written."""
    records, stated = make_index(args.path)
    rec, idx = rec_and_idx(Path(args.path))
    kept = f" (what stood there is {idx.name}{KEPT})" if idx.with_name(idx.name + KEPT).exists() else ""
    sys.stdout.write(f"{idx}: {records} records{kept}\n")
    if stated:
        sys.stdout.write(f"{rec.parent / 'property'}: {(rec.parent / 'property').read_text(encoding='utf-8')}")
    return 0
