"""Quality learned for aggregation, after QAN (CVPR 2017; paper_tables.md, section 4.7): R_a = sum mu_i R_i / sum mu_i.

mu_i = Q(.) in (0, 1) is learned from a set triplet loss max(0, |R_a - R_p|^2 - |R_a - R_n|^2 + delta), without any
label of quality. In the paper Q is a branch of the image network; here, where only embeddings are at hand, Q is a small
network on the un-normalised embedding (its direction and the logarithm of its norm), and the per-image softmax of the
paper, which trains the image network, is left out. That is our reading for frozen embeddings.
"""
from dataclasses import dataclass
from typing import List

from arcface_mxnet.evaluation.fitting import bind, checkpoint_of, fit, initialise
from arcface_mxnet.graph.checkpoint import Checkpoint
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.mx import mx
from arcface_mxnet.runtime.progress import progress

import numpy as np

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


def quality_symbol(data: "mx.sym.Symbol") -> "mx.sym.Symbol":
    """data_rows (n, d + 1) to quality (n, 1) in (0, 1); the norm's scale is learned away by a normalisation."""
    rows = mx.sym.BatchNorm(data, fix_gamma=True, eps=1e-5, name="quality_bn")
    rows = mx.sym.FullyConnected(rows, num_hidden=HIDDEN, name="quality_fc1")
    rows = mx.sym.Activation(rows, act_type="tanh", name="quality_tanh")
    return mx.sym.sigmoid(mx.sym.FullyConnected(rows, num_hidden=1, name="quality_fc2"), name="quality")


def set_triplet_symbol(triplets: int, set_size: int, delta: float) -> "mx.sym.Symbol":
    """The mean set triplet loss; data_rows: `triplets` anchors, positives and negatives of `set_size` images."""
    data = mx.sym.Variable("data_rows")
    weights = mx.sym.reshape(quality_symbol(data), shape=(3 * triplets, set_size, 1))
    units = mx.sym.slice_axis(data, axis=1, begin=0, end=-1)
    sets = mx.sym.reshape(units, shape=(3 * triplets, set_size, -1))
    weighted = mx.sym.sum(mx.sym.broadcast_mul(sets, weights), axis=1)
    pooled = mx.sym.broadcast_div(weighted, mx.sym.sum(weights, axis=1))
    anchor, positive, negative = mx.sym.split(pooled, num_outputs=3, axis=0)
    gap = mx.sym.sum(mx.sym.square(anchor - positive), axis=1) - mx.sym.sum(mx.sym.square(anchor - negative), axis=1)
    return mx.sym.MakeLoss(mx.sym.mean(mx.sym.relu(gap + delta)), name="set_triplet")


def train_quality(embeddings: np.ndarray, labels: np.ndarray, plan: QualityPlan) -> Checkpoint:
    """Learn Q from (n, d) un-normalised embeddings with (n,) classes. Same seed, same Q.

    Raises InputError unless two classes have two sets' worth of images (2 * set_size).
    """
    inputs = quality_inputs(embeddings)
    order = np.argsort(labels, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(np.asarray(labels)[order])) + 1)
    usable = [group for group in groups if len(group) >= 2 * plan.set_size]
    if len(usable) < 2:
        raise InputError(f"learning quality needs two classes of {2 * plan.set_size} images; found {len(usable)}; "
                         "give more images a class or smaller sets")
    rng = np.random.default_rng(plan.seed)
    symbol = set_triplet_symbol(plan.triplets, plan.set_size, plan.delta)
    executor = bind(symbol, {"data_rows": (3 * plan.triplets * plan.set_size, inputs.shape[1])}, learn=True)
    initialise(executor, rng)
    fit(executor, mx.optimizer.Adam(learning_rate=plan.rate),
        ({"data_rows": inputs[_draw_triplets(usable, plan, rng)]}
         for _ in progress(range(plan.steps), label="quality", unit="steps")))
    return checkpoint_of(executor, quality_symbol(mx.sym.Variable("data_rows")))


def predict_quality(checkpoint: Checkpoint, embeddings: np.ndarray, block: int = 4096) -> np.ndarray:
    """Quality in (0, 1) of (n, d) un-normalised embeddings: float64 (n,)."""
    found: List[np.ndarray] = []
    for start in range(0, len(embeddings), block):
        inputs = quality_inputs(embeddings[start:start + block])
        executor = checkpoint.symbol.bind(mx.cpu(), dict(checkpoint.args, data_rows=mx.nd.array(inputs)),
                                          aux_states=checkpoint.aux, grad_req="null")
        found.append(executor.forward(is_train=False)[0].asnumpy()[:, 0].astype(np.float64))
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
