"""Take a smaller set that looks like the whole: fewer identities, fewer images of each.

Identities are drawn evenly along their number of images (systematic sampling of the sorted list), so rich and poor ones
stay in proportion; images of an identity are drawn at random. Classes are numbered again from 0; identities.tsv says
who they were.
"""
import argparse
import sys
from pathlib import Path
from typing import List, Optional

from arcface_mxnet.datasets import manifest
from arcface_mxnet.datasets.ages import carry_ages
from arcface_mxnet.datasets.identity_names import read_names, write_names
from arcface_mxnet.datasets.record_writer import RecordWriter
from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.datasets.whole_folder import must_be_free, whole_folder
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import PathLike
from arcface_mxnet.runtime.progress import progress

import numpy as np

EXAMPLE = "  python datasets/prepare.py subset data/faces_emore data/emore_10k --identities 10000 --images 50"


def subset(source: PathLike, out: PathLike, identities: Optional[int] = None, images: Optional[int] = None,
           min_images: int = 1, seed: int = 0) -> str:
    """Write a stratified subset of a record set to the folder `out`; returns the short hash of its manifest.

    identities: how many (all by default); images: at most so many of each (all by default); min_images: only identities
    with so many. The choice is a function of `seed`. Raises InputError where there are fewer identities than asked for.
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    parser.add_argument("source", metavar="SET", help="folder or .rec of the set")
    parser.add_argument("out", metavar="OUT", help="folder of the subset; must not exist yet")
    parser.add_argument("--identities", type=int, metavar="N", help="how many identities (all)")
    parser.add_argument("--images", type=int, metavar="M", help="at most so many images of each (all)")
    parser.add_argument("--min-images", type=int, default=1, metavar="K", help="identities with so many images (1)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, another choice (0)")


def run(args: argparse.Namespace) -> Optional[int]:
    """The verb."""
    must_be_free(Path(args.out))
    if args.images is not None and args.images < 1:
        raise InputError(f"--images {args.images}: give 1 or more")
    short = subset(args.source, args.out, args.identities, args.images, args.min_images, args.seed)
    sys.stdout.write(f"{args.out}: a subset, manifest {short}\n")
    return 0
