"""Clustering: scores by looking at every pair, subgraphs and the network by hand, merges by flood fill."""
import itertools
import json

from arcface_mxnet.evaluation.clustering import graphs as merge
from arcface_mxnet.evaluation.clustering import network
from arcface_mxnet.evaluation.clustering.__main__ import main
from arcface_mxnet.evaluation.clustering.graphs import Hops, Subgraphs, nearest_neighbours
from arcface_mxnet.evaluation.clustering.network import cluster_scores
from arcface_mxnet.evaluation.features import normalise
from arcface_mxnet.runtime.errors import InputError

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import DBSCAN
from sklearn.metrics import normalized_mutual_info_score, roc_auc_score

NUMBERS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=25)


def ratio(part, whole):
    return part / whole if whole else 1.0


@settings(max_examples=80)
@given(NUMBERS)
@pytest.mark.filterwarnings("ignore")
def test_scores_look_at_every_pair_and_image(rows):
    truth, found = np.array(rows).T
    pairs = list(itertools.combinations(range(len(rows)), 2))
    both = sum(truth[i] == truth[j] and found[i] == found[j] for i, j in pairs)
    precision = ratio(both, sum(found[i] == found[j] for i, j in pairs))
    recall = ratio(both, sum(truth[i] == truth[j] for i, j in pairs))
    scores = cluster_scores(truth, found * 7 - 3)
    assert (scores.pairwise_precision, scores.pairwise_recall) == (precision, recall)
    assert scores.pairwise_f == pytest.approx(2 * precision * recall / ((precision + recall) or 1))
    bcubed = np.mean([np.mean(truth[found == found[i]] == truth[i]) for i in range(len(rows))])
    assert scores.bcubed_precision == pytest.approx(bcubed)
    assert scores.bcubed_recall == pytest.approx(np.mean([np.mean(found[truth == truth[i]] == found[i])
                                                          for i in range(len(rows))]))
    assert scores.nmi == pytest.approx(normalized_mutual_info_score(truth, found), abs=1e-9)


def faces(seed, people, spread=0.8, dimensions=16):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(people), rng.integers(5, 10, people))
    centres = normalise(rng.normal(size=(people, dimensions)))
    noise = rng.normal(size=(len(labels), dimensions)) * spread / np.sqrt(dimensions)
    return normalise(centres[labels] + noise).astype(np.float32), labels


def test_neighbours_leave_the_image_out_even_among_copies():
    rows = np.repeat(np.eye(3, dtype=np.float32), 4, axis=0)
    found, cosines = nearest_neighbours(rows, 2)
    for image in range(12):
        assert image not in found[image] and set(found[image] // 4) == {image // 4}
    assert (cosines == 1).all()
    with pytest.raises(InputError, match="12 neighbours of 12 images"):
        nearest_neighbours(rows, 12)


def test_a_subgraph_is_what_the_paper_says():
    features, _ = faces(0, 6)
    neighbours, _ = nearest_neighbours(features, 6)
    hops = Hops(5, 2, 3)
    graphs = Subgraphs(features, neighbours, hops)
    for pivot in (0, 7, 20):
        rows = graphs.nodes(pivot).tolist()
        first = neighbours[pivot, :5].tolist()
        second = {q for p in first for q in neighbours[p, :2]} - set(first) - {pivot}
        assert rows[:5] == first and rows[5] == pivot and rows[6:] == sorted(second)
        made, adjacency = graphs.make(pivot)
        links = np.zeros((hops.nodes, hops.nodes))
        for i, a in enumerate(rows):
            for b in neighbours[a, :3]:
                if b in rows:
                    links[i, rows.index(b)] = links[rows.index(b), i] = 1
        for row, expected in zip(adjacency, links):
            np.testing.assert_allclose(row, expected / max(expected.sum(), 1))
        np.testing.assert_array_equal(made[:len(rows)], features[rows] - features[pivot])
        assert not made[len(rows):].any() and not adjacency[len(rows):].any()


def network_by_hand(args, aux, data, adjacency, k1):
    """The linkage network in float64, layer by layer."""
    value = {name: array.astype(float) for name, array in {**args, **aux}.items()}
    rows = (data - value["bn0_moving_mean"]) / np.sqrt(value["bn0_moving_var"] + 1e-5) + value["bn0_beta"]
    for number in range(1, 5):
        both = np.concatenate([rows, np.einsum("bij,bjd->bid", adjacency, rows)], axis=2)
        rows = np.maximum(both @ value[f"conv{number}_weight"].T + value[f"conv{number}_bias"], 0)
    hidden = rows[:, :k1].reshape(-1, rows.shape[2]) @ value["classifier1_weight"].T + value["classifier1_bias"]
    hidden = np.where(hidden > 0, hidden, hidden * value["classifier_relu_gamma"])
    logits = hidden @ value["classifier2_weight"].T + value["classifier2_bias"]
    return 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))


def test_the_network_is_its_formula_and_learns_links_of_strangers():
    hops, widths = Hops(6, 2, 3), (24, 24, 16, 16)
    features, labels = faces(0, 80)
    neighbours, _ = nearest_neighbours(features, 6)
    plan = network.TrainingPlan(epochs=4, rate=0.1, decay=0.5)
    learnt = network.train_linkage(features, neighbours, labels, hops, plan, widths)
    others, truth = faces(5, 20)
    around, _ = nearest_neighbours(others, 6)
    found = network.link_probabilities(learnt, others, around, hops, batch=7)
    data, adjacency = Subgraphs(others, around, hops).batch(np.arange(5))
    by_hand = network_by_hand(learnt.args, learnt.aux, data, adjacency, 6)
    np.testing.assert_allclose(found[:5].ravel(), by_hand, atol=1e-5)
    assert roc_auc_score((truth[around] == truth[:, None]).ravel(), found.ravel()) > 0.75
    again = network.train_linkage(features, neighbours, labels, hops, plan, widths)
    assert all((learnt.args[name] == again.args[name]).all() for name in learnt.args)


