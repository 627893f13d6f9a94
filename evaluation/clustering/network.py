"""The linkage network: four graph convolutions that say of each neighbour whether it is the pivot's person.

Y = ReLU([X || G X] W) with G = D^-1 A, sizes 512-512-256-256, the input normalised over the batch, a classifier of
256 units with PReLU, cross-entropy on the first hop only (docs/original.md, section 8.4).
"""
from dataclasses import dataclass
from typing import Dict, Iterator, Tuple

from arcface_mxnet.evaluation.clustering.graphs import Hops, Subgraphs
from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.graph.checkpoint import Checkpoint
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.progress import progress

import numpy as np

WIDTHS = (512, 512, 256, 256)


@dataclass(frozen=True)
class TrainingPlan:
    """The published recipe: SGD with momentum, the rate times 0.1 after every epoch."""

    epochs: int = 4
    rate: float = 0.01
    decay: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    batch: int = 16
    seed: int = 0


def linkage_symbol(k1: int, widths: Tuple[int, ...] = WIDTHS) -> sym.Symbol:
    """The graph: data_rows (b, nodes, d), data_adjacency (b, nodes, nodes), softmax_label (b * k1,) to (b * k1, 2)."""
    adjacency = sym.Variable("data_adjacency")
    rows = sym.BatchNorm(sym.Variable("data_rows"), axis=2, fix_gamma=True, eps=1e-5, name="bn0")
    for number, width in enumerate(widths, 1):
        around = sym.batch_dot(adjacency, rows, name=f"mean{number}")
        rows = sym.FullyConnected(sym.concat(rows, around, dim=2), num_hidden=width, flatten=False,
                                     name=f"conv{number}")
        rows = sym.Activation(rows, act_type="relu", name=f"relu{number}")
    first = sym.reshape(sym.slice_axis(rows, axis=1, begin=0, end=k1), shape=(-1, widths[-1]))
    hidden = sym.FullyConnected(first, num_hidden=widths[-1], name="classifier1")
    hidden = sym.LeakyReLU(hidden, act_type="prelu", name="classifier_relu")
    return sym.SoftmaxOutput(sym.FullyConnected(hidden, num_hidden=2, name="classifier2"),
                                normalization="batch", name="softmax")


def train_linkage(features: np.ndarray, neighbours: np.ndarray, labels: np.ndarray, hops: Hops,
                  plan: TrainingPlan, widths: Tuple[int, ...] = WIDTHS) -> Checkpoint:
    """Learn links from (n, d) unit features and (n,) classes; each image is a pivot once an epoch. Same seed, same net.

    The incomplete last batch of an epoch is left out unless it is the only one.
    """
    from arcface_mxnet.engines.mxnet.fitting import fit  # MXNet loads only where it is used

    graphs = Subgraphs(features, neighbours, hops)
    batch = min(plan.batch, len(features))
    rng = np.random.default_rng(plan.seed)
    symbol = linkage_symbol(hops.k1, widths)

    def batches() -> Iterator[Tuple[float, Dict[str, np.ndarray]]]:
        for epoch in range(plan.epochs):
            rate = plan.rate * plan.decay ** epoch
            order = rng.permutation(len(features))
            starts = range(0, len(features) - batch + 1, batch)
            for start in progress(starts, label=f"linkage network, epoch {epoch + 1}", unit="batches"):
                pivots = order[start:start + batch]
                same = labels[neighbours[pivots, :hops.k1]] == labels[pivots][:, None]
                yield rate, {**_inputs(graphs, pivots), "softmax_label": same.ravel()}

    return fit(symbol, _shapes(batch, hops, features.shape[1]), rng,
               ("sgd", {"momentum": plan.momentum, "wd": plan.weight_decay}), batches())


