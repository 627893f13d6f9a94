"""Say what a record set, a .bin pack or a folder of identities is.

Layout, identities, images, images of an identity, sizes, formats, colours the right way round, SHA-256, manifest, and
which published edition it is. With --out DIR also report.json, images_per_identity.png and contact_sheet.jpg.
"""
import argparse
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

from arcface_mxnet.datasets import manifest
from arcface_mxnet.datasets.image_sources import open_source
from arcface_mxnet.datasets.images import NoImage, decode_bgr, suffix
from arcface_mxnet.datasets.inspect_pictures import colours, write_contact_sheet, write_histogram
from arcface_mxnet.datasets.pairs import PairPack, read_pack
from arcface_mxnet.datasets.published_sets import TEST_SETS, TRAINING_SETS
from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import PathLike, sha256, write_json

import numpy as np

EXAMPLE = ("  python datasets/prepare.py inspect data/faces_emore --out emore_report\n"
           "  python datasets/prepare.py inspect data/faces_emore/cfp_fp.bin")
# The two editions of cfp_fp.bin known from the threads (facts, 1.7), in MB; which unit was meant is not said there.
PACK_EDITIONS: Dict[str, Tuple[Tuple[str, float], ...]] = {
    "cfp_fp": (("the one beside emore", 79.7), ("the one beside MS1M-RetinaFace", 76.5))}
_SAMPLE = 512
_ROWS, _COLUMNS = 8, 8


@dataclass
class Description:
    """What was found: `facts` in words by name; `counts` images of each identity; `rows` of pictures for the sheet."""

    facts: Dict[str, Any] = field(default_factory=dict)
    counts: Optional[np.ndarray] = None
    rows: List[List[np.ndarray]] = field(default_factory=list)


def inspect(path: PathLike, checksums: bool = True) -> Description:
    """Describe a record set (folder, .rec), a pack (.bin) or a folder or archive of identities.

    checksums: also the SHA-256 of the files, which reads them whole. Raises InputError where it is none of these.
    """
    place = Path(path)
    if place.suffix == ".bin":
        return _pack(place, checksums)
    if place.suffix == ".rec" or (place / "train.rec").exists():
        return _record_set(place, checksums)
    return _images(place)


def write_report(description: Description, out: PathLike) -> None:
    """report.json, images_per_identity.png and contact_sheet.jpg into a folder."""
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "report.json", description.facts)
    if description.counts is not None and description.counts.size:
        write_histogram(folder / "images_per_identity.png", description.counts)
    if description.rows:
        write_contact_sheet(folder / "contact_sheet.jpg", description.rows)


def _record_set(place: Path, checksums: bool) -> Description:
    with RecordSet.open(place) as records:
        found = Description()
        layout = f"header and identity ranges, record 0 = {list(records.header)}" if records.header else "no header"
        if records.properties is not None and records.properties.shuffled:
            layout += ", shuffled"
        vector = records.record(int(records.keys[0])).vector
        found.counts = np.unique(records.labels, return_counts=True)[1]
        found.facts = {"kind": "record set", "layout": layout,
                       "labels": "vector [class, aligned]" if vector else "scalar",
                       "identities": records.identities, "images": records.images, "classes": records.num_classes,
                       "property": "none" if records.properties is None else
                       f"{records.properties.identities},{records.properties.height},{records.properties.width}"}
        order = np.argsort(records.labels, kind="stable")
        _look(found, str(records.path), [records.keys[own].tolist() for own in _sampled(records.labels[order], order)],
              lambda key: records.read(key)[1])
        counts = (records.identities, records.images)
        same = [f"{entry.title} ({name})" for name, entry in TRAINING_SETS.items()
                if (entry.identities, entry.images) == counts]
        found.facts["edition"] = " or ".join(same) if same else "none of the published sets by its counts"
        files = [records.path, records.path.with_suffix(".idx"), records.folder / "property"]
        _files(found, [path for path in files if path.exists()], checksums)
        return found


