"""RecordIO as bytes: the frame around a record, and the image record inside it.

A frame is `magic, (part << 29 | length), data, padding to 4`. Where the data itself holds the magic at a multiple of 4
it is cut there into parts (1 first, 2 middle, 3 last; 0 whole) and the magic left out; a reader puts it back.
The image record is `uint32 flag, float32 label, uint64 id, uint64 id2`, then `flag` float32 labels, then the bytes
(facts, 1.2). Equality with MXNet's own reader and writer is held by tests, in both directions.
"""
import struct
from typing import Iterator, List, NamedTuple, Sequence, Tuple, Union

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
