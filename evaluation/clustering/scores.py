"""How good a clustering is: pairwise and BCubed precision, recall and F, and normalised mutual information."""
from dataclasses import dataclass

from arcface_mxnet.runtime.errors import InputError

import numpy as np


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
