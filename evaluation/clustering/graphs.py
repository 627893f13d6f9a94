"""Nearest neighbours of every image, and the instance pivot subgraphs that the linkage network looks at.

Wang et al., CVPR 2019 (paper_tables.md, section 4.8): the subgraph of a pivot holds its k1 nearest neighbours and their
k2; node features are differences to the pivot; a node is joined to those of its u nearest neighbours that are in it.
"""
from dataclasses import dataclass
from typing import Tuple

from arcface_mxnet.evaluation.search import search
from arcface_mxnet.runtime.errors import InputError

import numpy as np


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
