"""Say what a record set, a .bin pack or a folder of identities is.

Layout, identities, images, images of an identity, sizes, formats, colours the right way round, SHA-256, manifest, and
which published edition it is. With --out DIR also report.json, images_per_identity.png and contact_sheet.jpg.
"""
import argparse
import hashlib
import json
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, FrozenSet, List, NamedTuple, Optional, Sequence, Tuple

from arcface_mxnet.datasets import manifest
from arcface_mxnet.datasets.catalog import TEST_SETS, TRAINING_SETS
from arcface_mxnet.datasets.image_sources import open_source
from arcface_mxnet.datasets.images import NoImage, decode_bgr, encode_jpeg, mime, suffix
from arcface_mxnet.datasets.pairs import PairPack, read_pack
from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.runtime import pages
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import PathLike, atomic_open, sha256, write_json
from arcface_mxnet.runtime.locks import claimed
from arcface_mxnet.runtime.text import read_json

import cv2
import numpy as np

EXAMPLE = ("  python datasets/prepare.py inspect data/faces_emore --out emore_report\n"
           "  python datasets/prepare.py inspect data/faces_emore/cfp_fp.bin")
# The two editions of cfp_fp.bin (docs/original.md, section 1.7), in MB; which unit was meant is not said there.
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
    if place.suffix == ".rec" or any(place.glob("*.rec")):
        return _record_set(place, checksums)
    return _images(place)


def write_report(description: Description, out: PathLike) -> None:
    """report.json, images_per_identity.png and contact_sheet.jpg into a folder."""
    folder = Path(out)
    with claimed(folder):
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
            try:
                encoded = read(number)
                pictures[-1].append(decode_bgr(encoded))
            except (NoImage, OSError) as error:
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


# What a set looks like: a contact sheet, a histogram, and whether the colours are the right way round.


TILE = 112


class Colours(NamedTuple):
    """Shares of the pictures looked at: grey ones, and among the coloured ones those redder than blue in the middle."""

    grey: float
    redder: float

    @property
    def verdict(self) -> str:
        """In words: skin of any tone reflects more red than blue light, so swapped channels show."""
        if self.grey > 0.99:
            return "grey"
        if self.redder < 0.5:
            return f"SWAPPED? (BGR for RGB: only {self.redder:.0%} of the pictures are redder than blue in the middle)"
        return f"right way round ({self.redder:.0%} of the coloured pictures are redder than blue in the middle)"


def colours(pictures: Sequence[np.ndarray]) -> Colours:
    """Look at the middle quarter of BGR uint8 (h, w, 3) pictures."""
    means = np.array([_middle(picture).reshape(-1, 3).mean(axis=0) for picture in pictures])
    grey = np.ptp(means, axis=1) < 0.5
    coloured = means[~grey]
    redder = float((coloured[:, 2] > coloured[:, 0]).mean()) if len(coloured) else 1.0
    return Colours(float(grey.mean()), redder)


