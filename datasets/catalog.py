"""The published training and test sets: names, counts, files, terms and status; and what of them is on this machine.

Without names every set is described. --verify hashes the files whose hashes are known, which reads them whole.
"""
import argparse
import hashlib
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, List, Optional, Tuple

from arcface_mxnet.datasets.published_sets import (
    TEST_SETS,
    TRAINING_FILES,
    TRAINING_SETS,
    PublishedSet,
    find_set,
    test_set,
    training_set,
)
from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import PathLike
from arcface_mxnet.runtime.progress import bar

__all__ = ["PublishedSet", "TEST_SETS", "TRAINING_SETS", "find_set", "look", "test_set", "training_set"]

EXAMPLE = ("  python datasets/prepare.py catalog\n"
           "  python datasets/prepare.py catalog emore glint360k --root /data --verify")
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the verb."""
    parser.add_argument("names", nargs="*", help="sets to describe (default: all)")
    parser.add_argument("--root", default=ROOT, help=f"folder the sets' folders are in (default: {ROOT})")
    parser.add_argument("--verify", action="store_true", help="hash the files whose hashes are known")


def run(args: argparse.Namespace) -> Optional[int]:
    """Describe the sets; status 1 when a file that was verified is of another edition."""
    entries = [find_set(name) for name in args.names] or [*TRAINING_SETS.values(), *TEST_SETS.values()]
    different = False
    for entry in entries:
        here = look(entry, args.root, args.verify)
        different = different or "another edition" in here.checked.values()
        sys.stdout.write("\n".join(_paragraph(entry, here)) + "\n\n")
    return 1 if different else 0
