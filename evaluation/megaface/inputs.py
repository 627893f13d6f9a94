"""What the MegaFace command is given, read into arrays: saved .npy features, devkit trees, or images and a model."""
import argparse
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from arcface_mxnet.evaluation.command import embedder_of, load_features, model_hashes, read_ids
from arcface_mxnet.evaluation.extraction import complete_embeddings
from arcface_mxnet.evaluation.features import normalise
from arcface_mxnet.evaluation.megaface.devkit_files import (
    distractor_list,
    listed_sizes,
    names_in_tree,
    read_distractors,
    read_paths,
    read_probes,
    read_tree,
)
from arcface_mxnet.evaluation.megaface.noise import (
    DISTRACTOR_NOISES,
    PROBE_NOISES,
    clean_probes,
    mark_distractors,
    read_noises,
)
from arcface_mxnet.evaluation.megaface.protocol import Features
from arcface_mxnet.evaluation.results import file_hashes
from arcface_mxnet.evaluation.sources import FileSource, folder_source
from arcface_mxnet.runtime.errors import InputError

import numpy as np

SIZES = [10 ** power for power in range(1, 7)]


class Probes(NamedTuple):
    """Probe features, the person of each and the name of each (none for .npy features without --probe-names)."""

    features: Features
    ids: np.ndarray
    names: Sequence[str]


class Distractors(NamedTuple):
    """One set of distractors, the counts to evaluate on its first rows, and in words where their order is from."""

    number: int
    counts: List[int]
    features: Features
    origin: str


def check_flags(options: argparse.Namespace) -> None:
    """Raise InputError for sets below 1 and for two kinds of input at once."""
    if options.sets < 1:
        raise InputError(f"--sets {options.sets}: at least 1")
    for kind in ("probe", "distractor"):
        given = [f"--{kind}-{form}" for form in ("features", "dir", "images") if getattr(options, f"{kind}_{form}")]
        if len(given) > 1:
            raise InputError(f"{' and '.join(given)}: give one of them")


def read_probe_features(options: argparse.Namespace) -> Probes:
    """The probes as `options` name them, noise lists applied."""
    if options.probe_features:
        rows = load_features(options.probe_features)
        ids = read_ids(_needed(options, "probe_ids"), len(rows))
        names: Sequence[str] = read_ids(options.probe_names, len(rows)) if options.probe_names else []
    else:
        names, ids = read_probes(_needed(options, "probe_list"))
        rows = _embedded(options, "probe", names) if options.model else \
            read_tree(_needed(options, "probe_dir"), names, options.ending)
    unit = not options.as_stored and not options.probe_dir
    if options.noises:
        if not names:
            raise InputError("--noises needs the images' names: give --probe-names and --distractor-names")
        rows = normalise(np.asarray(rows, np.float32)) if unit else rows
        rows = clean_probes(rows, names, read_noises(Path(options.noises) / PROBE_NOISES), options.seed)
        unit = False
    return Probes(Features(rows, unit), np.array(ids), names)


def distractor_sets(options: argparse.Namespace, dimensions: int) -> Iterator[Distractors]:
    """Every set of distractors to run; `dimensions` of the probes, with the noise dimension if noises apply.

    Without --distractor-list: the devkit's lists where they stand beside --probe-list, else everything in the folder.
    """
    folder = _devkit_lists(options)
    if folder:
        for number in range(1, options.sets + 1):
            for size in options.distractors or listed_sizes(folder, number) or SIZES:
                names = read_distractors(folder, size, number)
                yield Distractors(number, [size], _named(options, names, dimensions),
                                  str(distractor_list(folder, size, number)))
        return
    features, origin = _one_set(options, dimensions)
    counts = options.distractors or sorted({size for size in SIZES if size < len(features)} | {len(features)})
    yield Distractors(1, counts, features, origin)
    for number in range(2, options.sets + 1):
        order = np.random.default_rng(number).permutation(len(features))[:max(counts)]
        yield Distractors(number, counts, Features(np.asarray(features.rows[order]), features.unit),
                          f"{origin}, shuffled with seed {number}")


