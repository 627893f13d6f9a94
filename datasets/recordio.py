"""RecordIO as bytes: the frame around a record, and the image record inside it.

A frame is `magic, (part << 29 | length), data, padding to 4`. Where the data itself holds the magic at a multiple of 4
it is cut there into parts (1 first, 2 middle, 3 last; 0 whole) and the magic left out; a reader puts it back.
The image record is `uint32 flag, float32 label, uint64 id, uint64 id2`, then `flag` float32 labels, then the bytes
(docs/original.md, section 1.2). Equality with MXNet's own reader and writer is held by tests, in both directions.
"""
import os
import struct
from array import array
from pathlib import Path
from typing import Iterator, List, NamedTuple, Sequence, Tuple, Union

from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.progress import bar
from arcface_mxnet.runtime.reading import shown
from arcface_mxnet.runtime.text import HIGHEST, is_whole

import numpy as np

MAGIC = 0xCED7230A
FRAME_HEADER = 8
IMAGE_HEADER = 24
MAX_RECORD = (1 << 29) - 1

_MAGIC_BYTES = struct.pack("<I", MAGIC)
_FRAME = struct.Struct("<II")
_IMAGE = struct.Struct("<IfQQ")
_LENGTH_MASK = (1 << 29) - 1


class BrokenRecord(ValueError):
    """The bytes are not a whole record; the message says what is wrong, without a file name."""


class ImageRecord(NamedTuple):
    """One unpacked image record: labels float32 (1 or more), its two ids and the encoded image (maybe empty)."""

    labels: Tuple[float, ...]
    id: int
    id2: int
    encoded: bytes
    vector: bool


def _cuts(data: bytes) -> Iterator[int]:
    """The multiples of 4 at which the data holds the magic."""
    end = len(data) & ~3
    at = data.find(_MAGIC_BYTES, 0, end)
    while at >= 0:
        if at % 4 == 0:
            yield at
            at = data.find(_MAGIC_BYTES, at + 4, end)
        else:
            at = data.find(_MAGIC_BYTES, at + 1, end)


def frame(data: bytes) -> bytes:
    """The bytes of one record as they stand in a .rec file; raises BrokenRecord above 2^29 - 1 bytes."""
    if len(data) > MAX_RECORD:
        raise BrokenRecord(f"a record of {len(data)} bytes is longer than the format holds ({MAX_RECORD})")
    parts: List[bytes] = []
    start = 0
    for cut in _cuts(data):
        kind = 2 if parts else 1
        parts += [_FRAME.pack(MAGIC, kind << 29 | (cut - start)), data[start:cut]]
        start = cut + 4
    kind = 3 if parts else 0
    parts += [_FRAME.pack(MAGIC, kind << 29 | (len(data) - start)), data[start:], b"\0" * (-(len(data) - start) % 4)]
    return b"".join(parts)


def part_length(header: bytes) -> Tuple[int, int]:
    """(part 0..3, length without padding) of an 8-byte frame header; raises BrokenRecord where it is none."""
    if len(header) < FRAME_HEADER:
        raise BrokenRecord("the file ends inside a record")
    magic, packed = _FRAME.unpack_from(header)
    if magic != MAGIC:
        raise BrokenRecord("no record starts here (wrong magic number)")
    return packed >> 29, packed & _LENGTH_MASK


def unframe(framed: bytes) -> bytes:
    """The data of one framed record (trailing bytes are ignored); raises BrokenRecord where it is not whole."""
    return split_frame(framed)[0]


def split_frame(framed: bytes) -> Tuple[bytes, int]:
    """(data, bytes it took with frame and padding) of the record at the start; raises BrokenRecord as `unframe`."""
    kind, length = part_length(framed[:FRAME_HEADER])
    if kind == 0:
        if len(framed) < FRAME_HEADER + length:
            raise BrokenRecord("the file ends inside a record")
        return framed[FRAME_HEADER:FRAME_HEADER + length], FRAME_HEADER + (length + 3 & ~3)
    parts: List[bytes] = []
    at = 0
    while True:
        kind, length = part_length(framed[at:at + FRAME_HEADER])
        if kind != (1 if not parts else kind) or (parts and kind not in (2, 3)):
            raise BrokenRecord("the parts of a record are out of order")
        at += FRAME_HEADER
        if len(framed) < at + length:
            raise BrokenRecord("the file ends inside a record")
        parts.append(framed[at:at + length])
        at += (length + 3) & ~3
        if kind == 3:
            return _MAGIC_BYTES.join(parts), at


