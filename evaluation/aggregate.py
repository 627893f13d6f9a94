"""One embedding for a set of images: the mean, or a mean weighted by detector score, by norm or by learned quality."""
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

from arcface_mxnet.evaluation.angles import read_labels
from arcface_mxnet.evaluation.command import add_out_flag, load_features, model_hashes, parser, read_ids
from arcface_mxnet.evaluation.features import normalise
from arcface_mxnet.evaluation.results import About, Entry, file_hashes, write_results
from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.graph.checkpoint import Checkpoint, load, parse_model, save
from arcface_mxnet.runtime.arguments import Parser
from arcface_mxnet.runtime.errors import InputError, run_command
from arcface_mxnet.runtime.files import atomic_open, atomic_path
from arcface_mxnet.runtime.progress import progress
from arcface_mxnet.runtime.text import real_number

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
            raise InputError("--rule quality needs --quality-model PREFIX,EPOCH or --train-features and --train-labels")
        return predict_quality(quality, embeddings)
    return None


def build_parser() -> Parser:
    """The command line."""
    flags = parser("One embedding per set of images.",
                   "python evaluation/aggregate.py --features f/embeddings.npy --groups templates.txt --rule norm "
                   "--out results/templates")
    flags.add_argument("--features", required=True, metavar="FILE.npy", help="embeddings (n, d), not normalised")
    flags.add_argument("--groups", required=True, metavar="FILE", help="name of each image's set, one a line")
    flags.add_argument("--rule", default="mean", choices=RULES, help="weights of the images of a set (default mean)")
    flags.add_argument("--scores", metavar="FILE", help="detector score of each image, one a line")
    flags.add_argument("--quality-model", metavar="PREFIX,EPOCH", help="a quality network trained before")
    flags.add_argument("--train-features", metavar="FILE.npy", help="embeddings to learn quality from")
    flags.add_argument("--train-labels", metavar="FILE", help="their classes")
    flags.add_argument("--max-steps", type=int, default=QualityPlan.steps, help="of learning quality (default 300)")
    flags.add_argument("--seed", type=int, default=0, help="of learning quality")
    flags.renamed("--quality", to="--quality-model")
    flags.renamed("--steps", to="--max-steps")
    add_out_flag(flags)
    return flags


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Aggregate saved features by group."""
    options = build_parser().parse_args(argv)
    features = load_features(options.features)
    groups = read_ids(options.groups, len(features))
    scores = read_scores(options.scores, len(features)) if options.scores else None
    quality: Optional[Checkpoint] = None
    model: Dict[str, str] = {}
    if options.rule == "quality" and options.quality_model:
        quality, model = load(*parse_model(options.quality_model)), model_hashes(options.quality_model)
    elif options.rule == "quality" and options.train_features and options.train_labels:
        known = load_features(options.train_features, dimensions=features.shape[1])
        labels = read_labels(options.train_labels, len(known))
        quality = train_quality(np.asarray(known), labels, QualityPlan(steps=options.max_steps, seed=options.seed))
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
    return np.array([real_number(text, f"{path}: line {number}") for number,
                     text in enumerate(read_ids(path, rows), 1)])


def _write(folder: Path, names: List[str], templates: np.ndarray) -> None:
    with atomic_open(folder / "ids.txt", "w") as stream:
        stream.writelines(f"{name}\n" for name in names)
    with atomic_path(folder / "embeddings.npy") as temporary, open(temporary, "wb") as binary:
        np.save(binary, templates.astype(np.float32))


# Quality learned for aggregation, after QAN (docs/original.md, section 8.7): R_a = sum mu_i R_i / sum mu_i.
#
# mu_i = Q(.) in (0, 1) is learned from a set triplet loss max(0, |R_a - R_p|^2 - |R_a - R_n|^2 + delta), without any
# label of quality. In the paper Q is a branch of the image network; here, where only embeddings are at hand, Q is a
# small network on the un-normalised embedding (its direction and the logarithm of its norm), and the per-image
# softmax of the paper, which trains the image network, is left out. That is our reading for frozen embeddings.


HIDDEN = 64
_SMALLEST_NORM = 1e-12


@dataclass(frozen=True)
class QualityPlan:
    """How Q is trained: sets of `set_size` images, `triplets` of them a step, margin delta, Adam."""

    steps: int = 300
    triplets: int = 32
    set_size: int = 4
    delta: float = 0.3
    rate: float = 3e-3
    seed: int = 0


def quality_inputs(embeddings: np.ndarray) -> np.ndarray:
    """(n, d) un-normalised embeddings to float32 (n, d + 1): the unit row, and the logarithm of its norm."""
    rows = np.asarray(embeddings, np.float64)
    lengths = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), _SMALLEST_NORM)
    return np.hstack([rows / lengths, np.log(lengths)]).astype(np.float32)


def quality_symbol(data: sym.Symbol) -> sym.Symbol:
    """data_rows (n, d + 1) to quality (n, 1) in (0, 1); the norm's scale is learned away by a normalisation."""
    rows = sym.BatchNorm(data, fix_gamma=True, eps=1e-5, name="quality_bn")
    rows = sym.FullyConnected(rows, num_hidden=HIDDEN, name="quality_fc1")
    rows = sym.Activation(rows, act_type="tanh", name="quality_tanh")
    return sym.sigmoid(sym.FullyConnected(rows, num_hidden=1, name="quality_fc2"), name="quality")


