"""The published training and test sets: names, counts, files, terms and status; and what of them is on this machine.

Without names every set is described. --verify hashes the files whose hashes are known, which reads them whole.
"""
import argparse
import hashlib
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Tuple

from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.runtime.arguments import Parser
from arcface_mxnet.runtime.errors import InputError, unknown
from arcface_mxnet.runtime.files import PathLike
from arcface_mxnet.runtime.progress import bar

# The published training and test sets as data: what each is called and holds, and under which terms it may be used.
#
# Counts are those of the packed editions (headers of the record sets, or the authors' tables); a count that is only
# known rounded says so in its note. Where a set comes from is described, not linked: several were withdrawn.


TRAINING_FILES = ("train.rec", "train.idx", "property")
ALIGNED = (112, 112)

RESEARCH_ONLY = "non-commercial research only; photographs of real people gathered without asking them"
MS_CELEB = ("derived from MS-Celeb-1M, which Microsoft withdrew in 2019; no licence covers its redistribution; "
            "photographs of real people gathered without asking them")


@dataclass(frozen=True)
class PublishedSet:
    """One published set of faces.

    `images` and `identities` are None where no source states them; `known_hashes` maps a file name to
    "md5:<hex>" or "sha256:<hex>"; `pairs` is the number of verification pairs of a test pack.
    """

    name: str
    title: str
    folder: str
    identities: Optional[int]
    images: Optional[int]
    files: Tuple[str, ...]
    status: str
    terms: str
    source: str
    image_shape: Tuple[int, int] = ALIGNED
    known_hashes: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    pairs: Optional[int] = None


def _training(name: str, title: str, folder: str, identities: int, images: Optional[int],
              **more: object) -> PublishedSet:
    return PublishedSet(name=name, title=title, folder=folder, identities=identities, images=images,
                        files=TRAINING_FILES, **more)  # type: ignore[arg-type]


TRAINING_SETS: Dict[str, PublishedSet] = {entry.name: entry for entry in (
    _training("webface", "CASIA-WebFace", "faces_webface_112x112", 10572, 490623,
              status="offered by its authors on request", terms=RESEARCH_ONLY,
              source="cvlface configuration; original set: 10,575 identities, 494,414 images",
              note="the Partial-FC configuration counts 10,575 identities"),
    _training("umd", "UMDFaces", "faces_umd", 8277, 367888,
              status="offered by its authors on request", terms=RESEARCH_ONLY, source="original set's own counts"),
    _training("vgg", "VGGFace2 (train)", "faces_vgg_112x112", 8631, None,
              status="no longer offered by its authors", terms=RESEARCH_ONLY,
              source="original train list",
              note="3.09M to 3.31M images by source; the original's README rounds the pack to 9K identities, 3.31M"),
    _training("ms1m", "MS1M-IBUG = MS1MV1", "faces_ms1m_112x112", 85164, 3804846,
              status="original withdrawn", terms=MS_CELEB, source="header record [3804847, 3890011]"),
    _training("ms1mr", "MS1M, variant r (trained the published y1)", "faces_ms1mr_112x112", 85742, 3850178,
              status="original withdrawn", terms=MS_CELEB, source="header record [3850179, 3935921]; y1 log"),
    _training("ms1mrf", "MS1M, variant rf (trained the published r34)", "faces_ms1mrf_112x112", 85164, 3804846,
              status="original withdrawn", terms=MS_CELEB, source="r34 log"),
    _training("emore", "MS1MV2 = MS1M-ArcFace", "faces_emore", 85742, 5822653,
              status="original withdrawn", terms=MS_CELEB, source="header record [5822654, 5908396]"),
    _training("retina", "MS1MV3 = MS1M-RetinaFace", "ms1m-retinaface-t1", 93431, 5179510,
              status="original withdrawn", terms=MS_CELEB, source="repository configurations"),
    _training("deepglint_ms1m", "MS-Celeb-1M-v1c (DeepGlint)", "faces_ms1m_v1c", 86876, 3923399,
              status="original withdrawn", terms=MS_CELEB, source="set's own counts; folder name unverified"),
    _training("asian", "Asian-Celeb (DeepGlint)", "faces_glintasia", 93979, 2830146,
              status="offered by DeepGlint for the Trillion-Pairs challenge", terms=RESEARCH_ONLY,
              source="threads 256 and 291 of the original; also found as faces_asian_112x112"),
    _training("deepglint", "DeepGlint, both parts", "faces_glint", 180855, 6753545,
              status="its MS-Celeb-1M part is withdrawn at the origin", terms=MS_CELEB, source="authors' table"),
    _training("glint360k", "Glint360K", "glint360k", 360232, 17091657,
              status="offered by its authors", terms=RESEARCH_ONLY,
              source="Partial-FC README",
              known_hashes={"train.idx": "md5:5d9cd9f262ec87a5ca2eac5e703f7cdf",
                            "train.rec": "md5:8483be5af6f9906e19f85dee49132f8e"},
              note="more than 2^24 images: identity ranges near its end are rounded in the header records"),
)}

