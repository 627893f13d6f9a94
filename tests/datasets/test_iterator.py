"""Batches: the right pixels, in an order that depends on seed and epoch alone, from any batch on."""
import threading

from arcface_mxnet.datasets.iterator import Augmentation, ClassificationBatches, IdentityBatches
from arcface_mxnet.datasets.recordio import frame, pack_image
from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.engines.mxnet.mx import mx
from arcface_mxnet.runtime.errors import InputError

import numpy as np
import pytest

PLAIN = Augmentation(mirror=False)


@pytest.fixture(scope="module")
def records(tmp_path_factory, make_set):
    folder = tmp_path_factory.mktemp("set")
    make_set(folder, [4, 2, 3, 1, 5, 4, 2, 6])
    return RecordSet.open(folder)


def epoch(batches, number=0, start=0):
    """An epoch as numpy: data (N, 3, h, w), labels (N,)."""
    pairs = [(batch.data, batch.label) for batch in batches.batches(number, start)]
    return np.concatenate([data for data, _ in pairs]), np.concatenate([label for _, label in pairs])


def test_pixels_are_mxnets_own_in_rgb(records):
    """mx.image.imdecode is what the original decodes with (docs/original.md, section 1.5): height, width, RGB."""
    data, labels = epoch(ClassificationBatches(records, 9, seed=0, augmentation=PLAIN, shuffle=False))
    assert data.dtype == np.float32 and data.shape == (27, 3, 112, 112)
    assert labels.dtype == np.float32 and labels.tolist() == records.labels.tolist()
    for place, key in enumerate(records.keys):
        theirs = mx.image.imdecode(records.read(int(key))[1]).asnumpy()
        assert np.array_equal(data[place], theirs.transpose(2, 0, 1).astype(np.float32))


def test_an_epoch_is_a_permutation_and_drops_the_incomplete_batch(records):
    batches = ClassificationBatches(records, 5, seed=3)
    assert batches.batches_per_epoch == 5
    keys = batches.epoch_keys(0)
    assert keys.size == 25 and np.unique(keys).size == 25 and np.isin(keys, records.keys).all()
    assert len(list(batches.batches(0))) == 5


def test_order_depends_on_seed_and_epoch_alone(records):
    first = ClassificationBatches(records, 9, seed=1)
    assert np.array_equal(first.epoch_keys(4), ClassificationBatches(records, 3, seed=1).epoch_keys(4))
    assert not np.array_equal(first.epoch_keys(4), first.epoch_keys(5))
    assert not np.array_equal(first.epoch_keys(4), ClassificationBatches(records, 9, seed=2).epoch_keys(4))


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_any_batch_can_be_the_first_and_threads_change_nothing(records, threads):
    everything = Augmentation(mirror=True, colour=2, cutout=30)
    whole, labels = epoch(ClassificationBatches(records, 4, seed=7, augmentation=everything, threads=1), 2)
    resumed = ClassificationBatches(records, 4, seed=7, augmentation=everything, threads=threads, ahead=threads)
    data, some = epoch(resumed, 2, start=3)
    assert np.array_equal(data, whole[12:]) and np.array_equal(some, labels[12:])
    assert list(resumed.batches(2, start=6)) == []


def test_half_of_the_images_are_mirrored(records):
    plain = ClassificationBatches(records, 9, seed=0, augmentation=PLAIN)
    mirrored = ClassificationBatches(records, 9, seed=0)
    flips = []
    for number in range(8):
        (straight, _), (other, _) = epoch(plain, number), epoch(mirrored, number)
        for one, two in zip(straight, other):
            flipped = not np.array_equal(one, two)
            assert np.array_equal(two, one[:, :, ::-1] if flipped else one)
            flips.append(flipped)
    assert 0.4 < np.mean(flips) < 0.6
    assert flips[:27] != flips[27:54]


