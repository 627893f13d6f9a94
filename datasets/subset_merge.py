"""A smaller record set of a large one (subset), or several joined into one (merge)."""
import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

from arcface_mxnet.datasets import manifest
from arcface_mxnet.datasets.ages import AGES_FILE, carry_ages, has_ages
from arcface_mxnet.datasets.embedding_angles import load_embeddings
from arcface_mxnet.datasets.record_writer import RecordWriter
from arcface_mxnet.datasets.records import RecordSet, read_names, write_names
from arcface_mxnet.datasets.whole_folder import must_be_free, whole_folder
from arcface_mxnet.runtime.arguments import Parser
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import PathLike, atomic_open
from arcface_mxnet.runtime.progress import progress

import numpy as np

SUBSET_EXAMPLE = ("  python datasets/prepare.py subset data/faces_emore data/emore_10k --identities 10000 "
                  "--images-per-identity 50")


def subset(source: PathLike, out: PathLike, identities: Optional[int] = None, images: Optional[int] = None,
           min_images: int = 1, seed: int = 0) -> str:
    """Write a stratified subset of a record set to the folder `out`; returns the short hash of its manifest.

    identities: how many (all by default); images: at most so many of each (all by default); min_images: only identities
    with so many. The choice is a function of `seed`. Raises InputError where there are fewer identities than requested.
    """
    with RecordSet.open(source, min_images=min_images) as records, whole_folder(out) as folder:
        chance = np.random.default_rng(seed)
        names = read_names(records.folder)
        order = np.argsort(records.labels, kind="stable")
        labels, first, counts = np.unique(records.labels[order], return_index=True, return_counts=True)
        chosen = _choose(records, counts, identities, chance)
        taken: List[int] = []
        with RecordWriter(folder, records.image_size or (112, 112)) as writer:
            for label, which in enumerate(progress(chosen.tolist(), chosen.size, "choosing", "identities")):
                own = order[first[which]:first[which] + counts[which]]
                if images is not None and own.size > images:
                    own = np.sort(chance.choice(own, images, replace=False))
                keys = records.keys[own].tolist()
                writer.add(label, [records.read(key)[1] for key in keys])
                taken += keys
        carry_ages(folder, [records], ((0, key) for key in taken))
        write_names(folder, {label: names.get(int(labels[which]), str(labels[which]))
                             for label, which in enumerate(chosen.tolist())})
        return manifest.describe_set(folder, f"{records.path}: subset with seed {seed}", "as its source")


def _choose(records: RecordSet, counts: np.ndarray, wanted: Optional[int], chance: np.random.Generator) -> np.ndarray:
    """Which identities, ascending: every (n / wanted)-th of those sorted by images, ties in random order."""
    if wanted is None:
        return np.arange(counts.size)
    if not 1 <= wanted <= counts.size:
        raise InputError(f"{records.path}: --identities {wanted}: it has {counts.size} that qualify; ask for fewer")
    by_images = np.lexsort((chance.random(counts.size), counts))
    places = (np.arange(wanted) + chance.random()) * (counts.size / wanted)
    return np.sort(by_images[places.astype(np.int64)])


def add_subset_arguments(parser: Parser) -> None:
    """The flags of the verb."""
    parser.add_argument("source", metavar="SET", help="folder or .rec of the set")
    parser.add_argument("out", metavar="OUT", help="folder of the subset; must not exist yet")
    parser.add_argument("--identities", type=int, metavar="N", help="how many identities (all)")
    parser.add_argument("--images-per-identity", type=int, metavar="M", help="at most so many images of each (all)")
    parser.renamed("--images", to="--images-per-identity")
    parser.add_argument("--min-images", type=int, default=1, metavar="K", help="identities with so many images (1)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, another choice (0)")


def run_subset(args: argparse.Namespace) -> Optional[int]:
    """Take a smaller set that looks like the whole: fewer identities, fewer images of each.

    Identities are drawn evenly along their number of images (systematic sampling of the sorted list), so rich and
    poor ones stay in proportion; images of an identity are drawn at random. Classes are numbered again from 0;
    identities.tsv says who they were.
    """
    must_be_free(Path(args.out))
    if args.images_per_identity is not None and args.images_per_identity < 1:
        raise InputError(f"--images-per-identity {args.images_per_identity}: give 1 or more")
    short = subset(args.source, args.out, args.identities, args.images_per_identity, args.min_images, args.seed)
    sys.stdout.write(f"{args.out}: a subset, manifest {short}\n")
    return 0


MERGE_EXAMPLE = ("  python datasets/prepare.py merge data/both data/one data/two --features one.npy two.npy\n"
                 "  python datasets/prepare.py merge data/both data/one data/two --no-match")
JOINED = "joined.tsv"
THRESHOLD = 0.5
_ROWS = 1024


@dataclass(frozen=True)
class Joined:
    """Identity `label` of set `which` (from 0) became class `becomes`; cosine to what it joined, None for a new one."""

    which: int
    label: int
    becomes: int
    cosine: Optional[float]


