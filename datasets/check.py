"""Verify a record set or a pack: read and decode everything, on all cores.

Checked: index against file, record by record; header and identity ranges; classes; every image whole, decodable and of
the size `property` says; the manifest's checksums; near-duplicate pictures within and across identities; pictures that
also are in a verification pack (--packs). Memory stays small whatever the size of the set.

Exit status: 0 sound; 1 damaged or inconsistent; 3 sound, but one picture is two identities, or is also in a given pack;
2 where there is nothing to verify.
"""
import argparse
import collections
import hashlib
import sys
import zlib
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Deque, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from arcface_mxnet.datasets import manifest
from arcface_mxnet.datasets.embedding_angles import hashes, near_pairs, thumbnail
from arcface_mxnet.datasets.images import NoImage, decode_bgr
from arcface_mxnet.datasets.manifest import Block, blocks
from arcface_mxnet.datasets.pair_folds import check_pack
from arcface_mxnet.datasets.pairs import PairPack, read_pack
from arcface_mxnet.datasets.recordio import (
    FRAME_HEADER,
    IMAGE_HEADER,
    BrokenRecord,
    missing_set,
    rec_and_idx,
    split_frame,
    unpack_image,
)
from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.runtime.environment import available_cores
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import PathLike, write_json
from arcface_mxnet.runtime.progress import bar

import numpy as np

# What can be wrong with a record set, found record by record on all cores and in one reading of the file.


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
    image = decode_bgr(encoded)
    if records.image_size is not None and image.shape[:2] != records.image_size:
        raise NoImage(f"is {image.shape[0]}x{image.shape[1]}, `property` says "
                      f"{records.image_size[0]}x{records.image_size[1]}")
    return image


def _without_path(records: RecordSet, error: Exception) -> str:
    return str(error).replace(f"{records.path}: ", "")


EXAMPLE = ("  python datasets/prepare.py verify data/mine --packs data/lfw.bin data/cfp_fp.bin\n"
           "  python datasets/prepare.py verify data/lfw.bin")
SOUND, DAMAGED, OVERLAPS = 0, 1, 3
_SHOWN = 10


@dataclass
class Verdict:
    """What `verify` found.

    images, identities: how many were checked; findings: what is wrong; within, across: near-duplicate pairs (key, key,
    bits) of one identity and of two; overlap: (key, pack, number of the image in it, bits); notes: what the accuracy of
    a pack stands on; manifest: its short hash.
    """

    path: str
    images: int = 0
    identities: int = 0
    findings: List[Finding] = field(default_factory=list)
    within: List[Tuple[int, int, int]] = field(default_factory=list)
    across: List[Tuple[int, int, int]] = field(default_factory=list)
    overlap: List[Tuple[int, str, int, int]] = field(default_factory=list)
    notes: List[str] = field(default_factory=list)
    manifest: Optional[str] = None

    @property
    def status(self) -> int:
        """The exit status."""
        return DAMAGED if self.findings else OVERLAPS if self.across or self.overlap else SOUND


def verify(path: PathLike, packs: Sequence[PathLike] = (), threads: Optional[int] = None) -> Verdict:
    """Check a record set (folder, .rec) or a pack (.bin) wholly; raises InputError where there is none to check."""
    place = Path(path)
    if place.suffix == ".bin":
        return _verify_pack(place)
    others = [read_pack(pack) for pack in packs]
    rec, _ = rec_and_idx(place)
    if not rec.exists():
        raise missing_set(rec)
    verdict = Verdict(str(rec))
    try:
        opened = RecordSet.open(rec)
    except InputError as error:
        verdict.findings.append(Finding("open", rec.name, str(error)))
        return verdict
    with opened:
        checked = check_records(opened, threads or available_cores())
    verdict.findings += checked.findings
    verdict.images, verdict.identities = checked.labels.size, int(np.unique(checked.labels).size)
    _compare_manifest(verdict, rec.parent, checked.sha256)
    _find_duplicates(verdict, checked, others)
    return verdict


def _compare_manifest(verdict: Verdict, folder: Path, digest: str) -> None:
    """The .rec by the checksum just made, the other files read here."""
    if not (folder / manifest.MANIFEST).exists():
        return
    try:
        entries = manifest.read(folder)["files"]
        names = sorted(set(entries) - {"train.rec"})
        verdict.manifest = manifest.check(folder, names, thorough=True)
        if "train.rec" in entries and entries["train.rec"]["sha256"] != digest:
            verdict.findings.append(Finding("manifest", "train.rec", "its bytes are not those of its manifest"))
    except InputError as error:
        verdict.findings.append(Finding("manifest", manifest.MANIFEST, str(error)))


