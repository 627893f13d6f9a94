"""Verify a record set or a pack: read and decode everything, on all cores.

Checked: index against file, record by record; header and identity ranges; classes; every image whole, decodable and of
the size `property` says; the manifest's checksums; near-duplicate pictures within and across identities; pictures that
also are in a verification pack (--packs). Memory stays small whatever the size of the set.

Exit status: 0 sound; 1 damaged or inconsistent; 3 sound, but one picture is two identities, or is also in a given pack;
2 where there is nothing to verify.
"""
import argparse
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

from arcface_mxnet.datasets import manifest
from arcface_mxnet.datasets.images import NoImage, decode_bgr, is_whole
from arcface_mxnet.datasets.near_duplicates import hashes, near_pairs, thumbnail
from arcface_mxnet.datasets.pairs import PairPack, read_pack
from arcface_mxnet.datasets.record_checks import Checked, Finding, check_records
from arcface_mxnet.datasets.recordindex import rec_and_idx
from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.runtime.environment import available_cores
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import PathLike, write_json

import numpy as np

EXAMPLE = ("  python datasets/prepare.py verify data/mine --packs data/lfw.bin data/cfp_fp.bin\n"
           "  python datasets/prepare.py verify data/lfw.bin")
SOUND, DAMAGED, OVERLAPS = 0, 1, 3
_SHOWN = 10


@dataclass
class Verdict:
    """What `verify` found.

    images, identities: how many were checked; findings: what is wrong; within, across: near-duplicate pairs (key, key,
    bits) of one identity and of two; overlap: (key, pack, number of the image in it, bits); manifest: its short hash.
    """

    path: str
    images: int = 0
    identities: int = 0
    findings: List[Finding] = field(default_factory=list)
    within: List[Tuple[int, int, int]] = field(default_factory=list)
    across: List[Tuple[int, int, int]] = field(default_factory=list)
    overlap: List[Tuple[int, str, int, int]] = field(default_factory=list)
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
        raise InputError(f"{rec}: not found; name the folder of a record set, or a .bin pack")
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
    small, places, seen = [], [], set()
    for number, encoded in enumerate(pack.images):
        if encoded in seen:
            continue
        seen.add(encoded)
        try:
            small.append(thumbnail(decode_bgr(encoded)))
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
            if not is_whole(encoded):
                raise NoImage("is cut off before its end")
            if size not in sizes and sizes:
                raise NoImage(f"is {size[0]}x{size[1]}, unlike the first")
            sizes.setdefault(size, number)
        except NoImage as error:
            verdict.findings.append(Finding("image", f"image {number}", str(error)))
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
    lines.append({SOUND: "sound", DAMAGED: "DAMAGED or inconsistent",
                  OVERLAPS: "sound, but see the pictures found twice"}[verdict.status])
    return lines


def _some(title: str, items: List[str]) -> List[str]:
    more = [f"  and {len(items) - _SHOWN} more (--report lists all)"] if len(items) > _SHOWN else []
    return [f"{title}: {len(items)}"] + [f"  {item}" for item in items[:_SHOWN]] + more if items else []