def centres(records: RecordSet, embeddings: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Mean embedding of each identity: classes int64 (c,), centres float32 (c, d) of unit length.

    embeddings: float (images, d) in the order of `records.keys`, normalised here first. Raises InputError where the
    number of rows is not that of the images, or a row is not finite or zero.
    """
    if embeddings.ndim != 2 or embeddings.shape[0] != records.images:
        raise InputError(f"{records.path}: {records.images} images, but embeddings of shape {embeddings.shape}; "
                         "extract them from this very set, one row an image")
    classes, inverse, counts = np.unique(records.labels, return_inverse=True, return_counts=True)
    sums = np.zeros((classes.size, embeddings.shape[1]), dtype=np.float64)
    for start in range(0, records.images, 65536):
        rows = np.asarray(embeddings[start:start + 65536], dtype=np.float64)
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        bad = np.flatnonzero(~np.isfinite(norms[:, 0]) | (norms[:, 0] == 0))
        if bad.size:
            raise InputError(f"{records.path}: the embedding of image {start + bad[0]} is zero or not finite; "
                             "extract again")
        np.add.at(sums, inverse[start:start + len(rows)], rows / norms)
    length = np.maximum(np.linalg.norm(sums / counts[:, None], axis=1, keepdims=True), 1e-12)
    return classes, (sums / counts[:, None] / length).astype(np.float32)


def match(sets: Sequence[Tuple[np.ndarray, np.ndarray]], threshold: float) -> List[Joined]:
    """Which identity becomes which class; each set is (classes, unit centres) as `centres` gives them.

    The first set's identities become 0, 1, ...; one of a later set joins the class nearest to it among those of the
    sets before (cosine at least `threshold`), else becomes a new class.
    """
    joined: List[Joined] = []
    known = np.empty((0, sets[0][1].shape[1]), dtype=np.float32)
    for which, (classes, own) in enumerate(sets):
        fresh: List[int] = []
        for place, (best, cosine) in enumerate(_nearest(own, known)):
            if best >= 0 and cosine >= threshold:
                joined.append(Joined(which, int(classes[place]), best, cosine))
            else:
                joined.append(Joined(which, int(classes[place]), len(known) + len(fresh), None))
                fresh.append(place)
        known = np.concatenate([known, own[fresh]])
    return joined


def merge(sources: Sequence[PathLike], out: PathLike, embeddings: Optional[Sequence[PathLike]] = None,
          threshold: float = THRESHOLD) -> Tuple[str, List[Joined]]:
    """Write several record sets as one to the folder `out`, with joined.tsv; returns its short hash and the joins.

    ages.tsv holds the ages that the sets know; images of a set without that file have none in it.

    embeddings: an .npy for each set; None joins nothing. Raises InputError where sets differ in image size or files do
    not belong together; `out` appears when it is whole.
    """
    opened = [RecordSet.open(source) for source in sources]
    sizes = {records.image_size for records in opened}
    if len(sizes) > 1:
        raise InputError(f"sets of different image sizes {sorted(map(str, sizes))}; build them at one size first")
    if embeddings is None:
        joined = _apart(opened)
    else:
        joined = match([centres(records, load_embeddings(path, records.images))
                        for records, path in zip(opened, embeddings)], threshold)
    with whole_folder(out) as folder:
        _write(folder, opened, joined)
        with atomic_open(folder / JOINED, "w") as stream:
            stream.write("set\tclass there\tclass here\tcosine\n")
            stream.writelines(f"{opened[one.which].path}\t{one.label}\t{one.becomes}\t"
                              f"{'new' if one.cosine is None else f'{one.cosine:.4f}'}\n" for one in joined)
        origin = " + ".join(str(records.path) for records in opened)
        return manifest.describe_set(folder, f"merged from {origin}, threshold {threshold}", "as its sources"), joined


def _apart(opened: Sequence[RecordSet]) -> List[Joined]:
    pairs = [(which, int(label)) for which, records in enumerate(opened) for label in np.unique(records.labels)]
    return [Joined(which, label, becomes, None) for becomes, (which, label) in enumerate(pairs)]


def _nearest(own: np.ndarray, known: np.ndarray) -> List[Tuple[int, float]]:
    """For each row of `own` the nearest of `known` and its cosine, a block at a time; (-1, 0) where none is known."""
    if not len(known):
        return [(-1, 0.0)] * len(own)
    if own.shape[1] != known.shape[1]:
        raise InputError(f"embeddings of {own.shape[1]} and of {known.shape[1]} dimensions; extract all with one model")
    found: List[Tuple[int, float]] = []
    for start in range(0, len(own), _ROWS):
        cosines = own[start:start + _ROWS] @ known.T
        best = cosines.argmax(axis=1)
        found += zip(best.tolist(), cosines[np.arange(len(best)), best].tolist())
    return found


def _write(folder: Path, opened: Sequence[RecordSet], joined: Sequence[Joined]) -> None:
    parts: Dict[int, List[Joined]] = {}
    for one in joined:
        parts.setdefault(one.becomes, []).append(one)
    keys = [_keys_by_class(records) for records in opened]
    names = [read_names(records.folder) for records in opened]
    taken = [[(one.which, key) for one in parts[label] for key in keys[one.which][one.label]]
             for label in range(len(parts))]
    with RecordWriter(folder, opened[0].image_size or (112, 112)) as writer:
        for label, images in enumerate(progress(taken, len(taken), "merging", "identities")):
            writer.add(label, (opened[which].read(key)[1] for which, key in images))
    carry_ages(folder, opened, (image for images in taken for image in images))
    first = {label: parts[label][0] for label in parts}
    write_names(folder, {label: names[one.which].get(one.label, f"{opened[one.which].folder.name}:{one.label}")
                         for label, one in first.items()})


def _keys_by_class(records: RecordSet) -> Dict[int, List[int]]:
    order = np.argsort(records.labels, kind="stable")
    classes, first = np.unique(records.labels[order], return_index=True)
    return {int(label): keys.tolist() for label, keys in zip(classes, np.split(records.keys[order], first[1:]))}


def _without_ages(sources: Sequence[str]) -> List[str]:
    """The sources without ages where others have them."""
    without = [source for source in sources if not has_ages(RecordSet.open(source))]
    return without if len(without) < len(sources) else []


def add_merge_arguments(parser: Parser) -> None:
    """The flags of the verb."""
    parser.add_argument("out", metavar="OUT", help="folder of the merged set; must not exist yet")
    parser.add_argument("sources", metavar="SET", nargs="+", help="folders of the sets, the most trusted first")
    parser.add_argument("--features", metavar="NPY", nargs="+", help="embeddings of each set, in the same order")
    parser.renamed("--embeddings", to="--features")
    parser.add_argument("--threshold", type=float, default=THRESHOLD,
                        help=f"cosine from which two identities are one ({THRESHOLD})")
    parser.add_argument("--no-match", action="store_true", help="join nothing: every identity stays its own")


def run_merge(args: argparse.Namespace) -> Optional[int]:
    """Join several record sets into one, the same person's identities matched by the cosine of their mean embeddings.

    Each set comes with the embeddings of its images as an .npy file (images x dimensions, in the order of the set's
    keys, as recognition/extract.py writes them). An identity of a later set joins the identity of the sets before it
    whose centre it is nearest to, if the cosine reaches the threshold: 0.5 by default, where the published
    MobileFaceNet joined nobody wrongly (docs/real_data.md); the original took 0.3 with a stronger network. joined.tsv
    says what was joined.
    """
    must_be_free(args.out)
    if args.no_match == bool(args.features):
        raise InputError("give --features with an .npy for each set, or --no-match to join no identities")
    if args.features and len(args.features) != len(args.sources):
        raise InputError(f"--features names {len(args.features)} files for {len(args.sources)} sets; one for each")
    short, joined = merge(args.sources, args.out, args.features, args.threshold)
    matched = sum(one.cosine is not None for one in joined)
    without = _without_ages(args.sources)
    if without:
        sys.stdout.write(f"{AGES_FILE}: none beside {', '.join(without)}; ages of images from there stay unknown\n")
    sys.stdout.write(f"{args.out}: {len(joined)} identities became {len(joined) - matched}, {matched} joined "
                     f"({JOINED} says which), manifest {short}\n")
    return 0


# A new record set of chosen images of another: classes numbered again, names, ages and bytes kept.


Group = Tuple[int, Sequence[int]]  # the class that names the identity, and the positions of its images in records.keys


def positions_by_class(records: RecordSet) -> Dict[int, np.ndarray]:
    """Class -> positions (int64) of its images in `records.keys`, in order of class."""
    order = np.argsort(records.labels, kind="stable")
    classes, first = np.unique(records.labels[order], return_index=True)
    return dict(zip(classes.tolist(), np.split(order, first[1:])))


def write_selected(records: RecordSet, groups: List[Group], out: PathLike, why: str,
                   lists: Optional[Mapping[str, str]] = None) -> str:
    """Write the groups as classes 0, 1, ... of a new set in `out` (whole or absent); returns its manifest's short hash.

    `why` goes into the manifest; `lists` are texts by file name to stand beside the set.
    Raises InputError when nothing is left or `out` is taken.
    """
    kept = [group for group in groups if len(group[1])]
    if not kept:
        raise InputError(f"{records.path}: nothing would be left; loosen the thresholds")
    names = read_names(records.folder)
    with whole_folder(out) as staging:
        with RecordWriter(staging, records.image_size or (112, 112)) as writer:
            for label, (_, places) in enumerate(progress(kept, len(kept), "writing", "identities")):
                writer.add(label, (records.read(int(records.keys[place]))[1] for place in places))
        carry_ages(staging, [records], ((0, int(records.keys[place])) for _, places in kept for place in places))
        for name, text in (lists or {}).items():
            (staging / name).write_bytes(text.encode("utf-8", "surrogateescape"))
        write_names(staging, {label: names.get(old, str(old)) for label, (old, _) in enumerate(kept)})
        return manifest.describe_set(staging, f"{records.path}: {why}", "as its source")
