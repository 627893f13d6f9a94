"""Clean a record set as the paper did, half by machine and half by eye.

Every image is ranked by its angle to the centre of its identity (or to the dominant one of several sub-centres); images
beyond --degrees are to be dropped, and identities whose centres are close are put to a person. --report writes ranks,
proposals and review.html, a page with the images in question; the decisions saved there are read back by --decisions.
--out writes the cleaned set. The paper drops beyond 75 degrees from the dominant of three sub-centres.
"""
import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

from arcface_mxnet.datasets.embedding_angles import (
    angles_to,
    close_pairs,
    dominant_centre,
    load_embeddings,
    nearest,
    unit_rows,
)
from arcface_mxnet.datasets.inspect_set import Decisions, Doubt, Question, read_decisions, write_page
from arcface_mxnet.datasets.records import RecordSet, read_names
from arcface_mxnet.datasets.subset_merge import Group, positions_by_class, write_selected
from arcface_mxnet.datasets.whole_folder import must_be_free, whole_folder
from arcface_mxnet.runtime.arguments import Parser
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import PathLike, atomic_open
from arcface_mxnet.runtime.progress import progress
from arcface_mxnet.runtime.text import read_lines

import numpy as np

EXAMPLE = ("  python datasets/prepare.py clean data/mine --features mine.npy --report review/\n"
           "  python datasets/prepare.py clean data/mine --features mine.npy --decisions decisions.json "
           "--out data/clean")
MAX_ANGLE = 75.0  # degrees; v4 Table 3, row 7
SAME_COSINE = 0.5
BORDER = 5.0  # degrees: images this near the threshold are put to the person, on either side
_TYPICAL = 4


@dataclass(frozen=True)
class Findings:
    """What the machine found. `angles` (images,) degrees to the dominant centre, in the order of the set's keys;
    `classes` (c,), unit `centres` (c, d); `pairs` (class, class, cosine) of close identities, the closest first.
    """

    angles: np.ndarray
    classes: np.ndarray
    centres: np.ndarray
    pairs: List[Tuple[int, int, float]]


def examine(records: RecordSet, embeddings: PathLike, sub_centres: int = 1, centres: Optional[PathLike] = None,
            same_cosine: float = SAME_COSINE) -> Findings:
    """Rank every image and find close identities.

    embeddings: .npy (images, d) in the order of `records.keys`. sub_centres: how many k-means finds in each identity;
    centres: .npy (classes * k, d) of trained sub-centres instead, k to a class (a checkpoint's fc7_weight). Raises
    InputError when a file does not fit the set.
    """
    rows = load_embeddings(embeddings, records.images)
    given = None
    if centres is not None:
        given = per_class(np.asarray(load_embeddings(centres)), records, rows.shape[1], centres)
    found = rank_images(records, rows, embeddings, sub_centres, given)
    pairs = [(int(found.classes[i]), int(found.classes[j]), cosine)
             for i, j, cosine in close_pairs(found.centres, same_cosine)]
    return replace(found, pairs=pairs)


def per_class(centres: np.ndarray, records: RecordSet, dimensions: int, source: PathLike) -> np.ndarray:
    """Trained sub-centres (classes * k, d) as (classes, k, d); raises InputError naming `source` if they do not fit."""
    if len(centres) % records.num_classes or centres.shape[1] != dimensions:
        raise InputError(f"{source}: shape {centres.shape} is not k x {records.num_classes} classes of "
                         f"{dimensions} values; give the fc7_weight trained on this set")
    return centres.reshape(records.num_classes, -1, dimensions)


def rank_images(records: RecordSet, rows: np.ndarray, source: PathLike, sub_centres: int = 1,
                given: Optional[np.ndarray] = None) -> Findings:
    """Every image's angle to the dominant centre of its identity; `pairs` of the result is empty.

    rows: (images, d) in the order of `records.keys`, from `source` (named in errors); `given`: (classes, k, d)
    trained sub-centres; without them `sub_centres` are found in each identity.
    """
    angles = np.empty(records.images)
    found, groups = [], positions_by_class(records)
    for label, places in progress(groups.items(), len(groups), "ranking", "identities"):
        unit = unit_rows(rows[places], source)
        centre = dominant_centre(unit, sub_centres, None if given is None else given[label])
        angles[places] = angles_to(unit, centre)
        found.append(centre)
    return Findings(angles, np.array(list(groups)), np.stack(found), [])


