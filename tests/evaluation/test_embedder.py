"""Embeddings: batch sizes, flips, several models, new values, and the published network's golden numbers."""
import os

from arcface_mxnet.datasets.pairs import read_pack
from arcface_mxnet.engines.base import installed, place
from arcface_mxnet.engines.mxnet.executor import has_depthwise
from arcface_mxnet.engines.mxnet.mx import subgraphs_off
from arcface_mxnet.evaluation.embedder import Embedder
from arcface_mxnet.evaluation.verification import evaluate_pack
from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.graph.checkpoint import Checkpoint, load, save
from arcface_mxnet.runtime.errors import InputError

import numpy as np
import pytest

CPU = place("mxnet", "cpu")


def images(count, seed=1):
    return np.random.default_rng(seed).integers(0, 256, (count, 3, 16, 16), np.uint8)


@pytest.mark.parametrize("groups", [1, 8])
@pytest.mark.parametrize("count, batch", [(1, 8), (7, 8), (8, 8), (19, 8), (5, 1)])
def test_rows_do_not_depend_on_the_batch(groups, count, batch, small):
    rows = Embedder(small(groups=groups), CPU, batch, exact=True).embed(images(count))
    single = Embedder(small(groups=groups), CPU, 1, exact=True)
    assert rows.shape == (count, 5) and rows.dtype == np.float32
    np.testing.assert_allclose(rows, np.concatenate([single.embed(one[None]) for one in images(count)]),
                               rtol=1e-4, atol=1e-5)


def test_the_second_forward_of_a_depthwise_network_works_and_leaves_no_setting(monkeypatch, small):
    monkeypatch.delenv("MXNET_SUBGRAPH_BACKEND", raising=False)
    checkpoint = small(groups=8, tail=True)
    assert has_depthwise(checkpoint.symbol) and not has_depthwise(small().symbol)
    embedder = Embedder(checkpoint, CPU, 4, exact=True)
    np.testing.assert_array_equal(embedder.embed(images(4)), embedder.embed(images(4)))
    assert "MXNET_SUBGRAPH_BACKEND" not in os.environ
    monkeypatch.setenv("MXNET_SUBGRAPH_BACKEND", "mine")
    with subgraphs_off():
        assert os.environ["MXNET_SUBGRAPH_BACKEND"] == "mine"


@pytest.mark.parametrize("groups", [1, 8])
def test_the_fast_graph_gives_the_stored_graphs_rows(groups, small):
    stored, fast = (Embedder(small(groups=groups, tail=groups > 1), CPU, 4, exact=exact).embed(images(9), "sum")
                    for exact in (True, False))
    np.testing.assert_allclose(fast, stored, rtol=1e-4, atol=1e-5)


def test_flips_are_made_of_both_passes(small):
    embedder = Embedder(small(), CPU, 4)
    plain, mirrored = embedder.embed(images(6)), embedder.embed(images(6)[..., ::-1])
    assert not np.allclose(plain, mirrored)
    np.testing.assert_allclose(embedder.embed(images(6), "sum"), plain + mirrored, rtol=1e-6)
    np.testing.assert_array_equal(embedder.embed(images(6), "concatenate"), np.hstack([plain, mirrored]))
    np.testing.assert_array_equal(embedder.embed(images(6).astype(np.float32)), plain)


def test_several_models_are_normalised_and_joined(small):
    rows = Embedder([small(0, 5), small(3, 7)], CPU, 4).embed(images(6), "sum")
    assert rows.shape == (6, 12)
    np.testing.assert_allclose(np.linalg.norm(rows[:, :5], axis=1), 1, rtol=1e-5)
    other = Embedder(small(3, 7), CPU, 4).embed(images(6), "sum")
    np.testing.assert_allclose(rows[:, 5:], other / np.linalg.norm(other, axis=1, keepdims=True), rtol=1e-4, atol=1e-6)


