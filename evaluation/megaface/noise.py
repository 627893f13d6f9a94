"""The authors' noise lists ("R" of Table 6; docs/original.md, section 6.2).

Every feature gets one more dimension, 0 for a clean one. A noisy probe becomes the unit vector of the sum of its
person's clean features plus a little uniform noise; a noisy distractor gets 100 there, so it never matches.
"""
import argparse
import sys
from pathlib import Path
from typing import FrozenSet, Optional, Sequence

from arcface_mxnet.evaluation.command import add_algorithm_flag, parser
from arcface_mxnet.evaluation.megaface.devkit_files import FEATURES, read_paths, read_tree, write_tree
from arcface_mxnet.runtime.arguments import Parser
from arcface_mxnet.runtime.errors import InputError, run_command
from arcface_mxnet.runtime.files import PathLike
from arcface_mxnet.runtime.locks import claimed
from arcface_mxnet.runtime.text import read_lines

import numpy as np

PROBE_NOISES, DISTRACTOR_NOISES = "facescrub_noises.txt", "megaface_noises.txt"
AMPLITUDE = 0.001
FAR_AWAY = 100.0
_DISTRACTORS_AT_ONCE = 50_000


def read_noises(path: PathLike) -> FrozenSet[str]:
    """The distinct names of a noise list: comment lines (#) left out, the second column where there are tabs."""
    lines = read_lines(path, f"give the folder with {PROBE_NOISES} and {DISTRACTOR_NOISES}")
    names = [line.strip().split("\t") for line in lines if line.strip() and not line.startswith("#")]
    if not names:
        raise InputError(f"{path}: names no image; copy the list again")
    return frozenset(columns[1] if len(columns) > 1 else columns[0] for columns in names)


def clean_probes(features: np.ndarray, names: Sequence[str], noises: FrozenSet[str], seed: int) -> np.ndarray:
    """(n, d) probe features named PERSON/FILE to (n, d + 1) float32 without noise.

    `noises` holds file names. The uniform noise is drawn from `seed`. Raises InputError for a person with no clean
    image and for names without a person.
    """
    persons = np.array([_parts(name, 2)[0] for name in names])
    noisy = np.array([_parts(name, 2)[-1] in noises for name in names])
    cleaned = np.zeros((len(features), features.shape[1] + 1), np.float32)
    cleaned[:, :-1] = features
    generator = np.random.default_rng(seed)
    for row in np.flatnonzero(noisy):
        clean = (persons == persons[row]) & ~noisy
        if not clean.any():
            raise InputError(f"{names[row]}: every image of {persons[row]} is in the noise list; check {PROBE_NOISES}")
        centre = cleaned[clean].sum(axis=0, dtype=np.float64)
        centre[:-1] += generator.uniform(-AMPLITUDE, AMPLITUDE, features.shape[1])
        cleaned[row] = centre / np.linalg.norm(centre)
    return cleaned


def mark_distractors(features: np.ndarray, names: Sequence[str], noises: FrozenSet[str]) -> int:
    """Set the last column of (n, d + 1) features to 100 where A/B/FILE is in `noises`, else to 0; how many were set."""
    noisy = np.array(["/".join(_parts(name, 3)) in noises for name in names], bool)
    features[:, -1] = np.where(noisy, FAR_AWAY, 0)
    return int(noisy.sum())


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Write a cleaned copy of both feature trees, for a user who runs the devkit's binaries."""
    options = build_parser().parse_args(argv)
    with claimed(options.out):
        _clean(options)


def _clean(options: argparse.Namespace) -> None:
    ending = f"_{options.algorithm}.bin"
    source, target = Path(options.features), Path(options.out)
    names = read_paths(options.facescrub_lst)
    probes = read_tree(source / "facescrub", names, ending)
    noises = read_noises(options.facescrub_noises)
    write_tree(target / "facescrub", names, ending, clean_probes(probes, names, noises, options.seed))
    changed = 0
    names, noises = read_paths(options.megaface_lst), read_noises(options.megaface_noises)
    for start in range(0, len(names), _DISTRACTORS_AT_ONCE):
        part = names[start:start + _DISTRACTORS_AT_ONCE]
        features = read_tree(source / "megaface", part, ending, spare=1, dimensions=probes.shape[1])
        changed += mark_distractors(features, part, noises)
        write_tree(target / "megaface", part, ending, features)
    sys.stdout.write(f"{target}: {len(probes)} probes and {len(names)} distractors, {changed} of them noise\n")


def build_parser() -> Parser:
    """The command line."""
    flags = parser("Apply the authors' noise lists to feature trees.",
                   "python evaluation/megaface/noise.py --features feature_out --out feature_out_clean")
    flags.add_argument("--facescrub-noises", default="data/" + PROBE_NOISES, metavar="FILE",
                       help="noise list of the probes")
    flags.add_argument("--megaface-noises", default="data/" + DISTRACTOR_NOISES, metavar="FILE",
                       help="noise list of the distractors")
    flags.add_argument("--facescrub-lst", default="data/facescrub_lst", metavar="FILE", help="PERSON/FILE a line")
    flags.add_argument("--megaface-lst", default="data/megaface_lst", metavar="FILE", help="A/B/FILE a line")
    add_algorithm_flag(flags)
    flags.add_argument("--features", default=FEATURES, metavar="DIR",
                       help=f"holds facescrub/ and megaface/ (default {FEATURES})")
    flags.add_argument("--out", default=f"{FEATURES}_clean", metavar="DIR",
                       help=f"folder of the cleaned trees (default {FEATURES}_clean)")
    flags.renamed("--feature-dir-input", to="--features")
    flags.renamed("--feature-dir-out", to="--out")
    flags.add_argument("--seed", type=int, default=0, help="of the uniform noise (default 0)")
    return flags


def _parts(name: str, count: int) -> Sequence[str]:
    parts = name.split("/")[-count:]
    if len(parts) < count:
        raise InputError(f"{name}: noise lists need names of {count} parts, such as {'/'.join('abc'[:count])}")
    return parts


if __name__ == "__main__":
    run_command(main)
