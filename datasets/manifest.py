"""The manifest beside a set: what made it, what it holds, and checksums of its files and of each record.

`manifest.json` names every file with size, SHA-256, source and alignment; `train.crc` holds the CRC-32 of each framed
record (uint32, little-endian, by ascending key), a sidecar because a JSON of millions of numbers helps nobody.

Two guards make sure that no changed byte is used. `check` compares whole files: always for files up to 256 MB, and for
larger ones unless nothing has touched the file since it was last read whole (same inode, size, modification and change
time; the change time cannot be set back). A disk that alters bytes in silence is caught by the second guard: RecordSet
compares each record with its CRC when it is read. `python datasets/prepare.py verify` always reads everything.
"""
import hashlib
import os
import time
import zlib
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from arcface_mxnet.datasets.ages import AGES_FILE
from arcface_mxnet.datasets.catalog import TEST_SETS
from arcface_mxnet.datasets.pairs import read_pack
from arcface_mxnet.datasets.recordio import FRAME_HEADER, IMAGE_HEADER, MAGIC
from arcface_mxnet.datasets.records import CRC_FILE, RecordSet
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import PathLike, atomic_open, sha256, write_json
from arcface_mxnet.runtime.progress import bar
from arcface_mxnet.runtime.text import read_json

import numpy as np

MANIFEST = "manifest.json"
STAMP = ".manifest.checked"
SET_FILES = ("train.rec", "train.idx", "property", CRC_FILE)
ALWAYS_READ = 256 << 20
_SETTLED_SECONDS = 2.0
_TOOL = "arcface-mxnet 0.1.0"


def describe_set(folder: PathLike, source: str, alignment: str = "as given") -> str:
    """Write the record set of a folder into its manifest (made if there is none); returns the new short hash.

    source: where the images came from; alignment: how they were aligned. Reads the .rec once; writes `train.crc`. Lists
    ages.tsv where the set has one.
    """
    place = Path(folder)
    with RecordSet.open(place) as records:
        digest = write_record_crcs(records)
        facts = {"identities": records.identities, "images": records.images, "source": source, "alignment": alignment,
                 "image_size": list(records.image_size or ()), "header": list(records.header or ())}
    names = [name for name in (*SET_FILES, AGES_FILE) if (place / name).exists()]
    files = {name: _entry(place / name, digest if name == "train.rec" else None) for name in names}
    return _write(place, files, "record_set", facts)


def describe_pack(path: PathLike, source: str, alignment: str = "as given") -> str:
    """Write one verification pack into the manifest of its folder; returns the new short hash."""
    place = Path(path)
    pack = read_pack(place)
    facts = {"pairs": len(pack), "same": int(pack.same.sum()), "source": source, "alignment": alignment}
    return _write(place.parent, {place.name: _entry(place)}, f"pack {pack.name}", facts)


def published_pack(path: PathLike, pairs: int) -> bool:
    """Whether a pack is the published set of its name, as far as hash, manifest and number of pairs tell.

    A pack that a manifest beside it describes was made here, of other pictures; a known hash decides where there is
    one, else the number of pairs.
    """
    place = Path(path)
    published = TEST_SETS.get(place.stem)
    if published is None or published.pairs != pairs:
        return False
    if (place.parent / MANIFEST).exists() and f"pack {place.stem}" in read(place.parent).get("parts", {}):
        return False
    known = published.known_hashes.get(place.name, "")
    return not known.startswith("sha256:") or known == f"sha256:{sha256(place)}"


def check(folder: PathLike, names: Optional[Sequence[str]] = None, thorough: bool = False) -> Optional[str]:
    """Compare the files of a folder with its manifest; returns the manifest's short hash, None where there is none.

    names: only these files (those the manifest does not list are passed over); all it lists by default. thorough: read
    every file whole, whatever its stamp says. Raises InputError naming the file that is missing or has other bytes.
    """
    place = Path(folder)
    if not (place / MANIFEST).exists():
        return None
    manifest = read(place)
    stamps = {} if thorough else _stamps(place)
    fresh: Dict[str, Any] = {}
    for name, entry in sorted(manifest["files"].items()):
        if names is None or name in names:
            _check_file(place / name, entry, stamps.get(name), fresh)
    if fresh:
        _keep_stamps(place, {**stamps, **fresh})
    return short_hash(manifest)


def read(folder: PathLike) -> Dict[str, Any]:
    """The manifest of a folder; raises InputError where it is missing or no manifest."""
    path = Path(folder) / MANIFEST
    manifest = read_json(path)
    entries = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(entries, dict) or not all(_is_entry(name, entry) for name, entry in entries.items()):
        raise InputError(f"{path}: no manifest of a set; restore it, or remove it to use the set unchecked")
    return manifest


def _is_entry(name: str, entry: Any) -> bool:
    """Whether an entry names a file of the folder itself, its size and its SHA-256."""
    plain = name != "" and Path(name).name == name and "\0" not in name and len(name.encode("utf-8", "replace")) < 256
    return plain and isinstance(entry, dict) and isinstance(entry.get("bytes"), int) and isinstance(
        entry.get("sha256"), str)


def short_hash(manifest: Dict[str, Any]) -> str:
    """Twelve hexadecimal digits that stand for the names and bytes of all files listed."""
    lines = "".join(f"{entry['sha256']}  {name}\n" for name, entry in sorted(manifest["files"].items()))
    return hashlib.sha256(lines.encode("utf-8")).hexdigest()[:12]