def test_several_contexts_give_the_same_rows(small):
    one = Embedder(small(), CPU, 4).embed(images(19))
    two = Embedder(small(), place("mxnet", "cpu:2"), 4).embed(images(19))
    np.testing.assert_allclose(two, one, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("exact", [True, False])
def test_new_values_are_taken_and_old_ones_untouched(exact, small):
    first, second = small(0), small(9)
    embedder = Embedder(first, CPU, 4, exact)
    before = embedder.embed(images(6))
    embedder.update(second.args, second.aux)
    np.testing.assert_allclose(embedder.embed(images(6)), Embedder(second, CPU, 4, exact).embed(images(6)),
                               rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(Embedder(first, CPU, 4, exact).embed(images(6)), before)


def test_a_training_head_is_cut_away(small):
    body = small()
    head = sym.SoftmaxOutput(sym.FullyConnected(body.symbol, num_hidden=3, name="fc7"), name="softmax")
    args = dict(body.args, fc7_weight=np.ones((3, 5), "float32"), fc7_bias=np.zeros(3, "float32"))
    np.testing.assert_array_equal(Embedder(Checkpoint(head, args, body.aux), CPU, 4).embed(images(5)),
                                  Embedder(body, CPU, 4).embed(images(5)))


@pytest.mark.parametrize("name", installed())
def test_a_network_trained_in_half_precision_embeds_as_its_saved_checkpoint(name, tmp_path):
    """Folded normalisations give a convolution a bias that the casts of the graph did not reach."""
    data = (sym.Cast(sym.Variable("data"), dtype="float16") - 127.5) * 0.0078125
    net = sym.Convolution(data, num_filter=6, kernel=(4, 4), stride=(4, 4), no_bias=True, name="conv0")
    net = sym.Cast(sym.BatchNorm(net, fix_gamma=False, name="bn0"), dtype="float32")
    made = sym.FullyConnected(sym.Flatten(net), num_hidden=5, name="fc1")
    shapes, _, states = made.infer_shape(data=(1, 3, 16, 16))
    value = np.random.default_rng(3)
    args = {name: value.normal(0, 0.3, shape).astype("float32") for name, shape in zip(made.list_arguments(), shapes)
            if name != "data"}
    model = Checkpoint(made, args, {name: value.uniform(0.5, 1, shape).astype("float32")
                                    for name, shape in zip(made.list_auxiliary_states(), states)})
    save(model, str(tmp_path / "model"), 0)
    where = place(name, "cpu")
    trained, saved = Embedder(model, where, 4), Embedder.load(f"{tmp_path / 'model'},0", where, 4)
    np.testing.assert_array_equal(trained.embed(images(5)), saved.embed(images(5)))
    trained.update(args, model.aux)
    np.testing.assert_array_equal(trained.embed(images(5)), saved.embed(images(5)))


@pytest.mark.parametrize("make, words", [
    (lambda e, small: e.embed(images(2)[0]), "expected \\(images, channels, height, width\\)"),
    (lambda e, small: e.embed(images(2)[:0]), "no images"),
    (lambda e, small: e.embed(images(2), "twice"), "unknown flip 'twice'"),
    (lambda e, small: e.embed(np.zeros((1, 3, 40, 40), np.uint8)), "does not take images of shape \\(3, 40, 40\\)"),
    (lambda e, small: Embedder(small(), CPU, 0), "--batch-size 0"),
    (lambda e, small: Embedder([], CPU), "no model given"),
])
def test_unusable_requests_are_refused(make, words, small):
    with pytest.raises(InputError, match=words):
        make(Embedder(small(), CPU, 4), small)


GOLDEN = [  # docs/original.md, section 2.9: L2 norm, sum, first five of the un-normalised embedding
    (3.27151, -4.38366, (0.10158, -0.07641, 0.40288, 0.06547, -0.52354)),
    (3.26549, -1.89260, (0.02155, -0.41628, -0.09101, 0.72233, -0.11586)),
    (3.02670, -3.49757, (0.31774, 0.00589, 0.33183, 0.25251, -0.40275)),
    (3.42091, 5.14238, (0.11240, 0.25608, 0.22748, 0.15143, -0.24744)),
]


@pytest.mark.parametrize("exact", [True, False])
def test_the_published_network_gives_its_golden_numbers(fixtures, exact):
    index = np.arange(3 * 112 * 112, dtype=np.uint64)
    noise = (((np.uint64(1103515245) * index + np.uint64(12345)) >> np.uint64(16)) % np.uint64(256))
    batch = np.stack([index % 256, 0 * index, np.full(len(index), 127.5), noise]).astype(np.float32)
    embedder = Embedder(load(str(fixtures / "published_y1" / "model"), 0), CPU, 3, exact)
    for _ in range(2):
        rows = embedder.embed(batch.reshape(4, 3, 112, 112))
        for row, (norm, total, first) in zip(rows, GOLDEN):
            assert np.linalg.norm(row) == pytest.approx(norm, abs=2e-5)
            assert row.sum() == pytest.approx(total, abs=3e-5)
            np.testing.assert_allclose(row[:5], first, atol=1e-5)


def test_ten_real_pairs_lie_as_close_as_published(fixtures):
    """Genuine pairs only; y1's cosine of them is 0.58 to 0.88 without flip (fixtures, README)."""
    embedder = Embedder(load(str(fixtures / "published_y1" / "model"), 0), CPU, 20)
    result = evaluate_pack(embedder.embed, read_pack(fixtures / "packs" / "small_lfw.bin"), "none")
    cosine = 1 - result.distances[result.same] / 2
    assert round(cosine.min(), 2) == 0.58 and round(cosine.max(), 2) == 0.88