def pack_image(label: Union[float, Sequence[float]], key: int, encoded: bytes, id2: int = 0) -> bytes:
    """An image record (not yet framed); a sequence of labels is stored as a vector, a number in the header."""
    if isinstance(label, (int, float, np.integer, np.floating)):
        return _IMAGE.pack(0, label, key, id2) + encoded
    vector = np.asarray(label, dtype="<f4")
    return _IMAGE.pack(vector.size, 0.0, key, id2) + vector.tobytes() + encoded


def unpack_image(data: bytes) -> ImageRecord:
    """The inverse of `pack_image`; raises BrokenRecord where the data is shorter than its header says."""
    if len(data) < IMAGE_HEADER:
        raise BrokenRecord("shorter than the header of an image record")
    flag, label, key, id2 = _IMAGE.unpack_from(data)
    if flag == 0:
        return ImageRecord((label,), key, id2, data[IMAGE_HEADER:], False)
    start = IMAGE_HEADER + 4 * flag
    if len(data) < start:
        raise BrokenRecord(f"shorter than the {flag} labels it announces")
    return ImageRecord(struct.unpack_from(f"<{flag}f", data, IMAGE_HEADER), key, id2, data[start:], True)


# Where each record of a .rec stands: read from its .idx, or found by walking the file when there is none.


_BLOCK = 1 << 24
_MOST_INDEX_LINE = 1 << 10  # bytes
MAKE_INDEX = "make it anew from the records with `python datasets/prepare.py index`"


class RecordIndex:
    """Keys and places of the records of one file, sorted by key.

    `keys` int64 (n,), `offsets` int64 (n,) in bytes, `lengths` int64 (n,) in bytes including frame and padding.
    A dense run of keys (every published set) takes no search to look up.
    """

    def __init__(self, keys: np.ndarray, offsets: np.ndarray, file_size: int, name: Path) -> None:
        """Sort and check; raises InputError naming `name` on duplicate keys or places outside the file."""
        if keys.size > 1 and keys[-1] < keys[0]:  # the header, key 0, is written last
            keys, offsets = np.roll(keys, 1), np.roll(offsets, 1)
        if not np.all(keys[1:] > keys[:-1]):
            order = np.argsort(keys, kind="stable")
            keys, offsets = keys[order], offsets[order]
            twice = np.flatnonzero(keys[1:] == keys[:-1])
            if twice.size:
                raise InputError(f"{name}: key {keys[twice[0]]} stands there twice; use another copy of the set")
        outside = np.flatnonzero((offsets < 0) | (offsets > file_size - FRAME_HEADER) | (offsets % 4 != 0))
        if outside.size:
            raise InputError(f"{name}: record {keys[outside[0]]} would stand outside its .rec of {file_size} bytes: "
                             f"the .rec is truncated, or the index another's; {MAKE_INDEX}, or copy both again")
        self.keys = keys
        self.offsets = offsets
        self.lengths = _spans(offsets, file_size)
        self._dense = bool(keys.size) and int(keys[-1] - keys[0]) == keys.size - 1

    def __len__(self) -> int:
        return int(self.keys.size)

    def positions(self, keys: np.ndarray) -> np.ndarray:
        """Positions of many keys, int64, -1 where a key is not there."""
        keys = np.asarray(keys, dtype=np.int64)
        if not len(self):
            return np.full(keys.shape, -1, dtype=np.int64)
        if self._dense:
            found = keys - self.keys[0]
            return np.where((found >= 0) & (found < len(self)), found, -1)
        found = np.minimum(np.searchsorted(self.keys, keys), len(self) - 1)
        return np.where(self.keys[found] == keys, found, -1)

    def position(self, key: int) -> int:
        """Position of one key, -1 if it is not there."""
        if self._dense:
            found = key - int(self.keys[0])
            return found if 0 <= found < len(self) else -1
        return int(self.positions(np.asarray([key]))[0])


def _spans(offsets: np.ndarray, file_size: int) -> np.ndarray:
    """Bytes from each record to the next one in the file (to its end for the last)."""
    ends = np.empty_like(offsets)
    if not offsets.size:
        return ends
    if np.all(offsets[1:] > offsets[:-1]):
        ends[:-1], ends[-1] = offsets[1:], file_size
    else:
        order = np.argsort(offsets, kind="stable")
        ends[order[:-1]], ends[order[-1]] = offsets[order[1:]], file_size
    return ends - offsets