def _pack(place: Path, checksums: bool) -> Description:
    pack = read_pack(place)
    same = int(pack.same.sum())
    found = Description({"kind": "verification pack", "pairs": len(pack), "genuine": same, "impostor": len(pack) - same,
                         "images": len(pack.images), "different images": len(set(pack.images))})
    step = max(1, len(pack) // 32)
    sides = [[2 * pair, 2 * pair + 1] for pair in range(0, len(pack), step)][:_SAMPLE // 2]
    rows = [[number for pair in sides[at:at + 4] for number in pair] for at in range(0, len(sides), 4)]
    _look(found, place.name, rows, lambda number: pack.images[number])
    found.facts["edition"] = _pack_edition(place, pack)
    _files(found, [place], checksums)
    return found


def _pack_edition(place: Path, pack: PairPack) -> str:
    published = TEST_SETS.get(pack.name)
    if published is None or not published.pairs:
        return "no published pack of that name"
    if published.pairs != len(pack):
        return f"NOT {published.title}: that has {published.pairs} pairs"
    size = place.stat().st_size
    for words, megabytes in PACK_EDITIONS.get(pack.name, ()):
        if min(abs(size / 1e6 - megabytes), abs(size / 2 ** 20 - megabytes)) < 0.06:
            return f"{published.title}, by its size {words}"
    several = "; an edition not known here" if pack.name in PACK_EDITIONS else ""
    return f"{published.title}, by name and number of pairs{several}"


def _images(place: Path) -> Description:
    source = open_source(place)
    found = Description({"kind": "images in folders of identities", "identities": len(source.identities),
                         "images": len(source.names), "other files": len(source.passed_over)})
    found.counts = np.bincount(source.labels)
    everything = np.arange(len(source.names))
    _look(found, source.where, [own.tolist() for own in _sampled(source.labels, everything)], source.read)
    return found


def _sampled(labels: np.ndarray, places: np.ndarray) -> List[np.ndarray]:
    """Places of up to 8 images of 64 identities spread evenly; labels sorted, `places` in the same order."""
    classes, first, counts = np.unique(labels, return_index=True, return_counts=True)
    chosen = np.unique(np.linspace(0, classes.size - 1, min(classes.size, _SAMPLE // _COLUMNS)).astype(int))
    return [places[first[which]:first[which] + min(counts[which], _COLUMNS)] for which in chosen]


def _look(found: Description, where: str, rows: Sequence[Sequence[int]], read: Any) -> None:
    """Decode a sample: sizes, formats, colours, and rows of pictures for the contact sheet."""
    sizes: Counter = Counter()
    formats: Counter = Counter()
    pictures: List[List[np.ndarray]] = []
    for row in rows:
        pictures.append([])
        for number in row:
            encoded = read(number)
            try:
                pictures[-1].append(decode_bgr(encoded))
            except NoImage as error:
                raise InputError(f"{where}: image {number}: {error}; see all of them with `verify`") from None
            sizes["{}x{}".format(*pictures[-1][-1].shape[:2])] += 1
            formats[suffix(encoded)[1:]] += 1
    flat = [picture for row in pictures for picture in row]
    found.rows = pictures[::max(1, len(pictures) // _ROWS)][:_ROWS]
    found.facts.update({"sizes (sample)": dict(sizes.most_common()), "formats (sample)": dict(formats.most_common()),
                        "colours": colours(flat).verdict})
    if found.counts is not None:
        low, middle, high = np.percentile(found.counts, [0, 50, 100])
        found.facts["images of an identity"] = f"{low:g} to {high:g}, median {middle:g}, mean {found.counts.mean():.1f}"


def _files(found: Description, paths: Sequence[Path], checksums: bool) -> None:
    folder = paths[0].parent
    found.facts["bytes"] = {path.name: path.stat().st_size for path in paths}
    if checksums:
        found.facts["sha256"] = {path.name: sha256(path) for path in paths}
    if (folder / manifest.MANIFEST).exists():
        found.facts["manifest"] = manifest.short_hash(manifest.read(folder))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    parser.add_argument("path", metavar="PATH", help="a record set, a .bin pack, or images in folders")
    parser.add_argument("--out", metavar="DIR", help="write report.json, the histogram and the contact sheet here")
    parser.add_argument("--no-checksums", action="store_true", help="do not read whole files for their SHA-256")


def run(args: argparse.Namespace) -> Optional[int]:
    """The verb."""
    described = inspect(args.path, not args.no_checksums)
    if args.out:
        write_report(described, args.out)
    lines: List[str] = [f"{args.path}"]
    for name, value in described.facts.items():
        if isinstance(value, dict):
            lines += [f"  {name}:"] + [f"    {one}: {what}" for one, what in value.items()]
        else:
            lines.append(f"  {name}: {value}")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0
