"""Semi-hard triplets of a bag against a double loop in float64, and their order in thirds."""
from arcface_mxnet.recognition.engine.sampler import in_thirds, semi_hard_triplets
from tests.recognition.loss_lab import unit

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


def chance(seed=0):
    return np.random.Generator(np.random.Philox(seed))


def by_double_loop(embeddings, labels, alpha, max_ap, random):
    """Every anchor and positive behind it in the bag, any negative with d_ap < d_an and d_an - d_ap < alpha."""
    x = unit(embeddings.astype(np.float64))

    def d(i, j):
        return sum((x[i, k] - x[j, k]) ** 2 for k in range(x.shape[1]))

    found = []
    for a in range(len(x)):
        for p in range(a + 1, len(x)):
            if labels[a] != labels[p] or (max_ap > 0 and d(a, p) > max_ap):
                continue
            negatives = [n for n in range(len(x))
                         if labels[n] != labels[a] and d(a, p) < d(a, n) and d(a, n) - d(a, p) < alpha]
            if negatives:
                found.append((a, p, negatives[random.integers(len(negatives))]))
    return [found[place] for place in random.permutation(len(found))]


def bag(seed, identities, spread=0.8):
    """Embeddings of identities of 1 to 5 images, side by side, of very different lengths."""
    random = np.random.RandomState(seed)
    labels = np.repeat(random.permutation(100)[:identities], random.randint(1, 6, identities))
    _, place = np.unique(labels, return_inverse=True)
    embeddings = random.randn(identities, 4)[place] + spread * random.randn(len(labels), 4)
    return embeddings * random.uniform(0.1, 30, (len(labels), 1)), labels


@pytest.mark.parametrize("alpha, max_ap", [(0.3, 0.0), (0.35, 0.0), (0.05, 0.0), (0.3, 0.4)])
def test_the_triplets_are_those_of_a_double_loop(alpha, max_ap):
    for seed in range(4):
        embeddings, labels = bag(seed, 8)
        expected = by_double_loop(embeddings, labels, alpha, max_ap, chance(seed))
        found = semi_hard_triplets(embeddings.astype(np.float64), labels, alpha, max_ap, chance(seed))
        assert found.dtype == np.int64 and found.shape == (len(expected), 3)
        assert found.tolist() == [list(triplet) for triplet in expected]
    assert len(expected) > 5


@given(st.integers(0, 10 ** 6), st.floats(0.05, 1.0))
@settings(max_examples=25)
def test_each_is_semi_hard_and_no_pair_comes_twice(seed, alpha):
    embeddings, labels = bag(seed, 6)
    found = semi_hard_triplets(embeddings.astype(np.float32), labels, alpha, 0.0, chance(seed))
    x = unit(embeddings)
    near = ((x[found[:, 0]] - x[found[:, 1]]) ** 2).sum(1)
    far = ((x[found[:, 0]] - x[found[:, 2]]) ** 2).sum(1)
    assert (labels[found[:, 0]] == labels[found[:, 1]]).all() and (labels[found[:, 0]] != labels[found[:, 2]]).all()
    assert (near < far + 1e-6).all() and (far - near < alpha + 1e-6).all()
    assert len({(a, p) for a, p, _ in found.tolist()}) == len(found)


def test_nothing_is_found_where_every_negative_is_far_or_nearer():
    apart = np.array([[1.0, 0], [1, 0.01], [-1, 0], [-1, 0.01]])
    assert semi_hard_triplets(apart, np.array([0, 0, 1, 1]), 0.3, 0.0, chance()).shape == (0, 3)
    angles = np.radians([0, 170, 10, 200])  # each pair is 170 degrees apart, negatives 10 and 160
    nearer = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert semi_hard_triplets(nearer, np.array([0, 0, 1, 1]), 0.3, 0.0, chance()).shape == (0, 3)


def test_thirds_of_each_context_are_anchors_positives_and_negatives():
    triplets = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9], [10, 11, 12], [13, 14, 15]])
    assert in_thirds(triplets, 6).tolist() == [1, 4, 2, 5, 3, 6, 7, 10, 8, 11, 9, 12]
    assert in_thirds(triplets[:1], 6).tolist() == []
