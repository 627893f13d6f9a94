"""Batches of triplets mined from bags: which images make a bag, which triplets a batch, and what a restart needs."""
from arcface_mxnet.datasets.images import encode_jpeg
from arcface_mxnet.datasets.record_writer import RecordWriter
from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.engines.mxnet.mx import mx
from arcface_mxnet.graph.params_file import read_arrays, write_arrays
from arcface_mxnet.recognition.engine.sampler import BagOrder, MinedBatches, Mining, semi_hard_triplets
from arcface_mxnet.runtime.errors import InputError

import numpy as np
import pytest

MINING = Mining(bag_size=40, images_per_identity=5, alpha=0.3, max_ap=0.0)
SHARE = 6


@pytest.fixture(scope="module")
def records(tiny_faces):
    return RecordSet.open(tiny_faces)


class Network:
    """Embeds by a fixed projection of small grey pictures, and notes what it was shown."""

    def __init__(self, seed=0):
        self.weights, self.shown = np.random.RandomState(seed).randn(8 * 8, 6), []

    def __call__(self, blocks):
        rows = []
        for block in blocks:
            assert block.dtype == np.uint8 and block.shape[1:] == (3, 112, 112)
            self.shown.append(block)
            grey = block.mean(1).reshape(-1, 8, 14, 8, 14).mean((2, 4)).reshape(len(block), -1) - 120
            rows.append(grey @ self.weights)
        return np.concatenate(rows)


def grey_set(folder, counts):
    with RecordWriter(folder, (112, 112)) as writer:
        for label, count in enumerate(counts):
            writer.add(label, [encode_jpeg(np.full((112, 112, 3), 20 * label, np.uint8))] * count)
    return RecordSet.open(folder)


def made(records, network=None, mining=MINING, contexts=1, share=SHARE, **more):
    return MinedBatches(records, mining, share, contexts, network or Network(), seed=3, **more)


def epoch(batches, number, start=0):
    return [(batch.data, batch.label) for batch in batches.batches(number, start)]


def same(left, right):
    return len(left) == len(right) and all(np.array_equal(a, b) for pair in zip(left, right) for a, b in zip(*pair))


def test_bags_go_through_the_identities_five_images_each_and_begin_anew(records):
    order = BagOrder(records, 25, 5, seed=1)
    assert (order.size, order.bags_per_pass) == (25, 2)  # 12 identities of 8 images: 60 in a pass, 10 left over
    first = [records.labels[order.places(number)] for number in (0, 1)]
    together = np.concatenate(first)
    assert all((group == group[0]).all() for group in together.reshape(-1, 5))
    assert len(np.unique(together)) == 10 and len(np.unique(np.concatenate([order.places(0), order.places(1)]))) == 50
    assert not np.array_equal(order.places(2), order.places(0)), "another pass, another order"
    again = BagOrder(records, 25, 5, seed=1)
    assert np.array_equal(again.places(3), order.places(3)), "a function of seed and number alone"
    assert not np.array_equal(BagOrder(records, 25, 5, seed=2).places(0), order.places(0))


def test_a_set_smaller_than_the_bag_is_one_bag_and_identities_may_have_fewer_images(tmp_path):
    order = BagOrder(grey_set(tmp_path, [1, 2, 9, 5]), 7200, 5, seed=0)
    assert order.size == 1 + 2 + 5 + 5 and order.bags_per_pass == 1


