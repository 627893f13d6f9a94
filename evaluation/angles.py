"""Angle statistics of Table 3 and the histograms of figures 6 and 7, from any embeddings and centres.

With EC_j the normalised mean of the normalised embeddings of class j (paper, Table 3; docs/original.md, section 8.5):
W-EC = mean_j angle(W_j, EC_j); W-Inter = mean_j min_k angle(W_j, W_k); Intra = mean_i angle(x_i, EC_{y_i});
Inter = mean_j min_k angle(EC_j, EC_k). All in degrees.
"""
import argparse
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

from arcface_mxnet.evaluation.command import (
    add_flip_flag,
    add_model_flags,
    add_out_flag,
    add_size_flag,
    embedder_of,
    load_features,
    model_hashes,
    parser,
    read_ids,
    source_hashes,
)
from arcface_mxnet.evaluation.embedder import is_onnx
from arcface_mxnet.evaluation.extraction import embed_source
from arcface_mxnet.evaluation.features import normalise
from arcface_mxnet.evaluation.paper import ANGLES, published_angle
from arcface_mxnet.evaluation.plots import Curve
from arcface_mxnet.evaluation.results import About, Entry, Row, file_hashes, write_results
from arcface_mxnet.evaluation.sources import open_source
from arcface_mxnet.graph.checkpoint import load_params, parse_model, values_path
from arcface_mxnet.runtime.arguments import Parser
from arcface_mxnet.runtime.errors import InputError, run_command
from arcface_mxnet.runtime.text import HIGHEST, whole_number

import numpy as np

HEAD_WEIGHT = "fc7_weight"
BLOCK_ROWS = 1024
HISTOGRAM_EDGES = np.arange(0.0, 121.0, 1.0)


@dataclass(frozen=True)
class AngleStatistics:
    """Table 3's figures in degrees; None where they need what was not given (weights, a second class)."""

    w_ec: Optional[float]
    w_inter: Optional[float]
    intra: float
    inter: Optional[float]
    classes: int
    images: int


