"""One embedding for a set of images: the mean, or a mean weighted by detector score, by norm or by learned quality."""
import sys
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

from arcface_mxnet.evaluation.angles import read_labels
from arcface_mxnet.evaluation.command import add_out_flag, load_features, model_hashes, parser, read_ids
from arcface_mxnet.evaluation.quality import QualityPlan, predict_quality, train_quality
from arcface_mxnet.evaluation.results import About, Entry, file_hashes, write_results
from arcface_mxnet.evaluation.vectors import normalise
from arcface_mxnet.graph.checkpoint import Checkpoint, load, parse_model, save
from arcface_mxnet.runtime.errors import InputError, run_command
from arcface_mxnet.runtime.files import atomic_open, atomic_path

import numpy as np

RULES = ("mean", "detector", "norm", "quality")


def aggregate(embeddings: np.ndarray, groups: Sequence[str], weights: Optional[np.ndarray] = None,
              ) -> Tuple[List[str], np.ndarray]:
    """Weighted mean of the unit rows of each group, L2-normalised: group names ascending, float64 (groups, d).

    `embeddings` (n, d) un-normalised, `groups` (n,) names, `weights` (n,) not negative (None: equal). A group whose
    weights are all zero falls back to equal weights. Raises InputError for lengths that differ or weights that are
    negative or not finite.
    """
    chosen = np.ones(len(embeddings)) if weights is None else np.asarray(weights, np.float64)
    if not len(embeddings) == len(groups) == len(chosen) or not len(chosen):
        raise InputError(f"{len(embeddings)} embeddings, {len(groups)} groups and {len(chosen)} weights; "
                         "one of each per image is needed")
    if not (np.isfinite(chosen).all() and (chosen >= 0).all()):
        row = int(np.argmin(np.isfinite(chosen) & (chosen >= 0)))
        raise InputError(f"weight {row} is {chosen[row]}; weights are finite and not negative")
    names, positions = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    totals = np.bincount(positions, chosen, minlength=len(names))
    chosen = np.where(totals[positions] > 0, chosen, 1.0)
    sums = np.zeros((len(names), embeddings.shape[1]))
    np.add.at(sums, positions, normalise(np.asarray(embeddings, np.float64)) * chosen[:, None])
    return names.tolist(), normalise(sums, copy=False)


def rule_weights(rule: str, embeddings: np.ndarray, scores: Optional[np.ndarray] = None,
                 quality: Optional[Checkpoint] = None) -> Optional[np.ndarray]:
    """The weights (n,) of a rule: None for "mean", the detector's `scores`, the norms, or the learned quality.

    Weighting unit rows by their norms is summing the raw embeddings (N1 of the IJB protocol).
    """
    if rule == "norm":
        return np.linalg.norm(np.asarray(embeddings, np.float64), axis=1)
    if rule == "detector":
        if scores is None:
            raise InputError("--rule detector needs --scores FILE, one detector score a line")
        return np.clip(scores, 0, None)
    if rule == "quality":
        if quality is None:
            raise InputError("--rule quality needs --quality PREFIX,EPOCH, or --train-features and --train-labels")
        return predict_quality(quality, embeddings)
    return None


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Aggregate saved features by group."""
    flags = parser("One embedding per set of images.",
                   "python evaluation/aggregate.py --features f/embeddings.npy --groups templates.txt --rule norm "
                   "--out results/templates")
    flags.add_argument("--features", required=True, metavar="FILE.npy", help="embeddings (n, d), not normalised")
    flags.add_argument("--groups", required=True, metavar="FILE", help="name of each image's set, one a line")
    flags.add_argument("--rule", default="mean", choices=RULES, help="default mean")
    flags.add_argument("--scores", metavar="FILE", help="detector score of each image, one a line")
    flags.add_argument("--quality", metavar="PREFIX,EPOCH", help="a quality network trained before")
    flags.add_argument("--train-features", metavar="FILE.npy", help="embeddings to learn quality from")
    flags.add_argument("--train-labels", metavar="FILE", help="their classes")
    flags.add_argument("--steps", type=int, default=QualityPlan.steps, help="of learning quality (default 300)")
    flags.add_argument("--seed", type=int, default=0, help="of learning quality")
    add_out_flag(flags)
    options = flags.parse_args(argv)
    features = load_features(options.features)
    groups = read_ids(options.groups, len(features))
    scores = read_scores(options.scores, len(features)) if options.scores else None
    quality: Optional[Checkpoint] = None
    model: Dict[str, str] = {}
    if options.rule == "quality" and options.quality:
        quality, model = load(*parse_model(options.quality)), model_hashes(options.quality)
    elif options.rule == "quality" and options.train_features and options.train_labels:
        known = load_features(options.train_features, dimensions=features.shape[1])
        labels = read_labels(options.train_labels, len(known))
        quality = train_quality(np.asarray(known), labels, QualityPlan(steps=options.steps, seed=options.seed))
        save(quality, f"{options.out}/quality", 0)
        model = model_hashes(f"{options.out}/quality,0")
    names, templates = aggregate(features, groups, rule_weights(options.rule, features, scores, quality))
    _write(Path(options.out), names, templates)
    about = About("aggregate", f"{options.rule}, unit rows, result L2-normalised", model,
                  file_hashes([options.features, options.groups]))
    write_results(options.out, {options.rule: Entry({"images": len(features), "groups": len(names)}, about)})
    sys.stdout.write(f"{options.out}/embeddings.npy: {len(names)} rows of {templates.shape[1]}\n")


def read_scores(path: str, rows: int) -> np.ndarray:
    """Numbers, one a line: float64 (rows,); raises InputError naming file and line."""
    scores = []
    for number, text in enumerate(read_ids(path, rows), 1):
        try:
            scores.append(float(text))
        except ValueError:
            raise InputError(f"{path}: line {number}: '{text}' is no number") from None
    return np.array(scores)


def _write(folder: Path, names: List[str], templates: np.ndarray) -> None:
    with atomic_open(folder / "ids.txt", "w") as stream:
        stream.writelines(f"{name}\n" for name in names)
    with atomic_path(folder / "embeddings.npy") as temporary, open(temporary, "wb") as binary:
        np.save(binary, templates.astype(np.float32))


if __name__ == "__main__":
    run_command(main)