def test_batches_are_the_triplets_of_the_bag_in_thirds_of_each_context(records):
    network = Network()
    batches = made(records, network, contexts=2)
    labels = [label for _, label in epoch(batches, 0)]
    assert len(labels) >= 2 and all(label.shape == (12,) for label in labels)
    for block in np.concatenate(labels).reshape(-1, 3, SHARE // 3):
        assert (block[0] == block[1]).all() and (block[0] != block[2]).all()
    places = BagOrder(records, 40, 5, seed=3).places(0)
    bag = np.concatenate([Network()([np.concatenate(network.shown)])])
    assert len(bag) == 40
    expected = {tuple(records.keys[places[list(triplet)]]) for triplet in
                semi_hard_triplets(bag, records.labels[places], 0.3, 0.0, np.random.default_rng(0))[:, :2].tolist()}
    keys = batches.epoch_keys(0).reshape(-1, 3, SHARE // 3)
    assert {tuple(pair) for pair in keys[:, :2].transpose(0, 2, 1).reshape(-1, 2).tolist()} <= expected


def test_a_bag_is_shown_as_it_is_and_once_an_epoch(records):
    network = Network()
    batches = made(records, network)
    epoch(batches, 0)
    epoch(batches, 0, start=1)
    assert sum(map(len, network.shown)) == 40
    places = BagOrder(records, 40, 5, seed=3).places(0)
    first = mx.image.imdecode(records.read(int(records.keys[places[0]]))[1]).asnumpy()
    assert np.array_equal(network.shown[0][0], first.transpose(2, 0, 1)), "neither mirrored nor varied"
    assert batches.notes() == [f"bag 0: 40 images, {batches.found} semi-hard triplets"] and batches.notes() == []


def test_another_epoch_takes_the_next_bag_with_the_network_as_it_is_then(records):
    network = Network()
    batches = made(records, network)
    before = epoch(batches, 0)
    assert not same(before, epoch(batches, 1))
    other = made(records, Network(seed=9))
    assert not same(before, epoch(other, 0)), "the network decides"
    assert same(before, epoch(made(records), 0))


def test_bags_are_taken_until_two_batches_are_full(records):
    network = Network()
    batches = made(records, network, Mining(10, 5, 0.3, 0.0), share=30)
    assert len(epoch(batches, 0)) >= 2
    assert len(network.shown) > 1


def test_a_restart_goes_on_without_the_network_that_mined(records):
    def refuse(blocks):
        raise AssertionError("the network of the bag's beginning is gone")

    whole = made(records)
    first = epoch(whole, 0)
    saved = {name: array.copy() for name, array in whole.restart_arrays().items()}
    second = epoch(whole, 1)
    resumed = made(records, refuse)
    resumed.restart(saved)
    assert same(epoch(resumed, 0, start=1), first[1:])
    resumed = made(records)
    resumed.restart(saved)
    assert same(epoch(resumed, 1), second)
    fresh = made(records)
    fresh.restart({"arg:weight": np.zeros(3, np.float32)})  # a restart point of another order
    assert same(epoch(fresh, 0), first)


def test_keys_beyond_float32_survive_the_restart_file(records, tmp_path):
    batches = made(records)
    batches.batches_of(0, np.array([2 ** 24 + 1, 2 ** 33 + 5] * 9))
    write_arrays(tmp_path / "saved", batches.restart_arrays())
    resumed = made(records)
    resumed.restart(read_arrays(tmp_path / "saved"))
    assert resumed.epoch_keys(0).tolist() == [2 ** 24 + 1, 2 ** 33 + 5] * 9


def test_nothing_left_to_mine_is_said(records):
    batches = made(records, mining=Mining(40, 5, 1e-9, 0.0))
    with pytest.raises(InputError, match="found 0 semi-hard triplets in 10 bags.*2 make a batch.*finished.*alpha"):
        epoch(batches, 0)


@pytest.mark.parametrize("share, said", [(8, "--per-batch-size 8: .* three equal thirds; take 6"),
                                         (2, "--per-batch-size 2: .* three equal thirds; take 3")])
def test_a_share_that_is_not_three_thirds_is_refused(records, share, said):
    with pytest.raises(InputError, match=said):
        made(records, share=share)


def test_a_set_without_two_images_of_anybody_is_refused(tmp_path):
    with pytest.raises(InputError, match="two images"):
        made(grey_set(tmp_path, [1, 1, 1]))