def _numbers(text: bytes, name: Path, first_line: int) -> np.ndarray:
    """`key<TAB>offset` lines as int64 (lines, 2); raises InputError naming the file and line."""
    lines = text.count(b"\n") + (not text.endswith(b"\n"))
    if text.count(b"\t") == lines and not text.translate(None, b"0123456789\t\r\n "):
        values = np.fromstring(text, dtype=np.int64, sep=" ")
        if values.size == 2 * lines and values.max() < HIGHEST:  # a larger number becomes the highest
            return values.reshape(lines, 2)
    for number, line in enumerate(text.split(b"\n"), first_line):
        words = [word.decode("latin-1").strip() for word in line.split(b"\t")]
        if len(words) != 2 or not all(is_whole(word) for word in words) or int(words[1]) >= HIGHEST:
            raise InputError(f"{name}: line {number}: {shown(line)} is not `key<TAB>offset`; this is no index of a "
                             f".rec, {MAKE_INDEX}")
    raise InputError(f"{name}: not an index of a .rec, {MAKE_INDEX}")


def read_index(path: Path, file_size: int) -> RecordIndex:
    """Read a .idx in blocks; raises InputError where it is empty or no index."""
    with open(path, "rb") as stream:
        lines = sum(block.count(b"\n") for block in iter(lambda: stream.read(_BLOCK), b"")) + 1
    keys, offsets = np.empty(lines, dtype=np.int64), np.empty(lines, dtype=np.int64)
    done = 0
    with open(path, "rb") as stream:
        rest = b""
        for block in iter(lambda: stream.read(_BLOCK), b""):
            whole, newline, rest = (rest + block).rpartition(b"\n")
            if len(rest) > _MOST_INDEX_LINE:
                raise InputError(f"{path}: a line of more than {_MOST_INDEX_LINE} bytes; this is no index of a .rec, "
                                 f"{MAKE_INDEX}")
            if newline:
                done = _fill(keys, offsets, done, _numbers(whole, path, done + 1))
        if rest.strip():
            done = _fill(keys, offsets, done, _numbers(rest, path, done + 1))
    if not done:
        raise InputError(f"{path}: empty; {MAKE_INDEX}")
    return RecordIndex(keys[:done], offsets[:done], file_size, path)


def _fill(keys: np.ndarray, offsets: np.ndarray, done: int, pairs: np.ndarray) -> int:
    keys[done:done + len(pairs)], offsets[done:done + len(pairs)] = pairs.T
    return done + len(pairs)


def walk(descriptor: int, file_size: int, name: Path) -> RecordIndex:
    """Find the records of a file without an index by hopping from frame to frame; keys are the places 0, 1, ...

    Raises InputError naming the file and byte where a frame is broken.
    """
    offsets = array("q")
    try:
        offsets.extend(at for at, _ in frames(descriptor, file_size, name))
    except BrokenRecord as error:
        raise InputError(f"{name}: {error}; the file is damaged or no record file, use another copy") from None
    return RecordIndex(np.arange(len(offsets), dtype=np.int64), np.array(offsets, np.int64), file_size, name)


def frames(descriptor: int, file_size: int, name: Path) -> Iterator[Tuple[int, int]]:
    """Offset and length in bytes of each record of a file, in order, with a bar; BrokenRecord says where it stops."""
    at = whole = 0
    progress = bar(file_size, f"indexing {name.name}", "bytes")
    try:
        while at < file_size:
            length = framed_length(descriptor, at, file_size)
            yield at, length
            at, whole = at + length, whole + 1
            progress.update(length)
    except BrokenRecord as error:
        raise BrokenRecord(f"at byte {at}, after {whole} whole records: {error}") from None
    finally:
        progress.close()


def framed_length(descriptor: int, offset: int, file_size: int) -> int:
    """Bytes one record takes in the file, all parts and padding; raises BrokenRecord where it is not whole."""
    at = offset
    while True:
        kind, length = part_length(os.pread(descriptor, FRAME_HEADER, at))
        at += FRAME_HEADER + ((length + 3) & ~3)
        if at > file_size:
            raise BrokenRecord("the file ends inside a record")
        if kind in (0, 3):
            return at - offset


def missing_set(rec: Path) -> InputError:
    """The error for a record set that is not there; it names the sets of another base name that the folder holds."""
    others = sorted(path.name for path in rec.parent.glob("*.rec")) if rec.parent.is_dir() else []
    if others:
        return InputError(f"{rec}: not found, but the folder holds {', '.join(others[:5])}; name the file itself where "
                          f"a set is wanted ({rec.parent / others[0]}), or rename it and its .idx")
    return InputError(f"{rec}: not found; make a set with `python datasets/prepare.py build`, or name its folder")


def rec_and_idx(path: Path) -> Tuple[Path, Path]:
    """The .rec and .idx a path stands for: a folder (train.rec inside), a .rec, or a prefix without suffix."""
    if path.is_dir():
        path = path / "train.rec"
    elif path.suffix != ".rec":
        path = path.with_name(path.name + ".rec")
    return path, path.with_suffix(".idx")