TRAINING_ALIASES: Dict[str, str] = {
    "casia": "webface", "ms1mv1": "ms1m", "ms1mv2": "emore", "ms1m-arcface": "emore", "ms1mv3": "retina",
    "ms1m-retinaface": "retina", "vggface2": "vgg", "umdfaces": "umd", "glintasia": "asian", "glint": "deepglint",
}


def _pack(name: str, title: str, identities: Optional[int], images: int, pairs: int, **more: object) -> PublishedSet:
    filled = dict({"status": "offered by its authors", "terms": RESEARCH_ONLY, "folder": "beside the training set"},
                  **more)  # type: ignore[arg-type]
    return PublishedSet(name=name, title=title, identities=identities, images=images, pairs=pairs,
                        files=(f"{name}.bin",), **filled)  # type: ignore[arg-type]


TEST_SETS: Dict[str, PublishedSet] = {entry.name: entry for entry in (
    _pack("lfw", "Labeled Faces in the Wild", 5749, 13233, 6000, source="paper, Table 1; 12,000 images in the pack"),
    _pack("cfp_ff", "Celebrities in Frontal-Profile, frontal-frontal", 500, 7000, 7000,
          source="paper, Table 1; 14,000 images in the pack"),
    _pack("cfp_fp", "Celebrities in Frontal-Profile, frontal-profile", 500, 7000, 7000,
          source="paper, Table 1; 14,000 images in the pack",
          note="at least two editions exist: about 79.7 MB (beside emore) and 76.5 MB (beside MS1M-RetinaFace); "
               "their figures differ, so say which one was measured"),
    _pack("agedb_30", "AgeDB, pairs 30 years apart", 568, 16488, 6000,
          source="paper, Table 1; 12,000 images in the pack"),
    _pack("calfw", "Cross-Age LFW", 4025, 12174, 6000, source="paper, Table 1 (which lists LFW's 5,749 identities)"),
    _pack("cplfw", "Cross-Pose LFW", 3884, 11652, 6000, source="paper, Table 1 (which lists LFW's 5,749 identities)"),
    _pack("vgg2_fp", "VGGFace2 test, frontal-profile", None, 10000, 5000, source="pack of the original, 5,000 pairs",
          status="VGGFace2 is no longer offered by its authors"),
    PublishedSet("ytf", "YouTube Faces", "ytf", 1595, None, ("splits.txt",), "offered by its authors on request",
                 RESEARCH_ONLY, "paper, Table 1; 621,127 frames", note="3,425 videos; 5,000 pairs in 10 splits",
                 pairs=5000),
    PublishedSet("facescrub", "FaceScrub (MegaFace probes)", "facescrub_images", 530, 106863,
                 ("facescrub_lst",), "list of addresses offered by its authors; many are dead", RESEARCH_ONLY,
                 "CosFace paper; the challenge uses 3,530 images of 80 people as probes"),
    PublishedSet("megaface", "MegaFace distractors", "megaface_images", None, None, ("megaface_lst",),
                 "withdrawn by the university in 2020", RESEARCH_ONLY, "paper, Table 1: 1M images of 690K people"),
    PublishedSet("ijbb", "IJB-B", "IJBB", 1845, 76800, ("meta", "loose_crop"),
                 "was offered by NIST on request; ask if it still is", "NIST licence, requested in writing",
                 "paper, Table 1 (76.8K, rounded)"),
    PublishedSet("ijbc", "IJB-C", "IJBC", 3531, 148800, ("meta", "loose_crop"),
                 "was offered by NIST on request; ask if it still is", "NIST licence, requested in writing",
                 "paper, Table 1 (148.8K, rounded)"),
    PublishedSet("trillionpairs", "Trillion-Pairs test", "trillionpairs", 5749, 1580000, ("testdata_lmk.txt",),
                 "challenge closed", RESEARCH_ONLY, "paper, Table 1 (1.58M, rounded): gallery; ELFW probes"),
    PublishedSet("iqiyi", "iQIYI-VID test", "iqiyi_vid", 4934, None, ("val", "test"), "challenge closed",
                 RESEARCH_ONLY, "paper, Table 1: 172,835 test videos"),
)}


def training_set(name: str) -> PublishedSet:
    """The published training set of that name or alias; raises InputError listing the known names."""
    found = TRAINING_SETS.get(TRAINING_ALIASES.get(name, name))
    if found is None:
        raise unknown("training set", name, [*TRAINING_SETS, *TRAINING_ALIASES])
    return found


def test_set(name: str) -> PublishedSet:
    """The published test set of that name; raises InputError listing the known names."""
    if name not in TEST_SETS:
        raise unknown("test set", name, list(TEST_SETS))
    return TEST_SETS[name]