def flood(links, count):
    """Connected components by walking."""
    around = {node: {b for a, b in links if a == node} | {a for a, b in links if b == node} for node in range(count)}
    labels, following = [-1] * count, 0
    for start in range(count):
        waiting = [start] if labels[start] < 0 else []
        while waiting:
            node = waiting.pop()
            if labels[node] < 0:
                labels[node] = following
                waiting += around[node]
        following += 1
    return np.array(labels)


def same_partition(a, b):
    return ((a[:, None] == a) == (b[:, None] == b)).all()


def random_links(seed, count=24, k=4):
    rng = np.random.default_rng(seed)
    neighbours = np.array([rng.permutation(np.delete(np.arange(count), i))[:k] for i in range(count)])
    return neighbours, rng.random((count, k)).round(2)


def averaged(neighbours, scores):
    table = {}
    for i, (row, values) in enumerate(zip(neighbours, scores)):
        for j, value in zip(row, values):
            table.setdefault((min(i, j), max(i, j)), []).append(value)
    return {link: np.mean(values) for link, values in table.items()}


@pytest.mark.parametrize("seed", range(4))
def test_a_threshold_gives_connected_components(seed):
    neighbours, scores = random_links(seed)
    for threshold in (0.0, 0.5, 0.8, 1.1):
        links = [link for link, value in averaged(neighbours, scores).items() if value >= threshold]
        assert same_partition(merge.by_threshold(neighbours, scores, threshold), flood(links, 24))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("most", [1, 3, 6, 24])
def test_propagation_cuts_what_is_too_large_again(seed, most):
    neighbours, scores = random_links(seed)
    table = averaged(neighbours, scores)
    expected, following, waiting, threshold = np.full(24, -1), 0, [set(range(24))], 0.3
    while waiting:
        labels = flood([link for link, value in table.items() if value >= threshold], 24)
        remaining = []
        for nodes in waiting:
            for label in sorted({labels[node] for node in nodes}):
                group = {node for node in nodes if labels[node] == label}
                if len(group) <= most or threshold >= 1 - 1e-6:
                    expected[list(group)] = following
                    following += 1
                else:
                    remaining.append(group)
        waiting, threshold = remaining, threshold + (1 - threshold) * 0.6
    assert same_partition(merge.by_propagation(neighbours, scores, most, 0.6, 0.3), expected)


def test_dbscan_over_all_neighbours_is_dbscan():
    features, _ = faces(3, 8, 0.5)
    neighbours, cosines = nearest_neighbours(features, len(features) - 1)
    for radius, core in ((0.1, 2), (0.2, 4), (0.5, 3)):
        expected = DBSCAN(eps=radius, min_samples=core, metric="cosine").fit(features.astype(float)).labels_
        noise = expected < 0
        expected[noise] = 1000 + np.arange(noise.sum())
        assert same_partition(merge.by_dbscan(neighbours, cosines, radius, core), expected)


@pytest.fixture
def files(tmp_path):
    for name, seed in (("train", 0), ("test", 1)):
        features, labels = faces(seed, 12)
        np.save(tmp_path / f"{name}.npy", features)
        (tmp_path / f"{name}.txt").write_text("".join(f"{label}\n" for label in labels))
    return tmp_path


def test_the_command_clusters_by_each_method(files, capsys):
    common = ["--features", str(files / "test.npy"), "--labels", str(files / "test.txt"), "--hops", "6,2,3"]
    main([*common, "--method", "gcn", "--train-features", str(files / "train.npy"), "--train-labels",
          str(files / "train.txt"), "--train-hops", "6,2,3", "--epochs", "1", "--out", str(files / "gcn")])
    main([*common, "--method", "gcn", "--model", f"{files}/gcn/linkage,0", "--out", str(files / "again")])
    assert (files / "gcn" / "clusters.txt").read_text() == (files / "again" / "clusters.txt").read_text()
    for method in ("threshold", "dbscan"):
        main([*common, "--method", method, "--threshold", "0.6", "--out", str(files / method)])
        stored = json.loads((files / method / "result.json").read_text())[method]
        clusters = np.loadtxt(files / method / "clusters.txt", dtype=int)
        assert stored["bcubed_f"] == cluster_scores(np.loadtxt(files / "test.txt", dtype=int), clusters).bcubed_f
    assert "BCubed F" in capsys.readouterr().out


@pytest.mark.parametrize("flags, words", [
    (["--method", "threshold"], "needs --threshold"),
    (["--method", "gcn"], "needs --network"),
    (["--method", "threshold", "--threshold", "0.5", "--hops", "6"], "expected K1,K2,U"),
])
def test_unusable_requests_are_refused(files, flags, words):
    with pytest.raises(InputError, match=words):
        main(["--features", str(files / "test.npy"), *flags, "--out", str(files / "out")])


def test_one_identity_has_no_score(files):
    (files / "one.txt").write_text("7\n" * len(np.load(files / "test.npy")))
    with pytest.raises(InputError, match="one.txt: every image is of class 7; clusters of one identity have no score"):
        main(["--features", str(files / "test.npy"), "--labels", str(files / "one.txt"), "--method", "threshold",
              "--threshold",
              "0.5", "--out", str(files / "out")])