def write_record_crcs(records: RecordSet) -> str:
    """Write `train.crc` for an opened set; returns the SHA-256 of its .rec, from the same one reading."""
    crcs = np.zeros(len(records.index), dtype="<u4")
    digest = hashlib.sha256()
    shown = bar(int(records.index.lengths.sum()), f"checksums of {records.path.name}", "bytes")
    end = 0
    try:
        for block in blocks(records):
            if block.start != end:
                raise InputError(f"{records.path}: its index leaves out bytes {end} to {block.start}; "
                                 "build the set again")
            end += len(block.data)
            digest.update(block.data)
            crcs[block.positions] = [zlib.crc32(framed) for framed in block.records(records)]
            shown.update(len(block.data))
    finally:
        shown.close()
    with atomic_open(records.folder / CRC_FILE) as stream:
        stream.write(crcs.tobytes())
    return digest.hexdigest()


def _entry(path: Path, digest: Optional[str] = None) -> Dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": digest or sha256(path)}


def _write(place: Path, files: Dict[str, Any], part: str, facts: Dict[str, Any]) -> str:
    empty: Dict[str, Any] = {"tool": _TOOL, "files": {}, "parts": {}}
    manifest = read(place) if (place / MANIFEST).exists() else empty
    manifest["files"].update(files)
    manifest["parts"][part] = {**facts, "tool": _TOOL, "files": sorted(files)}
    write_json(place / MANIFEST, manifest)
    return short_hash(manifest)


def _check_file(path: Path, entry: Dict[str, Any], stamp: Any, fresh: Dict[str, Any]) -> None:
    remedy = "get the set again, or remove manifest.json if the change was meant"
    try:
        status = path.stat()
    except FileNotFoundError:
        raise InputError(f"{path}: listed in manifest.json but not there; {remedy}") from None
    if status.st_size != entry["bytes"]:
        raise InputError(f"{path}: has {status.st_size} bytes, its manifest says {entry['bytes']}; {remedy}")
    touched = [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns, entry["sha256"]]
    if status.st_size > ALWAYS_READ and stamp == touched:
        return
    if sha256(path) != entry["sha256"]:
        raise InputError(f"{path}: its bytes are not those of its manifest; {remedy}")
    if status.st_size > ALWAYS_READ and time.time() - status.st_ctime > _SETTLED_SECONDS:
        fresh[path.name] = touched


def _stamps(place: Path) -> Dict[str, Any]:
    try:
        stamps = read_json(place / STAMP)
    except InputError:
        return {}
    return stamps if isinstance(stamps, dict) else {}


def _keep_stamps(place: Path, stamps: Dict[str, Any]) -> None:
    if os.access(place, os.W_OK):  # a read-only set is read whole each time
        write_json(place / STAMP, stamps)


# A record file in its own order, in blocks of whole records: for checksums and checks that read everything once.


BLOCK = 1 << 22
_HEAD = np.dtype([("magic", "<u4"), ("length", "<u4"), ("flag", "<u4"), ("label", "<f4"), ("id", "<u8", 2)])


class Block(NamedTuple):
    """`data` from byte `start` of the file; `positions` (in the set's index) of the records inside, in file order."""

    start: int
    data: bytes
    positions: np.ndarray

    def records(self, opened: RecordSet) -> List[memoryview]:
        """The framed bytes of each record of the block."""
        view = memoryview(self.data)
        begins, lengths = self._places(opened)
        return [view[begin:end] for begin, end in zip(begins.tolist(), (begins + lengths).tolist())]

    def plain_images(self, opened: RecordSet) -> Tuple[np.ndarray, np.ndarray]:
        """Labels float32 (n,) and lengths of the encoded images int64 (n,) of the records, all headers read at once.

        The length is 0 where a record is not plain: cut into parts, with a vector of labels, without an image, or not
        what the index says. The image of a plain one starts at byte FRAME_HEADER + IMAGE_HEADER of its record.
        """
        begins, framed = self._places(opened)
        data = np.frombuffer(self.data, dtype=np.uint8)
        if data.size < _HEAD.itemsize:
            return np.zeros(len(begins), np.float32), np.zeros(len(begins), np.int64)
        inside = begins + _HEAD.itemsize <= data.size
        places = np.where(inside, begins, 0)[:, None] + np.arange(_HEAD.itemsize)
        heads = data[places].view(_HEAD)[:, 0]
        lengths = heads["length"].astype(np.int64)  # the part of a cut record is in the upper bits: far too long
        plain = (heads["magic"] == MAGIC) & (heads["flag"] == 0) & inside & (begins + framed <= data.size)
        plain &= FRAME_HEADER + (lengths + 3 & ~3) == framed
        return heads["label"], np.where(plain, np.maximum(lengths - IMAGE_HEADER, 0), 0)

    def _places(self, opened: RecordSet) -> Tuple[np.ndarray, np.ndarray]:
        """Where in the block each record begins and how long it is by the index."""
        return opened.index.offsets[self.positions] - self.start, opened.index.lengths[self.positions]


def blocks(opened: RecordSet, size: int = BLOCK) -> Iterator[Block]:
    """The whole file from its first indexed record on, about `size` bytes at a time."""
    index = opened.index
    order = np.argsort(index.offsets, kind="stable")
    lengths = index.lengths[order]
    number = (np.cumsum(lengths) - lengths) // size
    for positions in np.split(order, np.flatnonzero(np.diff(number)) + 1):
        start = int(index.offsets[positions[0]])
        yield Block(start, opened.raw(start, int(index.lengths[positions].sum())), positions)