def _find_duplicates(verdict: Verdict, checked: Checked, packs: Sequence[PairPack]) -> None:
    """Near pairs within the set, and between the set and the packs."""
    own = checked.keys.size
    found, numbers, names = [checked.hashes], [], []
    for pack in packs:
        of_pack, places = _pack_hashes(verdict, pack)
        found.append(of_pack)
        numbers += places
        names += [pack.name] * len(places)
    pairs = near_pairs(np.concatenate(found))
    for first, second, bits in zip(*(column.tolist() for column in pairs)):
        if second < own:
            same = checked.labels[first] == checked.labels[second]
            pair = (int(checked.keys[first]), int(checked.keys[second]), bits)
            (verdict.within if same else verdict.across).append(pair)
        elif first < own:
            verdict.overlap.append((int(checked.keys[first]), names[second - own], numbers[second - own], bits))


def _pack_hashes(verdict: Verdict, pack: PairPack) -> Tuple[np.ndarray, List[int]]:
    """Hashes of the different images of a pack, and their numbers; findings where one cannot be decoded."""
    small, places = [], []
    for number in pack.distinct()[0]:
        try:
            small.append(thumbnail(decode_bgr(pack.images[number])))
            places.append(number)
        except NoImage as error:
            verdict.findings.append(Finding("image", f"{pack.name} image {number}", str(error)))
    return hashes(small), places


def _verify_pack(path: Path) -> Verdict:
    pack = read_pack(path)
    verdict = Verdict(str(path), images=len(pack.images))
    sizes: Dict[Tuple[int, ...], int] = {}
    for number, encoded in enumerate(pack.images):
        try:
            size = decode_bgr(encoded).shape[:2]
            if size not in sizes and sizes:
                raise NoImage(f"is {size[0]}x{size[1]}, unlike the first")
            sizes.setdefault(size, number)
        except NoImage as error:
            verdict.findings.append(Finding("image", f"image {number}", str(error)))
    try:
        verdict.notes += check_pack(pack, path)
    except InputError as error:  # a whole pack of which the protocol makes no figure, or an image named above
        verdict.notes.append(str(error))
    try:
        verdict.manifest = manifest.check(path.parent, [path.name], thorough=True)
    except InputError as error:
        verdict.findings.append(Finding("manifest", path.name, str(error)))
    return verdict


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    parser.add_argument("path", metavar="PATH", help="folder or .rec of a record set, or a .bin pack")
    parser.add_argument("--packs", metavar="BIN", nargs="+", default=[], help="packs to share no picture with")
    parser.add_argument("--report", metavar="JSON", help="write everything found to this file")
    parser.add_argument("--threads", type=int, help="worker threads (default: one for each core)")


def run(args: argparse.Namespace) -> Optional[int]:
    """The verb."""
    verdict = verify(args.path, args.packs, args.threads)
    if args.report:
        write_json(args.report, {**asdict(verdict), "status": verdict.status})
    sys.stdout.write("\n".join(_lines(verdict)) + "\n")
    return verdict.status


def _lines(verdict: Verdict) -> List[str]:
    lines = [f"{verdict.path}: {verdict.images} images"
             + (f" of {verdict.identities} identities" if verdict.identities else "")
             + (f", manifest {verdict.manifest}" if verdict.manifest else ", no manifest")]
    lines += _some("wrong", [f"{one.kind}: {one.where} {one.what}" for one in verdict.findings])
    lines += _some("near-duplicates across identities", [f"records {a} and {b} ({bits} bits apart)"
                                                         for a, b, bits in verdict.across])
    lines += _some("also in a pack", [f"record {key} is image {number} of {pack} ({bits} bits apart)"
                                      for key, pack, number, bits in verdict.overlap])
    lines += _some("near-duplicates within an identity", [f"records {a} and {b} ({bits} bits apart)"
                                                          for a, b, bits in verdict.within])
    lines += _some("to know", verdict.notes) if verdict.notes else []
    lines.append({SOUND: "sound", DAMAGED: "DAMAGED or inconsistent",
                  OVERLAPS: "sound, but see the pictures found twice"}[verdict.status])
    return lines


def _some(title: str, items: List[str]) -> List[str]:
    more = [f"  and {len(items) - _SHOWN} more (--report lists all)"] if len(items) > _SHOWN else []
    return [f"{title}: {len(items)}"] + [f"  {item}" for item in items[:_SHOWN]] + more if items else []