def find_set(name: str) -> PublishedSet:
    """A published set of either kind by name or alias; raises InputError listing the known names."""
    alias = TRAINING_ALIASES.get(name, name)
    found = TRAINING_SETS.get(alias) or TEST_SETS.get(alias)
    if found is None:
        raise unknown("set", name, [*TRAINING_SETS, *TRAINING_ALIASES, *TEST_SETS])
    return found


__all__ = ["PublishedSet", "TEST_SETS", "TRAINING_SETS", "find_set", "look", "test_set", "training_set"]

EXAMPLE = ("  python datasets/prepare.py catalog\n"
           "  python datasets/prepare.py catalog emore glint360k --data /data --verify")
ROOT = "data"  # where the training program looks for a preset's folder


@dataclass(frozen=True)
class Presence:
    """What of a set is on this machine: `folder` looked in, `present` and `missing` files, `checked` hash results.

    `checked` maps a file with a known hash to "verified" or "another edition"; `counts` are those of its record set.
    """

    folder: Path
    present: Tuple[str, ...]
    missing: Tuple[str, ...]
    checked: Dict[str, str] = field(default_factory=dict)
    counts: str = ""


def look(published: PublishedSet, root: PathLike, verify: bool = False) -> Presence:
    """Look for a set under `root`; with `verify` hash the files whose hashes are known (that reads them whole).

    Training sets are looked for in their folder, test packs in the root itself and in every training set's folder.
    """
    base = Path(root)
    places = [base / published.folder]
    if published.name in TEST_SETS and published.files[0].endswith(".bin"):
        places = [base, *(base / entry.folder for entry in TRAINING_SETS.values())]
    folder = next((place for place in places if any((place / name).exists() for name in published.files)), places[0])
    present = tuple(name for name in published.files if (folder / name).exists())
    missing = tuple(name for name in published.files if name not in present)
    checked = {name: _check(folder / name, known) for name, known in published.known_hashes.items()
               if verify and name in present}
    return Presence(folder, present, missing, checked, _counts(published, folder) if not missing else "")


def _check(path: Path, known: str) -> str:
    kind, _, digest = known.partition(":")
    running = hashlib.new(kind)
    shown = bar(path.stat().st_size, f"reading {path.name}", "bytes")
    try:
        with open(path, "rb") as stream:
            for block in iter(lambda: stream.read(1 << 22), b""):
                running.update(block)
                shown.update(len(block))
    finally:
        shown.close()
    return "verified" if running.hexdigest() == digest else "another edition"


def _counts(published: PublishedSet, folder: Path) -> str:
    """Whether the record set found has the published counts; empty for other kinds of set."""
    if published.files != TRAINING_FILES:
        return ""
    try:
        with RecordSet.open(folder) as records:
            here = records.identities, records.images
    except InputError as error:
        return f"cannot be opened: {error}"
    published_counts = published.identities, published.images
    same = all(expected in (None, found) for expected, found in zip(published_counts, here))
    return f"{here[0]:,} identities, {here[1]:,} images: {'as published' if same else 'another edition'}"


def _paragraph(entry: PublishedSet, here: Presence) -> List[str]:
    def number(count: Optional[int]) -> str:
        return "?" if count is None else f"{count:,}"

    size = f"{number(entry.identities)} identities, {number(entry.images)} images"
    lines = [f"{entry.name}: {entry.title}", f"  {size}{f', {entry.pairs:,} pairs' if entry.pairs else ''}",
             f"  source of counts: {entry.source}", f"  status: {entry.status}", f"  terms: {entry.terms}"]
    if entry.note:
        lines.append(f"  note: {entry.note}")
    for name, known in entry.known_hashes.items():
        lines.append(f"  known hash: {name} {known}")
    state = "not here" if not here.present else "here" if not here.missing else f"without {', '.join(here.missing)}"
    lines.append(f"  looked for in {here.folder}: {state}{f' ({here.counts})' if here.counts else ''}")
    lines += [f"  {name}: {result}" for name, result in here.checked.items()]
    return lines


def add_arguments(parser: Parser) -> None:
    """Flags of the verb."""
    parser.add_argument("names", nargs="*", help="sets to describe (default: all)")
    parser.add_argument("--data", default=ROOT, metavar="DIR",
                        help=f"folder the sets' folders are in (default: {ROOT})")
    parser.renamed("--root", to="--data")
    parser.add_argument("--verify", action="store_true", help="hash the files whose hashes are known")


def run(args: argparse.Namespace) -> Optional[int]:
    """Describe the sets; status 1 when a file that was verified is of another edition."""
    entries = [find_set(name) for name in args.names] or [*TRAINING_SETS.values(), *TEST_SETS.values()]
    different = False
    for entry in entries:
        here = look(entry, args.data, args.verify)
        different = different or "another edition" in here.checked.values()
        sys.stdout.write("\n".join(_paragraph(entry, here)) + "\n\n")
    return 1 if different else 0
