"""Remove training identities that are also test identities: those whose centre is within a cosine of a test centre.

The paper's "overlap removed"; for FaceScrub the authors' threshold is 0.4. Both sides' embeddings are of one model.
"""
import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional, Sequence, Tuple

from arcface_mxnet.datasets.identity_angles import dominant_centre, load_embeddings, nearest, unit_rows
from arcface_mxnet.datasets.identity_names import read_names
from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.datasets.selected_set import positions_by_class, write_selected
from arcface_mxnet.datasets.whole_folder import must_be_free
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import PathLike
from arcface_mxnet.runtime.progress import progress

import numpy as np

EXAMPLE = ("  python datasets/prepare.py exclude data/mine data/no_overlap --embeddings mine.npy "
           "--test facescrub.npy --test-ids facescrub_ids.txt")
COSINE = 0.4
LIST_FILE = "excluded.tsv"


@dataclass(frozen=True)
class Overlap:
    """A training class, the test identity nearest to it and the cosine of their centres."""

    label: int
    test: str
    cosine: float


def test_centres(embeddings: PathLike, ids: Optional[PathLike] = None) -> Tuple[List[str], np.ndarray]:
    """Names and unit centres (t, d) of test identities; without an id file every row is an identity of its own.

    ids: text, one identity a line for each row. Raises InputError when the file does not fit the rows.
    """
    rows = load_embeddings(embeddings)
    unit = unit_rows(rows, embeddings)
    if ids is None:
        return [str(number) for number in range(len(unit))], unit
    try:
        names = Path(ids).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{ids}: cannot be read as text ({error}); give one identity a line") from None
    if len(names) != len(unit):
        raise InputError(f"{ids}: {len(names)} lines for {len(unit)} rows of {embeddings}; give one identity a row")
    order = sorted(set(names))
    number = {name: place for place, name in enumerate(order)}
    which = np.array([number[name] for name in names])
    return order, np.stack([dominant_centre(unit[which == place]) for place in range(len(order))])


def find_overlap(records: RecordSet, embeddings: PathLike, tests: Sequence[Tuple[List[str], np.ndarray]],
                 cosine: float = COSINE) -> List[Overlap]:
    """Training classes whose centre is at least so close to any test centre; each with the nearest.

    embeddings: .npy (images, d) of the set, in the order of its keys; tests: (names, unit centres) of each test set.
    Raises InputError when dimensions differ.
    """
    rows = load_embeddings(embeddings, records.images)
    names = [name for found, _ in tests for name in found]
    if any(centres.shape[1] != rows.shape[1] for _, centres in tests):
        raise InputError(f"{embeddings}: {rows.shape[1]} values a row, the test embeddings have others; "
                         "extract both with one model")
    groups = positions_by_class(records)
    own = np.stack([dominant_centre(unit_rows(rows[places], embeddings))
                    for places in progress(groups.values(), len(groups), "centres", "identities")])
    best, close = nearest(own, np.concatenate([centres for _, centres in tests]))
    return [Overlap(label, names[int(best[place])], float(close[place]))
            for place, label in enumerate(groups) if close[place] >= cosine]


def exclude(source: PathLike, out: PathLike, embeddings: PathLike, tests: Sequence[Tuple[List[str], np.ndarray]],
            cosine: float = COSINE) -> List[Overlap]:
    """Write the set without the overlapping identities to `out`, with excluded.tsv; returns what was removed."""
    with RecordSet.open(source) as records:
        removed = find_overlap(records, embeddings, tests, cosine)
        gone = {overlap.label for overlap in removed}
        groups = [(label, places.tolist()) for label, places in positions_by_class(records).items()
                  if label not in gone]
        names = read_names(records.folder)
        lines = [f"{one.label}\t{names.get(one.label, '')}\t{one.test}\t{one.cosine:.4f}" for one in removed]
        write_selected(records, groups, out, f"without {len(gone)} identities within cosine {cosine:g} of test ones",
                       {LIST_FILE: "\n".join(["class\tname\ttest identity\tcosine", *lines, ""])})
    return removed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the verb."""
    parser.add_argument("source", metavar="SET", help="training set; it is only read")
    parser.add_argument("out", metavar="OUT", help="folder of the set without the overlap; must not exist yet")
    parser.add_argument("--embeddings", required=True, metavar="NPY", help="embeddings of the set, one row an image")
    parser.add_argument("--test", required=True, nargs="+", metavar="NPY", help="embeddings of the test sets")
    parser.add_argument("--test-ids", nargs="+", metavar="TXT",
                        help="identity of each of their rows, one a line (default: every row its own)")
    parser.add_argument("--cosine", type=float, default=COSINE, help="remove from this cosine up (0.4)")


def run(args: argparse.Namespace) -> Optional[int]:
    """Write the set and say what was removed."""
    must_be_free(args.out)
    if args.test_ids and len(args.test_ids) != len(args.test):
        raise InputError(f"--test-ids: {len(args.test_ids)} files for {len(args.test)} test sets; give one for each")
    tests = [test_centres(path, ids) for path, ids in zip(args.test, args.test_ids or [None] * len(args.test))]
    removed = exclude(args.source, args.out, args.embeddings, tests, args.cosine)
    sys.stdout.write(f"{args.out}: {len(removed)} identities removed, listed in {Path(args.out) / LIST_FILE}\n")
    return 0