def select(records: RecordSet, findings: Findings, max_angle: float = MAX_ANGLE,
           decisions: Optional[Decisions] = None, merge_cosine: Optional[float] = None,
           min_images: int = 1) -> List[Group]:
    """Which images stay, as groups for `write_selected`.

    An image stays when its angle is at most `max_angle` degrees, unless a decision says otherwise. Identities are
    joined where a decision says they are one person, or without a decision from `merge_cosine` up; an identity with
    fewer than `min_images` left is dropped. Raises InputError when a decision names a key or class the set has not.
    """
    decided = decisions or Decisions()
    _check_decisions(records, decided)
    keep = findings.angles <= max_angle
    keep |= np.isin(records.keys, list(decided.keep))
    keep &= ~np.isin(records.keys, list(decided.drop))
    joined = set(decided.same)
    if merge_cosine is not None:
        joined |= {(a, b) for a, b, cosine in findings.pairs if cosine >= merge_cosine} - set(decided.different)
    roots = _roots(findings.classes.tolist(), joined)
    groups: Dict[int, List[int]] = {}
    for label, places in positions_by_class(records).items():
        groups.setdefault(roots[label], []).extend(places[keep[places]].tolist())
    return [(label, places) for label, places in sorted(groups.items()) if len(places) >= max(1, min_images)]


def _check_decisions(records: RecordSet, decided: Decisions) -> None:
    keys = set(records.keys.tolist())
    unknown_keys = (decided.keep | decided.drop) - keys
    if unknown_keys:
        raise InputError(f"{records.path}: the decisions name image {min(unknown_keys)}, which the set has not; "
                         "they belong to another set")
    named = {label for pair in decided.same | decided.different for label in pair}
    unknown_classes = named - set(records.labels.tolist())
    if unknown_classes:
        raise InputError(f"{records.path}: the decisions name class {min(unknown_classes)}, which the set has not; "
                         "they belong to another set")


def _roots(classes: List[int], joined: "set[Tuple[int, int]]") -> Dict[int, int]:
    """Class -> smallest class it is joined with, directly or through others."""
    root = {label: label for label in classes}

    def find(label: int) -> int:
        while root[label] != label:
            label = root[label]
        return label

    for first, second in sorted(joined):
        low, high = sorted((find(first), find(second)))
        root[high] = low
    return {label: find(label) for label in classes}


def questions(records: RecordSet, findings: Findings, max_angle: float, most: int,
              merge_cosine: Optional[float] = None) -> List[Question]:
    """What a person should look at: close identities first, then doubtful images, the worst identities first."""
    names, groups = read_names(records.folder), positions_by_class(records)

    def name(label: int) -> str:
        return f"{label} ({names[label]})" if label in names else str(label)

    def typical(label: int) -> Tuple[str, List[int]]:
        places = groups[label][np.argsort(findings.angles[groups[label]], kind="stable")[:_TYPICAL]]
        return f"typical of {name(label)}:", records.keys[places].tolist()

    asked = [Question(f"identities {name(a)} and {name(b)}, cosine {cosine:.3f}", typical=[typical(a), typical(b)],
                      pair=(a, b), joined=merge_cosine is not None and cosine >= merge_cosine)
             for a, b, cosine in findings.pairs[:most]]
    doubtful = np.flatnonzero(findings.angles > max_angle - BORDER)
    worst: Dict[int, List[int]] = {}
    for place in doubtful[np.argsort(-findings.angles[doubtful], kind="stable")][:most].tolist():
        worst.setdefault(int(records.labels[place]), []).append(place)
    for label, places in worst.items():
        doubts = [Doubt(int(records.keys[place]), f"image {records.keys[place]}: {findings.angles[place]:.1f} degrees",
                        bool(findings.angles[place] > max_angle)) for place in places]
        asked.append(Question(f"identity {name(label)}, {len(groups[label])} images", doubts, [typical(label)]))
    return asked


def write_report(records: RecordSet, findings: Findings, folder: PathLike, max_angle: float = MAX_ANGLE,
                 most: int = 500, merge_cosine: Optional[float] = None) -> None:
    """Write ranks.tsv (key, class, angle in degrees, rank in its identity), same.tsv and review.html into `folder`."""
    with whole_folder(folder) as staging:
        with atomic_open(staging / "ranks.tsv", "w") as stream:
            stream.write("key\tclass\tangle\trank\n")
            for label, places in positions_by_class(records).items():
                for rank, place in enumerate(places[np.argsort(findings.angles[places], kind="stable")].tolist()):
                    stream.write(f"{records.keys[place]}\t{label}\t{findings.angles[place]:.3f}\t{rank}\n")
        with atomic_open(staging / "same.tsv", "w") as stream:
            stream.write("class\tclass\tcosine\n")
            stream.writelines(f"{a}\t{b}\t{cosine:.4f}\n" for a, b, cosine in findings.pairs)
        asked = questions(records, findings, max_angle, most, merge_cosine)
        intro = (f"{records.images} images of {records.identities} identities; "
                 f"{int((findings.angles > max_angle).sum())} images are beyond {max_angle:g} degrees, "
                 f"pairs of close identities: {len(findings.pairs)}. Ticked images will be dropped.")
        write_page(staging / "review.html", str(records.folder.name), intro, asked, lambda key: records.read(key)[1])


