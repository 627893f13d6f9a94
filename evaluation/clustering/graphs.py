"""Nearest neighbours of every image, and the instance pivot subgraphs that the linkage network looks at.

Wang et al. (docs/original.md, section 8.4): the subgraph of a pivot holds its k1 nearest neighbours and their
k2; node features are differences to the pivot; a node is joined to those of its u nearest neighbours that are in it.
"""
from dataclasses import dataclass
from typing import List, Tuple

from arcface_mxnet.evaluation.search import search
from arcface_mxnet.runtime.errors import InputError

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.cluster import DBSCAN


@dataclass(frozen=True)
class Hops:
    """Sizes of a subgraph: k1 neighbours of the pivot, k2 of each of them, u edges a node."""

    k1: int
    k2: int
    u: int

    @property
    def nodes(self) -> int:
        """Rows of a padded subgraph."""
        return self.k1 * (self.k2 + 1) + 1

    def within(self, images: int) -> "Hops":
        """The same for a set so small that an image has fewer neighbours."""
        most = images - 1
        return Hops(min(self.k1, most), min(self.k2, most), min(self.u, most))


TRAINING_HOPS, TESTING_HOPS = Hops(200, 10, 10), Hops(80, 5, 5)
"""The published sizes."""


def nearest_neighbours(features: np.ndarray, k: int) -> Tuple[np.ndarray, np.ndarray]:
    """The k nearest other rows of every row of (n, d), by cosine: int64 and float64 (n, k), nearest first.

    Raises InputError unless 1 <= k < n.
    """
    count = len(features)
    if not 1 <= k < count:
        raise InputError(f"{k} neighbours of {count} images: between 1 and {count - 1}")
    found = search(features, features, k + 1)
    itself = found.rows == np.arange(count)[:, None]
    itself[~itself.any(axis=1), -1] = True  # among more than k copies of an image the image may be missing
    return found.rows[~itself].reshape(count, k), found.cosines[~itself].reshape(count, k)