def class_centres(embeddings: np.ndarray, labels: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """EC of every class that has images: (classes,) labels ascending and float64 (classes, d) unit rows.

    `embeddings` (n, d), `labels` (n,) integers. Raises InputError when they differ in length or a mean vanishes.
    """
    if len(embeddings) != len(labels) or not len(labels):
        raise InputError(f"{len(embeddings)} embeddings and {len(labels)} labels; one label per embedding is needed")
    names, positions = np.unique(labels, return_inverse=True)
    sums = np.zeros((len(names), embeddings.shape[1]))
    for start in range(0, len(embeddings), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        np.add.at(sums, positions[rows], normalise(embeddings[rows].astype(np.float64)))
    if not sums.any(axis=1).all():
        raise InputError(f"the embeddings of class {names[np.argmin(sums.any(axis=1))]} cancel out or are zero; "
                         "it has no centre")
    return names, normalise(sums, copy=False)


def own_centre_angles(embeddings: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Degrees between each embedding and its class's centre: (n,)."""
    names, centres = class_centres(embeddings, labels)
    positions = np.searchsorted(names, labels)
    angles = np.empty(len(labels))
    for start in range(0, len(labels), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        unit = normalise(embeddings[rows].astype(np.float64))
        angles[rows] = _degrees(np.einsum("ij,ij->i", unit, centres[positions[rows]]))
    return angles


def nearest_other_angles(vectors: np.ndarray) -> np.ndarray:
    """Degrees to the nearest other row for each row of (c, d), c >= 2; blocks of rows, never the whole c x c matrix."""
    unit = normalise(np.asarray(vectors, np.float64))
    largest = np.empty(len(unit))
    for start in range(0, len(unit), BLOCK_ROWS):
        cosine = unit[start:start + BLOCK_ROWS] @ unit.T
        rows = np.arange(len(cosine))
        cosine[rows, start + rows] = -np.inf
        largest[start:start + BLOCK_ROWS] = cosine.max(axis=1)
    return _degrees(largest)


def angle_statistics(embeddings: np.ndarray, labels: np.ndarray,
                     weights: Optional[np.ndarray] = None) -> AngleStatistics:
    """Table 3 of (n, d) embeddings with (n,) integer labels and, for W-EC and W-Inter, centres (c, d) by label.

    Raises InputError where a label has no row of `weights` or the dimensions differ.
    """
    names, centres = class_centres(embeddings, labels)
    w_ec = w_inter = None
    if weights is not None:
        if weights.ndim != 2 or weights.shape[1] != embeddings.shape[1]:
            raise InputError(f"centres of shape {weights.shape} for embeddings of {embeddings.shape[1]} dimensions; "
                             "give those of the same model")
        if names[0] < 0 or names[-1] >= len(weights):
            raise InputError(f"labels {names[0]} to {names[-1]} but {len(weights)} centres; "
                             "give labels of the same set")
        unit = normalise(np.asarray(weights, np.float64))
        w_ec = float(_degrees(np.einsum("ij,ij->i", unit[names], centres)).mean())
        w_inter = float(nearest_other_angles(unit).mean()) if len(unit) > 1 else None
    inter = float(nearest_other_angles(centres).mean()) if len(names) > 1 else None
    return AngleStatistics(w_ec, w_inter, float(own_centre_angles(embeddings, labels).mean()), inter,
                           len(names), len(labels))


def pair_angle_samples(embeddings: np.ndarray, labels: np.ndarray, negatives: int,
                       seed: int = 0) -> Tuple[np.ndarray, np.ndarray]:
    """Figure 6: degrees of all genuine pairs, and of about `negatives` impostor pairs drawn at random (seeded)."""
    unit = normalise(np.asarray(embeddings, np.float32))
    order = np.argsort(labels, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(np.asarray(labels)[order])) + 1)
    positive = [_degrees((unit[group] @ unit[group].T)[np.triu_indices(len(group), 1)]) for group in groups]
    rng = np.random.default_rng(seed)
    left, right = rng.integers(0, len(unit), (2, 2 * negatives))
    different = np.asarray(labels)[left] != np.asarray(labels)[right]
    left, right = left[different][:negatives], right[different][:negatives]
    negative = np.empty(len(left))
    for start in range(0, len(left), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        negative[rows] = _degrees(np.einsum("ij,ij->i", unit[left[rows]], unit[right[rows]]))
    return np.concatenate(positive), negative


def read_weights(path: str) -> np.ndarray:
    """Centres (c, d): an .npy array, or fc7_weight of a checkpoint given as PREFIX,EPOCH."""
    if path.endswith(".npy"):
        return load_features(path)
    args, _ = load_params(values_path(*parse_model(path)))
    if HEAD_WEIGHT not in args:
        raise InputError(f"{path}: has no {HEAD_WEIGHT} (it holds the embedding only); "
                         "give a checkpoint of the run's last/ folder")
    return args[HEAD_WEIGHT]


def has_centres(model: str) -> bool:
    """Whether a checkpoint PREFIX,EPOCH (one, not several) holds classification centres."""
    if "|" in model or is_onnx(model):
        return False
    return HEAD_WEIGHT in load_params(values_path(*parse_model(model)))[0]


def angle_entry(statistics: AngleStatistics, about: About, samples: Tuple[np.ndarray, np.ndarray], loss: str,
                table_set: int) -> Entry:
    """Figures, rows beside Table 3's column of `loss` (its set 1, CASIA, or 2, LFW), and the histogram of figure 6.

    Beside the table only where there are as many classes and images as in that set.
    """
    ours = {"W-EC": statistics.w_ec, "W-Inter": statistics.w_inter,
            f"Intra{table_set}": statistics.intra, f"Inter{table_set}": statistics.inter}
    rows = [Row(name, value, *published_angle(name, loss, statistics.classes, statistics.images), unit="degrees")
            for name, value in ours.items() if value is not None]
    curves: List[Curve] = [
        Curve("angles", f"{name} ({len(angles)})", HISTOGRAM_EDGES,
              np.append(np.histogram(angles, HISTOGRAM_EDGES)[0], 0), "angle, degrees", "pairs", kind="bars")
        for name, angles in zip(("genuine", "impostor"), samples) if len(angles)]
    return Entry(asdict(statistics), about, rows, curves)


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Table 3 of a network on labelled images, or of saved embeddings."""
    options = build_parser().parse_args(argv)
    features, labels, data = _inputs(options)
    centres = options.centres or (options.model if options.model and has_centres(options.model) else None)
    statistics = angle_statistics(features, labels, read_weights(centres) if centres else None)
    samples = pair_angle_samples(features, labels, options.negatives, options.seed)
    about = About("angles", "Table 3; histogram of all genuine and random impostor pairs", _hashes(options, centres),
                  data, {"negatives": options.negatives, "seed": options.seed})
    entry = angle_entry(statistics, about, samples, options.paper_column, 1 if options.on == "train" else 2)
    for row in entry.rows:
        sys.stdout.write(f"{row.what}: {row.ours:.2f} degrees\n")
    sys.stdout.write(f"{write_results(options.out, {'angles': entry})}\n")


def _inputs(options: argparse.Namespace) -> Tuple[np.ndarray, np.ndarray, Dict[str, str]]:
    """Embeddings, labels and the hashes of the data behind them."""
    if not options.model:
        if not options.labels:
            raise InputError("--features needs --labels FILE, one integer class a line")
        features = load_features(options.features)
        return features, read_labels(options.labels, len(features)), file_hashes([options.labels])
    if not options.images:
        raise InputError("--model needs --images PATH: a .rec, a folder of people's folders, or a list with classes")
    source = open_source(options.images)
    if source.labels is None:
        raise InputError(f"{options.images}: has no classes; give a .rec, a folder of people's folders, "
                         "or a list of PATH<TAB>CLASS")
    embedder = embedder_of(options)
    features, broken = embed_source(source, lambda images: embedder.embed(images, options.flip),
                                    options.size)
    kept = np.delete(np.arange(len(source)), broken)
    place = Path(options.images)
    return features[kept], source.labels[kept], file_hashes([place] if place.is_file() else [])


def build_parser() -> Parser:
    """The command line."""
    flags = parser("Angle statistics of Table 3, in degrees.",
                   "python evaluation/angles.py --model runs/last/model,1 --images faces_webface_112x112 "
                   "--out results/angles")
    add_model_flags(flags, "embeddings (n, d); with --labels")
    flags.add_argument("--labels", metavar="FILE", help="one integer class a line, for --features")
    flags.add_argument("--images", metavar="PATH", help="labelled images for --model: .rec, folder or list")
    add_flip_flag(flags, "none")
    add_size_flag(flags)
    flags.add_argument("--centres", metavar="FILE.npy|PREFIX,EPOCH",
                       help="weights (c, d), or fc7_weight of a checkpoint (default: of --model, where it has one)")
    flags.add_argument("--paper-column", default="ArcFace", choices=sorted(ANGLES["W-EC"]) + ["Triplet-L"],
                       help="column of Table 3 to stand beside ours on CASIA or LFW (default ArcFace)")
    flags.renamed("--loss", to="--paper-column")
    flags.add_argument("--on", default="train", choices=("train", "test"),
                       help="what the images are: beside Intra1, Inter1 (CASIA) or Intra2, Inter2 (LFW)")
    flags.add_argument("--negatives", type=int, default=500_000, help="impostor pairs of the histogram (default 0.5M)")
    flags.add_argument("--seed", type=int, default=0, help="of the impostor pairs")
    add_out_flag(flags)
    return flags


def read_labels(path: str, rows: int) -> np.ndarray:
    """Integer classes, one a line: int64 (rows,); raises InputError naming file and line."""
    labels = [whole_number(text, f"{path}: line {number}", -HIGHEST, HIGHEST, "an integer class")
              for number, text in enumerate(read_ids(path, rows), 1)]
    return np.array(labels, np.int64)


def _hashes(options: argparse.Namespace, centres: Optional[str]) -> Dict[str, str]:
    hashes = source_hashes(options)
    if centres and centres != options.model:
        hashes.update(file_hashes([centres]) if centres.endswith(".npy") else model_hashes(centres))
    return hashes


def _degrees(cosine: np.ndarray) -> np.ndarray:
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


if __name__ == "__main__":
    run_command(main)