def add_arguments(parser: Parser) -> None:
    """Flags of the verb."""
    parser.add_argument("source", metavar="SET", help="record set to clean; it is only read")
    parser.add_argument("--features", required=True, metavar="NPY", help="its embeddings, one row an image, in order")
    parser.add_argument("--report", metavar="DIR", help="write ranks, proposals and the review page here")
    parser.add_argument("--out", metavar="SET", help="write the cleaned set here")
    parser.add_argument("--degrees", type=float, default=MAX_ANGLE, help="drop beyond so many degrees (75)")
    parser.renamed("--max-angle", to="--degrees")
    parser.renamed("--embeddings", to="--features")
    parser.add_argument("--sub-centres", type=int, default=1, metavar="K", help="sub-centres in each identity (1)")
    parser.add_argument("--centres", metavar="NPY", help="trained sub-centres instead, k rows to a class")
    parser.add_argument("--same-cosine", type=float, default=SAME_COSINE, help="ask about identities so close (0.5)")
    parser.add_argument("--merge-cosine", type=float, help="join undecided identities from here up (default: none)")
    parser.add_argument("--decisions", metavar="JSON", help="what was decided on the review page")
    parser.add_argument("--min-images", type=int, default=1, help="drop identities with fewer images left (1)")
    parser.add_argument("--most", type=int, default=500, help="at most so many images and pairs on the page (500)")


def run(args: argparse.Namespace) -> Optional[int]:
    """Examine, and write what was requested."""
    if not args.report and not args.out:
        raise InputError("give --report DIR to look first, --out SET to write the cleaned set, or both")
    for folder in filter(None, (args.report, args.out)):
        must_be_free(folder)
    decided = read_decisions(args.decisions) if args.decisions else None
    with RecordSet.open(args.source) as records:
        findings = examine(records, args.features, args.sub_centres, args.centres, args.same_cosine)
        groups = select(records, findings, args.degrees, decided, args.merge_cosine, args.min_images)
        if args.report:
            write_report(records, findings, args.report, args.degrees, args.most, args.merge_cosine)
            sys.stdout.write(f"{Path(args.report) / 'review.html'}: open it in a browser\n")
        left = sum(len(places) for _, places in groups)
        sys.stdout.write(f"{records.images} images of {records.identities} identities -> {left} of {len(groups)}\n")
        if args.out:
            why = f"cleaned at {args.degrees:g} degrees{f', decisions of {args.decisions}' if decided else ''}"
            sys.stdout.write(f"{args.out}: manifest {write_selected(records, groups, args.out, why)}\n")
    return 0


EXCLUDE_EXAMPLE = ("  python datasets/prepare.py exclude data/mine data/no_overlap --features mine.npy "
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
    names = read_lines(ids, "give one identity a line")
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


def add_exclude_arguments(parser: Parser) -> None:
    """Flags of the verb."""
    parser.add_argument("source", metavar="SET", help="training set; it is only read")
    parser.add_argument("out", metavar="OUT", help="folder of the set without the overlap; must not exist yet")
    parser.add_argument("--features", required=True, metavar="NPY", help="embeddings of the set, one row an image")
    parser.add_argument("--test-features", required=True, nargs="+", metavar="NPY", help="embeddings of the test sets")
    parser.renamed("--embeddings", to="--features")
    parser.renamed("--test", to="--test-features")
    parser.add_argument("--test-ids", nargs="+", metavar="TXT",
                        help="identity of each of their rows, one a line (default: every row its own)")
    parser.add_argument("--cosine", type=float, default=COSINE, help="remove from this cosine up (0.4)")


def run_exclude(args: argparse.Namespace) -> Optional[int]:
    """Remove training identities that are also test identities: those whose centre is within a cosine of a test centre.

    The paper's "overlap removed"; for FaceScrub the authors' threshold is 0.4. Both sides' embeddings are of one
    model.
    """
    must_be_free(args.out)
    if args.test_ids and len(args.test_ids) != len(args.test_features):
        raise InputError(f"--test-ids: {len(args.test_ids)} files for {len(args.test_features)} test sets; give one "
                         "for each")
    lists = args.test_ids or [None] * len(args.test_features)
    tests = [test_centres(path, ids) for path, ids in zip(args.test_features, lists)]
    removed = exclude(args.source, args.out, args.features, tests, args.cosine)
    sys.stdout.write(f"{args.out}: {len(removed)} identities removed, listed in {Path(args.out) / LIST_FILE}\n")
    return 0
