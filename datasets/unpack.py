"""Unpack a record set to folders: OUT/PERSON/NUMBER.jpg, the bytes exactly those of the records.

PERSON is the name in identities.tsv where the set has one that can name a folder, else the class as six digits. Nothing
is decoded or compressed again, so the colours are right and `build` gives the set back.
"""
import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import Dict, Optional

from arcface_mxnet.datasets.images import suffix
from arcface_mxnet.datasets.records import RecordSet, read_names
from arcface_mxnet.datasets.whole_folder import must_be_free, whole_folder
from arcface_mxnet.runtime.files import PathLike
from arcface_mxnet.runtime.progress import progress

EXAMPLE = "  python datasets/prepare.py unpack data/mine photos_again"


def unpack(source: PathLike, out: PathLike) -> int:
    """Write every image of a set into a folder for its identity; returns how many.

    Raises InputError where the source is unusable or something stands at `out`; `out` appears when it is whole.
    """
    with RecordSet.open(source) as records, whole_folder(out) as folder:
        people = folder_names(read_names(records.folder))
        written: Dict[int, int] = {}
        for key in progress(records.keys.tolist(), records.images, "unpacking"):
            label, encoded = records.read(key)
            number = written[label] = written.get(label, 0) + 1
            person = folder / people.get(label, f"{label:06d}")
            if number == 1:
                person.mkdir(parents=True, exist_ok=True)
            (person / f"{number:06d}{suffix(encoded)}").write_bytes(encoded)
    return sum(written.values())


def folder_names(names: Dict[int, str]) -> Dict[int, str]:
    """{class: folder name} of the identities whose name can be a folder's, no two alike in any case."""
    alike = Counter(name.lower() for name in names.values())
    return {label: name for label, name in names.items() if alike[name.lower()] == 1 and _can_name_a_folder(name)}


def _can_name_a_folder(name: str) -> bool:
    return bool(name) and not name.startswith(".") and not name.isdigit() and not set(name) & set("/\\:\0") \
        and len(name.encode("utf-8", "surrogateescape")) < 200


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    parser.add_argument("source", metavar="SET", help="folder or .rec of the set")
    parser.add_argument("out", metavar="OUT", help="folder for the images; must not exist yet")


def run(args: argparse.Namespace) -> Optional[int]:
    """The verb."""
    must_be_free(Path(args.out))
    sys.stdout.write(f"{args.out}: {unpack(args.source, args.out)} images\n")
    return 0