class Subgraphs:
    """Makes padded subgraphs of (n, d) unit features with their (n, K) neighbours, K >= k1, k2 and u."""

    def __init__(self, features: np.ndarray, neighbours: np.ndarray, hops: Hops) -> None:
        if neighbours.shape[1] < max(hops.k1, hops.k2, hops.u):
            raise InputError(f"{neighbours.shape[1]} neighbours an image where {hops} are needed")
        self._features, self._neighbours, self.hops = features, neighbours, hops
        self._place = np.full(len(features), -1, np.int64)

    def nodes(self, pivot: int) -> np.ndarray:
        """Rows of the subgraph: the k1 neighbours, nearest first, the pivot, then the second hop ascending."""
        first = self._neighbours[pivot, :self.hops.k1]
        second = np.setdiff1d(self._neighbours[first, :self.hops.k2], np.append(first, pivot))
        return np.concatenate([first, [pivot], second])

    def make(self, pivot: int) -> Tuple[np.ndarray, np.ndarray]:
        """(features (nodes, d) float32, adjacency (nodes, nodes) float32 with rows that sum to 1), padded by zeros."""
        rows = self.nodes(pivot)
        count = len(rows)
        features = np.zeros((self.hops.nodes, self._features.shape[1]), np.float32)
        features[:count] = self._features[rows] - self._features[pivot]
        adjacency = np.zeros((self.hops.nodes, self.hops.nodes), np.float32)
        self._place[rows] = np.arange(count)
        ends = self._place[self._neighbours[rows, :self.hops.u]]
        self._place[rows] = -1
        starts = np.repeat(np.arange(count), self.hops.u)
        inside = ends.ravel() >= 0
        adjacency[starts[inside], ends.ravel()[inside]] = 1
        adjacency[ends.ravel()[inside], starts[inside]] = 1
        adjacency /= np.maximum(adjacency.sum(axis=1, keepdims=True), 1)
        return features, adjacency

    def batch(self, pivots: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        """Subgraphs of several pivots: (b, nodes, d) and (b, nodes, nodes)."""
        made = [self.make(int(pivot)) for pivot in pivots]
        return np.stack([features for features, _ in made]), np.stack([adjacency for _, adjacency in made])


# Links to clusters: propagation of pseudo labels, connected components over a threshold, DBSCAN.


MOST_NODES = 900
STEP = 0.6
FIRST_THRESHOLD = 0.5
_NO_DISTANCE = 1e-12  # a sparse matrix drops what is exactly zero


def mutual_links(neighbours: np.ndarray, scores: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Undirected links of (n, k) directed ones: int64 (m, 2) with i < j, and the mean of the directions that exist."""
    count, k = neighbours.shape
    start, end = np.repeat(np.arange(count), k), neighbours.ravel()
    keys = np.minimum(start, end).astype(np.int64) * count + np.maximum(start, end)
    unique, position, times = np.unique(keys, return_inverse=True, return_counts=True)
    mean = np.bincount(position.ravel(), scores.ravel()) / times
    return np.stack(np.divmod(unique, count), axis=1), mean


def by_threshold(neighbours: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """Clusters (n,) as connected components of the links whose score is at least `threshold`."""
    links, mean = mutual_links(neighbours, scores)
    return _components(links[mean >= threshold], len(neighbours))


def by_propagation(neighbours: np.ndarray, scores: np.ndarray, most_nodes: int = MOST_NODES, step: float = STEP,
                   threshold: float = FIRST_THRESHOLD) -> np.ndarray:
    """Clusters (n,) by pseudo-label propagation (docs/original.md, section 8.4).

    Links below the threshold are cut; components of at most `most_nodes` are clusters; the rest is cut again at
    th + (1 - th) * step. The paper does not print the first threshold: 0.5, where a link is as likely as not, is our
    reading. A component whose remaining links all score above every threshold below 1 is taken as it is.
    """
    links, mean = mutual_links(neighbours, scores)
    labels = np.full(len(neighbours), -1, np.int64)
    waiting: List[np.ndarray] = [np.arange(len(neighbours))]
    following = 0
    while waiting:
        kept = mean >= threshold
        links, mean = links[kept], mean[kept]
        components = _components(links, len(neighbours))
        last = threshold >= 1 - 1e-6
        remaining = []
        for nodes in waiting:
            for group in _groups(nodes, components[nodes]):
                if len(group) <= most_nodes or last:
                    labels[group] = following
                    following += 1
                else:
                    remaining.append(group)
        waiting = remaining
        threshold += (1 - threshold) * step
    return labels


def by_dbscan(neighbours: np.ndarray, cosines: np.ndarray, radius: float, core: int) -> np.ndarray:
    """Clusters (n,) by DBSCAN over the cosine distance 1 - cos, restricted to the k nearest neighbours.

    `radius`: largest distance of neighbours; `core`: images, itself included, that make a core point (at most k + 1 can
    be seen). Every noise point is a cluster of its own.
    """
    count, k = neighbours.shape
    links, mean = mutual_links(neighbours, np.clip(1 - cosines, _NO_DISTANCE, 2))
    itself = np.arange(count)
    start, end = np.r_[links[:, 0], links[:, 1], itself], np.r_[links[:, 1], links[:, 0], itself]
    distances = np.r_[mean, mean, np.full(count, _NO_DISTANCE)]
    order = np.lexsort((distances, start))  # DBSCAN wants each row nearest first
    bounds = np.r_[0, np.cumsum(np.bincount(start, minlength=count))]
    graph = csr_matrix((distances[order], end[order], bounds), shape=(count, count))
    labels = DBSCAN(eps=radius, min_samples=core, metric="precomputed").fit(graph).labels_.astype(np.int64)
    noise = labels < 0
    labels[noise] = labels.max(initial=-1) + 1 + np.arange(noise.sum())
    return labels


def _components(links: np.ndarray, count: int) -> np.ndarray:
    graph = csr_matrix((np.ones(len(links), bool), (links[:, 0], links[:, 1])), shape=(count, count))
    return connected_components(graph, directed=False)[1]


def _groups(nodes: np.ndarray, labels: np.ndarray) -> List[np.ndarray]:
    order = np.argsort(labels, kind="stable")
    return np.split(nodes[order], np.flatnonzero(np.diff(labels[order])) + 1)