def link_probabilities(checkpoint: Checkpoint, features: np.ndarray, neighbours: np.ndarray, hops: Hops,
                       batch: int = 16) -> np.ndarray:
    """Probability that each of the k1 nearest neighbours is the image's person: float64 (n, k1).

    The network may have been trained with another k1: its parameters do not depend on it.
    """
    from arcface_mxnet.engines.mxnet.executor import Bound  # MXNet loads only where it is used

    graphs = Subgraphs(features, neighbours, hops)
    widths = tuple(checkpoint.args[f"conv{number}_weight"].shape[0] for number in range(1, len(WIDTHS) + 1))
    batch = min(batch, len(features))
    network = Bound(Checkpoint(linkage_symbol(hops.k1, widths), checkpoint.args, checkpoint.aux),
                    _shapes(batch, hops, features.shape[1]))
    found = np.empty((len(features), hops.k1))
    for start in progress(range(0, len(features), batch), label="links", unit="batches"):
        pivots = np.arange(start, min(start + batch, len(features)))
        rows = network.run(_inputs(graphs, np.resize(pivots, batch)))[0][:, 1].reshape(batch, hops.k1)
        found[pivots] = rows[:len(pivots)]
    return found


def _shapes(batch: int, hops: Hops, dimensions: int) -> Dict[str, Tuple[int, ...]]:
    return {"data_rows": (batch, hops.nodes, dimensions), "data_adjacency": (batch, hops.nodes, hops.nodes),
            "softmax_label": (batch * hops.k1,)}


def _inputs(graphs: Subgraphs, pivots: np.ndarray) -> Dict[str, np.ndarray]:
    features, adjacency = graphs.batch(pivots)
    return {"data_rows": features, "data_adjacency": adjacency}


# How good a clustering is: pairwise and BCubed precision, recall and F, and normalised mutual information.


@dataclass(frozen=True)
class ClusterScores:
    """Figures of 0..1; the pairwise ones are over unordered pairs of images, the BCubed ones means over images."""

    pairwise_precision: float
    pairwise_recall: float
    pairwise_f: float
    bcubed_precision: float
    bcubed_recall: float
    bcubed_f: float
    nmi: float
    clusters: int
    images: int


def cluster_scores(truth: np.ndarray, clusters: np.ndarray) -> ClusterScores:
    """Compare (n,) true classes with (n,) clusters, both integers of any numbering.

    Everything follows from how many images each (class, cluster) shares; no pair is looked at. Without any pair in one
    cluster the pairwise precision is 1 (nothing was claimed), without any genuine pair the recall is. NMI is the mutual
    information over the arithmetic mean of the entropies (1 when both are zero), as scikit-learn's. Raises InputError
    for lengths that differ.
    """
    truth, clusters = np.asarray(truth), np.asarray(clusters)
    if truth.shape != clusters.shape or truth.ndim != 1 or not len(truth):
        raise InputError(f"{truth.shape} classes and {clusters.shape} clusters; one of each per image is needed")
    _, classes = np.unique(truth, return_inverse=True)
    _, groups = np.unique(clusters, return_inverse=True)
    class_sizes, group_sizes = np.bincount(classes).astype(float), np.bincount(groups).astype(float)
    cells, shared = np.unique(classes.astype(np.int64) * len(group_sizes) + groups, return_counts=True)
    row, column = np.divmod(cells, len(group_sizes))
    shared = shared.astype(float)
    both, claimed, genuine = _pairs(shared), _pairs(group_sizes), _pairs(class_sizes)
    precision = both / claimed if claimed else 1.0
    recall = both / genuine if genuine else 1.0
    bcubed_precision = float((shared ** 2 / group_sizes[column]).sum() / len(truth))
    bcubed_recall = float((shared ** 2 / class_sizes[row]).sum() / len(truth))
    return ClusterScores(precision, recall, _harmonic(precision, recall), bcubed_precision, bcubed_recall,
                         _harmonic(bcubed_precision, bcubed_recall),
                         _mutual_information(shared, class_sizes[row], group_sizes[column], class_sizes, group_sizes),
                         len(group_sizes), len(truth))


def _pairs(sizes: np.ndarray) -> float:
    return float((sizes * (sizes - 1)).sum() / 2)


def _mutual_information(shared: np.ndarray, of_class: np.ndarray, of_group: np.ndarray, class_sizes: np.ndarray,
                        group_sizes: np.ndarray) -> float:
    total = shared.sum()
    information = float((shared / total * np.log(shared * total / (of_class * of_group))).sum())
    entropies = sum(float(-(sizes / total * np.log(sizes / total)).sum()) for sizes in (class_sizes, group_sizes))
    return min(max(2 * information / entropies, 0.0), 1.0) if entropies else 1.0


def _harmonic(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