def test_workers_share_an_order_and_repeat_nothing(records):
    parts = [ClassificationBatches(records, 2, seed=0, part=(rank, 3)) for rank in range(3)]
    keys = [part.epoch_keys(1) for part in parts]
    assert [part.batches_per_epoch for part in parts] == [4, 4, 4]
    assert np.unique(np.concatenate(keys)).size == 24
    whole = ClassificationBatches(records, 1, seed=0).epoch_keys(1)
    assert np.array_equal(keys[1], whole[9:17])
    with pytest.raises(InputError, match="worker 3 of 3"):
        ClassificationBatches(records, 2, seed=0, part=(3, 3))


def test_a_worker_sees_the_chances_of_its_own_places(records):
    everything = Augmentation(mirror=True, colour=1, cutout=30)
    data, _ = epoch(ClassificationBatches(records, 3, seed=5, augmentation=everything, part=(1, 2)), 0)
    whole, _ = epoch(ClassificationBatches(records, 1, seed=5, augmentation=everything), 0)
    assert np.array_equal(data, whole[13:25])


def test_a_batch_larger_than_the_set_is_refused(records):
    with pytest.raises(InputError, match="27 images for 1 worker.* no batch of 28; lower --per-batch-size"):
        ClassificationBatches(records, 28, seed=0)


def test_closing_early_ends_the_threads(records):
    before = threading.active_count()
    running = ClassificationBatches(records, 2, seed=0, threads=4).batches(0)
    next(running)
    assert threading.active_count() > before
    running.close()
    assert threading.active_count() == before


def test_a_record_that_is_no_image_is_named_in_its_turn(tmp_path, picture):
    good = mx.recordio.pack_img(mx.recordio.IRHeader(0, 0, 0, 0), picture(0, 0), quality=95, img_fmt=".jpg")
    frames = [frame(good), frame(good), frame(pack_image(0, 2, b"no image at all")), frame(good)]
    (tmp_path / "train.rec").write_bytes(b"".join(frames))
    offsets = np.cumsum([0] + [len(one) for one in frames])
    (tmp_path / "train.idx").write_text("".join(f"{key}\t{offsets[key]}\n" for key in range(4)))
    running = ClassificationBatches(RecordSet.open(tmp_path), 2, seed=0, shuffle=False).batches(0)
    assert next(running).data.shape == (2, 3, 112, 112)
    with pytest.raises(InputError, match=r"train\.rec: record 2: .*prepare.py verify"):
        next(running)


def test_other_sizes_are_scaled_or_refused(tmp_path, make_set):
    make_set(tmp_path, [2, 2], size=56)
    records = RecordSet.open(tmp_path)
    assert next(ClassificationBatches(records, 2, seed=0).batches(0)).data.shape == (2, 3, 56, 56)
    larger = ClassificationBatches(records, 2, seed=0, image_size=(112, 112))
    assert next(larger.batches(0)).data.shape == (2, 3, 112, 112)
    with pytest.raises(InputError, match="56x56, which does not scale to 112x96"):
        next(ClassificationBatches(records, 2, seed=0, image_size=(112, 96)).batches(0))


def test_identity_batches_hold_whole_groups(records):
    batches = IdentityBatches(records, 3, 4, seed=0, augmentation=PLAIN)
    assert batches.batches_per_epoch == 2, "seven identities have two images or more"
    counts = np.bincount(records.labels)
    of_key = dict(zip(records.keys.tolist(), records.labels.tolist()))
    seen = []
    for keys in batches.epoch_keys(0).reshape(-1, 4):
        identity, = {of_key[key] for key in keys.tolist()}
        seen.append(identity)
        assert np.unique(keys).size == min(4, counts[identity])
    assert len(seen) == len(set(seen)) == 6 and 3 not in seen
    _, labels = epoch(batches)
    assert np.array_equal(labels.reshape(-1, 4)[:, 0], seen) and (labels.reshape(-1, 4) == labels[::4, None]).all()
    assert not np.array_equal(batches.epoch_keys(0), batches.epoch_keys(1))
    assert np.array_equal(batches.epoch_keys(1), IdentityBatches(records, 3, 4, seed=0).epoch_keys(1))


def test_too_few_identities_are_refused(records):
    with pytest.raises(InputError, match="7 identities have two images or more, fewer than the 8"):
        IdentityBatches(records, 8, 2, seed=0)