def _middle(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    return picture[height // 4:height - height // 4, width // 4:width - width // 4]


def write_contact_sheet(path: Path, rows: Sequence[Sequence[np.ndarray]]) -> None:
    """BGR pictures as a JPEG: a row for each identity, all tiles 112x112, missing ones black."""
    widest = max(len(row) for row in rows)
    blank = np.zeros((TILE, TILE, 3), dtype=np.uint8)
    lines: List[np.ndarray] = []
    for row in rows:
        tiles = [cv2.resize(picture, (TILE, TILE), interpolation=cv2.INTER_AREA) for picture in row]
        lines.append(np.hstack(tiles + [blank] * (widest - len(tiles))))
    with atomic_open(path) as stream:
        stream.write(encode_jpeg(np.vstack(lines), 90))


def write_histogram(path: Path, counts: np.ndarray) -> None:
    """Images per identity (int (identities,)) as a PNG, both axes logarithmic where the counts spread."""
    from arcface_mxnet.runtime import pictures  # Matplotlib loads only where something is drawn

    figure, (axes,) = pictures.canvas(size=(7, 4))
    spread = counts.max() > 20 * max(1, counts.min())
    bins = np.unique(np.geomspace(counts.min(), counts.max() + 1, 40).astype(int)) if spread else \
        np.arange(counts.min(), counts.max() + 2) - 0.5
    axes.hist(counts, bins=bins.tolist(), color="#3b6ea5")
    if spread:
        axes.set_xscale("log")
        axes.set_yscale("log")
    axes.set_xlabel("images of an identity")
    axes.set_ylabel("identities")
    axes.set_title(f"{counts.size:,} identities, {counts.sum():,} images, median {np.median(counts):g}")
    figure.tight_layout()
    pictures.save(figure, path.with_suffix(""), ("png",))


# A page a person looks at to decide about doubtful images and identities, and the decisions read back from it.
#
# The page holds its images itself and needs no server. "Save decisions" gives a file, which `clean --decisions` reads:
# {"keep": [image keys], "drop": [image keys], "same": [[class, class]], "different": [[class, class]],
# "undecided": [[class, class]]}. For a pair nobody decided on `clean` does what it would do without a review.


@dataclass(frozen=True)
class Doubt:
    """An image in question: its record `key`, what is said about it, and whether it will be dropped unless kept."""

    key: int
    text: str
    drop: bool


@dataclass(frozen=True)
class Question:
    """One section: a heading, `doubts`, rows of (text, keys) to compare with, or a pair of classes to decide on."""

    title: str
    doubts: Sequence[Doubt] = ()
    typical: Sequence[Tuple[str, Sequence[int]]] = ()
    pair: Tuple[int, ...] = ()
    joined: bool = False


@dataclass(frozen=True)
class Decisions:
    """What a person decided: record keys to keep or drop, pairs of classes that are one person or two."""

    keep: FrozenSet[int] = frozenset()
    drop: FrozenSet[int] = frozenset()
    same: FrozenSet[Tuple[int, int]] = field(default_factory=frozenset)
    different: FrozenSet[Tuple[int, int]] = field(default_factory=frozenset)


def write_page(path: PathLike, title: str, intro: str, questions: Sequence[Question],
               read: Callable[[int], bytes]) -> None:
    """Write the page; `read(key)` gives an image's encoded bytes. Texts are escaped, the file appears when whole.

    Decisions stay in the browser under the page's own identity (its title and what it asks), so that a closed tab
    loses none and another page takes none over.
    """
    asked = repr([title, [(one.title, [doubt.key for doubt in one.doubts], one.pair) for one in questions]])
    pages.write(path, "review.html", title=f"Review: {title}", intro=intro,
                questions=(_shown(question, read) for question in questions),
                identity=hashlib.sha256(asked.encode("utf-8", "surrogatepass")).hexdigest())


def _shown(question: Question, read: Callable[[int], bytes]) -> Dict[str, Any]:
    """What the template shows of a question; pictures are read when it is their turn."""
    return {"title": question.title, "joined": question.joined, "pair": ",".join(map(str, question.pair)),
            "doubts": [{"key": doubt.key, "text": doubt.text, "drop": doubt.drop,
                        "picture": _picture(doubt.key, read, doubt.text)} for doubt in question.doubts],
            "typical": [(text, [_picture(key, read, text) for key in keys]) for text, keys in question.typical]}


def _picture(key: int, read: Callable[[int], bytes], about: str) -> Dict[str, Any]:
    data = read(key)
    try:
        return {"key": key, "url": pages.data_url(data, mime(data)), "alt": f"image {key}: {about}"}
    except NoImage as error:
        return {"key": key, "url": "", "alt": f"image {key} {error}"}


def read_decisions(path: PathLike) -> Decisions:
    """Read what the page saved (or a file of the same form); raises InputError naming the file and what is wrong."""
    given = read_json(path)
    if not isinstance(given, dict) or set(given) - {"keep", "drop", "same", "different", "undecided"}:
        raise InputError(f"{path}: not the decisions of a review page; save them with the button on the page")
    keep, drop = _keys(path, given, "keep"), _keys(path, given, "drop")
    same, different, open_ = (_pairs(path, given, name) for name in ("same", "different", "undecided"))
    for kind, both in (("image", keep & drop), ("pair", same & different | (same | different) & open_)):
        if both:
            raise InputError(f"{path}: {kind} {json.dumps(min(both))} is decided both ways; delete one of the two")
    return Decisions(keep, drop, same, different)


def _keys(path: PathLike, given: Any, name: str) -> FrozenSet[int]:
    values = given.get(name, [])
    if not isinstance(values, list) or not all(type(value) is int and value >= 0 for value in values):
        raise InputError(f"{path}: '{name}' should be a list of image keys; save the decisions again")
    return frozenset(values)


def _pairs(path: PathLike, given: Any, name: str) -> FrozenSet[Tuple[int, int]]:
    values = given.get(name, [])
    good = isinstance(values, list) and all(
        isinstance(value, list) and len(value) == 2 and all(type(one) is int and one >= 0 for one in value)
        for value in values)
    if not good:
        raise InputError(f"{path}: '{name}' should be a list of pairs of classes; save the decisions again")
    return frozenset((min(pair), max(pair)) for pair in values)
