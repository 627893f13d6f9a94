from arcface_mxnet.datasets.iterator import Augmentation
from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.recognition.engine.sampler import Mining, make_batches
from arcface_mxnet.recognition.losses import Head
from arcface_mxnet.recognition.settings import resolve
from arcface_mxnet.runtime.errors import InputError

import numpy as np
import pytest


def embed(blocks):
    """Embeddings that are thumbnails."""
    return np.concatenate([block[:, :, 8::16, 8::16].reshape(len(block), -1) - 127.5 for block in blocks])


def made_of(settings, faces, *rest):
    return make_batches(settings.data, settings.loss, settings.network.image_shape[:2], RecordSet.open(faces), *rest)


def batches(faces, order, images=1, batch=16, contexts=1, part=(0, 1)):
    settings = resolve("y1", "triplet", "own", {"per_batch_size": batch, "data_dir": str(faces)})
    head = Head(symbol=None, roles=(), initializers={}, order=order, images_per_identity=images)
    return made_of(settings, faces, head, contexts, part, embed)


def test_any_images_fill_the_batches_of_all_contexts(tiny_faces):
    made = batches(tiny_faces, "classification", contexts=2)
    assert made.batch_size == 32
    assert made.batches_per_epoch == 96 // 32


@pytest.mark.parametrize("order, images", [("classification", 1), ("identity", 4), ("triplet", 5)])
def test_what_is_done_to_images_is_what_the_settings_say(tiny_faces, order, images):
    asked = {"per_batch_size": 12, "data_dir": str(tiny_faces), "data_rand_mirror": False, "data_color": 2,
             "data_cutoff": 30, "seed": 7}
    head = Head(symbol=None, roles=(), initializers={}, order=order, images_per_identity=images)
    made = made_of(resolve("y1", "triplet_bag", "own", asked), tiny_faces, head, 1, (0, 1), embed)
    assert made.augmentation == Augmentation(mirror=False, colour=2, cutout=30)
    assert made.seed == 7


def test_triplets_of_the_bag_preset_are_mined_as_it_says(tiny_faces):
    asked = {"per_batch_size": 6, "data_dir": str(tiny_faces), "triplet_max_ap": 3.5}
    head = Head(symbol=None, roles=(), initializers={}, order="triplet")
    made = made_of(resolve("y1", "atriplet_bag", "own", asked), tiny_faces, head, 2, (0, 1), embed)
    assert made.mining == Mining(bag_size=7200, images_per_identity=5, alpha=0.35, max_ap=3.5)
    labels = next(made.batches(0)).label.reshape(2, 3, 2)
    assert (labels[:, 0] == labels[:, 1]).all() and (labels[:, 0] != labels[:, 2]).all()


def test_ages_come_with_the_labels_of_a_head_that_asks(tiny_faces):
    settings = resolve("y1", "oecnn", "own", {"per_batch_size": 16, "data_dir": str(tiny_faces), "seed": 2})
    head = Head(symbol=None, roles=(), initializers={}, inputs=("age_label",))
    made = made_of(settings, tiny_faces, head, 1, (0, 1), embed)
    written = dict(line.split("\t") for line in (tiny_faces / "ages.tsv").read_text().splitlines())
    keys = made.epoch_keys(1).reshape(-1, 16)
    for row, batch in zip(keys, made.batches(1)):
        assert batch.beside["age_label"].tolist() == [np.float32(written[str(key)]) for key in row]
    without = made_of(settings, tiny_faces, Head(None, (), {}), 1, (0, 1), embed)
    assert next(without.batches(0)).beside == {}


def test_whole_identities_stand_side_by_side(tiny_faces):
    made = batches(tiny_faces, "identity", images=4)
    label = next(made.batches(0)).label
    assert label.shape == (16,)
    groups = label.reshape(4, 4)
    assert (groups == groups[:, :1]).all()
    assert len(np.unique(groups[:, 0])) == 4


@pytest.mark.parametrize("options, said", [
    ({"order": "identity", "images": 5}, "--per-batch-size 16: the loss takes 5 images of each identity"),
    ({"order": "identity", "images": 4, "part": (0, 2)}, "--kvstore: batches of whole identities are for one"),
    ({"order": "triplet", "batch": 15, "part": (0, 2)}, "--kvstore: batches of whole identities are for one"),
    ({"order": "triplet"}, "--per-batch-size 16: triplets come as three equal thirds; take 15"),
])
def test_an_order_that_cannot_be_made_is_refused(tiny_faces, options, said):
    with pytest.raises(InputError, match=said):
        batches(tiny_faces, **options)
