"""Links to clusters: propagation of pseudo labels, connected components over a threshold, DBSCAN."""
from typing import List, Tuple

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.cluster import DBSCAN

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
    """Clusters (n,) by pseudo-label propagation (paper_tables.md, section 4.8, step 4).

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