def data_hashes(options: argparse.Namespace) -> Dict[str, str]:
    """Hashes of the files named on the command line (of feature trees only the lists)."""
    given = [options.probe_features, options.distractor_features, options.probe_ids, options.probe_list,
             options.distractor_list]
    noises = [Path(options.noises) / name for name in (PROBE_NOISES, DISTRACTOR_NOISES)] if options.noises else []
    return file_hashes([path for path in [*given, *noises] if path and Path(path).is_file()])


def hashes_of_model(options: argparse.Namespace) -> Dict[str, str]:
    """Hashes of the checkpoint, where one was run."""
    return model_hashes(options.model) if options.model else {}


def _devkit_lists(options: argparse.Namespace) -> Optional[str]:
    """The folder of the devkit's lists of distractors: given, or (for trees and images) beside the probe list."""
    given: Optional[str] = options.distractor_list
    if given:
        return given if Path(given).is_dir() else None
    beside = Path(options.probe_list).parent if options.probe_list and not options.distractor_features else None
    return str(beside) if beside and listed_sizes(beside, 1) else None


def _one_set(options: argparse.Namespace, dimensions: int) -> Tuple[Features, str]:
    """The only set: a list, or everything there is; and where its order is from."""
    if options.distractor_list:
        return _named(options, read_paths(options.distractor_list), dimensions), str(options.distractor_list)
    if not options.distractor_dir and not (options.model and options.distractor_images):
        return _saved(options), str(options.distractor_features)
    root, names = options.distractor_images or options.distractor_dir, _everything(options)
    return _named(options, names, dimensions), f"all {len(names)} images in {root}, sorted by path"


def _everything(options: argparse.Namespace) -> Sequence[str]:
    if options.distractor_dir:
        return names_in_tree(options.distractor_dir, options.ending)
    return folder_source(options.distractor_images).names


def _saved(options: argparse.Namespace) -> Features:
    path = _needed(options, "distractor_features")
    rows = load_features(path)
    if not options.noises:
        return Features(rows, not options.as_stored)
    names = read_ids(_needed(options, "distractor_names"), len(rows))
    return _with_noise(options, _spare_column(rows, not options.as_stored), names)


def _named(options: argparse.Namespace, names: Sequence[str], dimensions: int) -> Features:
    spare = 1 if options.noises else 0
    if options.model:
        rows = _embedded(options, "distractor", names)
        if not spare:
            return Features(rows, not options.as_stored)
        return _with_noise(options, _spare_column(rows, not options.as_stored), names)
    rows = read_tree(_needed(options, "distractor_dir"), names, options.ending, spare, dimensions - spare)
    return _with_noise(options, rows, names) if spare else Features(rows, unit=False)


def _with_noise(options: argparse.Namespace, rows: np.ndarray, names: Sequence[str]) -> Features:
    mark_distractors(rows, names, read_noises(Path(options.noises) / DISTRACTOR_NOISES))
    return Features(rows, unit=False)


def _spare_column(rows: np.ndarray, unit: bool) -> np.ndarray:
    """A float32 copy, normalised if `unit`, with one more column of zeros."""
    wide = np.zeros((len(rows), rows.shape[1] + 1), np.float32)
    wide[:, :-1] = rows
    return normalise(wide, copy=False) if unit else wide


def _embedded(options: argparse.Namespace, kind: str, names: Sequence[str]) -> np.ndarray:
    """Embeddings of the images ROOT/NAME, kept in OUT/KIND so that a stopped run goes on; unreadable ones refused."""
    root = _needed(options, f"{kind}_images")
    embedder = embedder_of(options)
    folder = Path(options.out) / f"{kind}_embeddings_{len(names)}"
    settings = {"model": model_hashes(options.model), "flip": options.flip, "exact": options.exact}
    return complete_embeddings(FileSource(root, Path(root), list(names)),
                               lambda images: embedder.embed(images, options.flip), folder, settings,
                               options.size, embedder.about)


def _needed(options: argparse.Namespace, name: str) -> str:
    value: Optional[str] = getattr(options, name)
    if not value:
        raise InputError(f"--{name.replace('_', '-')} is missing; see --help for the three kinds of input")
    return value


def numbers(text: str, kind: type) -> Tuple[float, ...]:
    """Comma-separated numbers; raises InputError naming the text."""
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"{text}: expected numbers separated by commas, for example 10,1000,1000000") from None
