"""What can be wrong with a record set, found record by record on all cores and in one reading of the file."""
import collections
import hashlib
import zlib
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Deque, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from arcface_mxnet.datasets.images import NoImage, decode_bgr, is_whole
from arcface_mxnet.datasets.near_duplicates import hashes, thumbnail
from arcface_mxnet.datasets.record_blocks import Block, blocks
from arcface_mxnet.datasets.recordio import FRAME_HEADER, IMAGE_HEADER, BrokenRecord, split_frame, unpack_image
from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.progress import bar

import numpy as np


class Finding(NamedTuple):
    """One thing that is wrong: its kind (one word), where (a record key or a file), and what, in words."""

    kind: str
    where: str
    what: str


class Checked(NamedTuple):
    """What one reading of a set gives: findings; SHA-256 of the file; per image its key, class and perceptual hash.

    keys, labels int64 (n,); hashes uint64 (n, 4): of every image that could be decoded.
    """

    findings: List[Finding]
    sha256: str
    keys: np.ndarray
    labels: np.ndarray
    hashes: np.ndarray


class _Part(NamedTuple):
    findings: List[Finding]
    keys: np.ndarray
    labels: np.ndarray
    hashes: np.ndarray


def check_records(records: RecordSet, threads: int) -> Checked:
    """Read, unpack, decode and hash every record of a set; memory is that of a few blocks and 48 bytes an image."""
    expected = _expected_labels(records)
    digest = hashlib.sha256()
    parts: List[_Part] = []
    shown = bar(len(records.index), f"verifying {records.path.name}", "records")
    try:
        for block, part in _checked(records, expected, threads):
            digest.update(block.data)
            parts.append(part)
            shown.update(len(block.positions))
    finally:
        shown.close()
    findings = [finding for part in parts for finding in part.findings]
    keys, labels, found = (np.concatenate([part[column] for part in parts]) for column in (1, 2, 3))
    return Checked(findings + check_counts(records, labels), digest.hexdigest(), keys, labels, found)


def check_counts(records: RecordSet, labels: np.ndarray) -> List[Finding]:
    """What property, classes and number of images say about each other; labels int64: the class of every image."""
    findings: List[Finding] = []
    classes = np.unique(labels)
    told = records.properties
    if told is None:
        findings.append(Finding("property", "property", "is missing; the 2018 code needs it"))
    elif told.identities != classes.size:
        findings.append(Finding("property", "property",
                                f"says {told.identities} identities, {classes.size} have images"))
    if told is not None and told.images is not None and told.images != labels.size:
        findings.append(Finding("property", "property", f"says {told.images} images, there are {labels.size}"))
    if classes.size and classes[-1] != classes.size - 1:
        missing = int(np.flatnonzero(classes != np.arange(classes.size))[0])
        findings.append(Finding("labels", f"class {missing}", "has no image though higher classes do; labels should "
                                                               "count from 0 without a gap"))
    return findings


def _expected_labels(records: RecordSet) -> Optional[np.ndarray]:
    """By position in the index: the class its identity range gives it, -1 outside all ranges, -2 header and ranges."""
    if records.ranges is None:
        return None
    expected = np.full(len(records.index), -1, dtype=np.int64)
    expected[records.index.positions(records.keys)] = records.labels
    expected[records.index.keys >= records.ranges.first_key] = -2
    expected[records.index.position(0)] = -2
    return expected


def _checked(records: RecordSet, expected: Optional[np.ndarray], threads: int) -> Iterator[Tuple[Block, _Part]]:
    """Blocks in file order with what was found in them, checked on threads a bounded number ahead."""
    waiting: Deque[Tuple[Block, Future[_Part]]] = collections.deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="verify")
    try:
        for block in blocks(records, 1 << 20):
            waiting.append((block, pool.submit(_check_block, records, expected, block)))
            if len(waiting) > 4 * threads:
                first, part = waiting.popleft()
                yield first, part.result()
        while waiting:
            first, part = waiting.popleft()
            yield first, part.result()
    finally:
        for _, left in waiting:
            left.cancel()
        pool.shutdown(wait=True)


def _check_block(records: RecordSet, expected: Optional[np.ndarray], block: Block) -> _Part:
    findings: List[Finding] = []
    sound: List[int] = []
    thumbnails: List[np.ndarray] = []
    keys = records.index.keys[block.positions]
    labels = np.full(keys.size, -1, dtype=np.int64) if expected is None else expected[block.positions]
    framed = block.records(records)
    for place, length in enumerate(_lengths_as_expected(records, expected, block, framed)):
        try:
            if length:
                encoded = bytes(framed[place][_IMAGE:_IMAGE + length])
            else:
                labels[place], encoded = _unpacked(records, int(block.positions[place]), bytes(framed[place]), expected)
                if labels[place] < 0:
                    continue
            thumbnails.append(thumbnail(_decoded(records, encoded)))
            sound.append(place)
        except (InputError, BrokenRecord, NoImage) as error:
            findings.append(Finding(_KINDS[type(error)], f"record {keys[place]}", _without_path(records, error)))
    return _Part(findings, keys[sound], labels[sound], hashes(thumbnails))


_KINDS = {InputError: "label", BrokenRecord: "record", NoImage: "image"}
_IMAGE = FRAME_HEADER + IMAGE_HEADER


def _lengths_as_expected(records: RecordSet, expected: Optional[np.ndarray], block: Block,
                         framed: Sequence[memoryview]) -> List[int]:
    """Length of each image whose record has the checksum, form and label it should have; 0: to be looked at by itself.

    What costs time record by record in Python is here done for a block at once.
    """
    if expected is None:
        return [0] * len(framed)
    labels, lengths = block.plain_images(records)
    right = labels == expected[block.positions]
    if records.crcs is not None:
        right &= np.fromiter(map(zlib.crc32, framed), np.uint32, len(framed)) == records.crcs[block.positions]
    return list(np.where(right, lengths, 0).tolist())


def _unpacked(records: RecordSet, position: int, framed: bytes, expected: Optional[np.ndarray]) -> Tuple[int, bytes]:
    """(class, encoded image) of a record, class -1 of a header or range; raises what is wrong with it."""
    if records.crcs is not None and zlib.crc32(framed) != records.crcs[position]:
        raise BrokenRecord("its bytes are not those of its checksum")
    data, taken = split_frame(framed)
    if taken != len(framed):
        raise BrokenRecord(f"is followed by {len(framed) - taken} bytes that the index does not know")
    record = unpack_image(data)
    wanted = None if expected is None else int(expected[position])
    if wanted == -2:
        return -1, b""
    if wanted == -1:
        raise InputError("belongs to no identity range")
    label = records.label_of(int(records.index.keys[position]), record)
    if wanted is not None and label != wanted:
        raise InputError(f"has label {label}, its identity range belongs to class {wanted}")
    return label, record.encoded


def _decoded(records: RecordSet, encoded: bytes) -> np.ndarray:
    """The image, BGR uint8 (h, w, 3); raises NoImage where it is not whole or not of the set's size."""
    if not is_whole(encoded):
        raise NoImage("is cut off before its end")
    image = decode_bgr(encoded)
    if records.image_size is not None and image.shape[:2] != records.image_size:
        raise NoImage(f"is {image.shape[0]}x{image.shape[1]}, `property` says "
                      f"{records.image_size[0]}x{records.image_size[1]}")
    return image


def _without_path(records: RecordSet, error: Exception) -> str:
    return str(error).replace(f"{records.path}: ", "")