def set_triplet_symbol(triplets: int, set_size: int, delta: float) -> sym.Symbol:
    """The mean set triplet loss; data_rows: `triplets` anchors, positives and negatives of `set_size` images."""
    data = sym.Variable("data_rows")
    weights = sym.reshape(quality_symbol(data), shape=(3 * triplets, set_size, 1))
    units = sym.slice_axis(data, axis=1, begin=0, end=-1)
    sets = sym.reshape(units, shape=(3 * triplets, set_size, -1))
    weighted = sym.sum(sym.broadcast_mul(sets, weights), axis=1)
    pooled = sym.broadcast_div(weighted, sym.sum(weights, axis=1))
    anchor, positive, negative = sym.split(pooled, num_outputs=3, axis=0)
    gap = sym.sum(sym.square(anchor - positive), axis=1) - sym.sum(sym.square(anchor - negative), axis=1)
    return sym.MakeLoss(sym.mean(sym.relu(gap + delta)), name="set_triplet")


def train_quality(embeddings: np.ndarray, labels: np.ndarray, plan: QualityPlan) -> Checkpoint:
    """Learn Q from (n, d) un-normalised embeddings with (n,) classes. Same seed, same Q.

    Raises InputError unless two classes have two sets' worth of images (2 * set_size).
    """
    from arcface_mxnet.engines.mxnet.fitting import fit  # MXNet loads only where it is used

    inputs = quality_inputs(embeddings)
    order = np.argsort(labels, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(np.asarray(labels)[order])) + 1)
    usable = [group for group in groups if len(group) >= 2 * plan.set_size]
    if len(usable) < 2:
        raise InputError(f"learning quality needs two classes of {2 * plan.set_size} images; found {len(usable)}; "
                         "give more images a class or smaller sets")
    rng = np.random.default_rng(plan.seed)
    symbol = set_triplet_symbol(plan.triplets, plan.set_size, plan.delta)
    shapes = {"data_rows": (3 * plan.triplets * plan.set_size, inputs.shape[1])}
    batches = ((plan.rate, {"data_rows": inputs[_draw_triplets(usable, plan, rng)]})
               for _ in progress(range(plan.steps), label="quality", unit="steps"))
    learnt = fit(symbol, shapes, rng, ("adam", {}), batches)
    return Checkpoint(quality_symbol(sym.Variable("data_rows")), learnt.args, learnt.aux)


def predict_quality(checkpoint: Checkpoint, embeddings: np.ndarray, block: int = 4096) -> np.ndarray:
    """Quality in (0, 1) of (n, d) un-normalised embeddings: float64 (n,)."""
    from arcface_mxnet.engines.mxnet.executor import forward  # MXNet loads only where it is used

    found: List[np.ndarray] = []
    for start in range(0, len(embeddings), block):
        inputs = quality_inputs(embeddings[start:start + block])
        found.append(forward(checkpoint, {"data_rows": inputs})[0][:, 0].astype(np.float64))
    return np.concatenate(found)


def _draw_triplets(groups: List[np.ndarray], plan: QualityPlan, rng: np.random.Generator) -> np.ndarray:
    """Rows of anchors, then positives (same class, other images), then negatives (another class)."""
    anchors, positives, negatives = [], [], []
    for _ in range(plan.triplets):
        own, other = rng.choice(len(groups), 2, replace=False)
        drawn = rng.choice(groups[own], 2 * plan.set_size, replace=False)
        anchors.append(drawn[:plan.set_size])
        positives.append(drawn[plan.set_size:])
        negatives.append(rng.choice(groups[other], plan.set_size, replace=False))
    return np.concatenate(anchors + positives + negatives)


if __name__ == "__main__":
    run_command(main)
