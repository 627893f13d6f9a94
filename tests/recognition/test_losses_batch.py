"""Losses over whole groups of images, by hand: range loss and marginal loss on batches small enough to reckon."""
from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.recognition.losses import LossSettings, attach
from arcface_mxnet.runtime.errors import InputError
from tests.recognition.loss_lab import run

import numpy as np
import pytest

CLASSES = 3
ON_A_LINE = np.array([[0.0, 0], [1, 0], [3, 0], [10, 0], [10, 0], [12, 0]])  # two people, three images each


def result(family, rows, each, dtype=np.float64, **options):
    """The head of a family on given embeddings, images of a person side by side, zero centres: outputs, gradients."""
    settings = LossSettings(family, images_per_identity=each, options=options)
    head = attach(sym.Variable("embedding", shape=rows.shape), settings, CLASSES, len(rows))
    return run(head, {"embedding": rows, "softmax_label": np.arange(len(rows)) // each,
                      "fc7_weight": np.zeros((CLASSES, rows.shape[1])), "fc7_bias": np.zeros(CLASSES)}, dtype)


@pytest.mark.parametrize("count, expected", [(1, 9 + 4), (2, 2 / (1 / 9 + 1 / 4) + 4), (3, 3 / (1 / 9 + 1 / 4 + 1))])
def test_ranges_are_harmonic_means_of_the_greatest_squared_distances(count, expected):
    """Squared distances 9, 4, 1 and 4, 4, 0: the zero makes the harmonic mean of all three vanish."""
    found = result("range", ON_A_LINE, 3, intra=1.0, inter=0.0, count=count).outputs["objective:intra"]
    np.testing.assert_allclose(found, [expected], atol=1e-8)


def test_only_the_nearest_two_people_repel_and_only_within_the_margin():
    """Centres 4/3, 32/3 and 100: 784/9 apart, the third far from both."""
    rows = np.vstack([ON_A_LINE, np.full((3, 2), [100.0, 0])])
    near = result("range", rows, 3, intra=0.0, inter=2.0, margin=100.0)
    np.testing.assert_allclose(near.outputs["objective:inter"], [2 * (100 - 784 / 9)])
    pulls = 2 * 2 * (28 / 3) / 3  # of 2 (M - d^2), to each of three images of which a centre is the mean
    np.testing.assert_allclose(near.gradients["embedding"][:, 0], [pulls] * 3 + [-pulls] * 3 + [0] * 3, atol=1e-9)
    far = result("range", rows, 3, intra=0.0, inter=2.0, margin=87.0)
    assert far.outputs["objective:inter"] == 0 and not far.gradients["embedding"].any()


def test_equal_images_have_no_range_and_no_gradient():
    rows = np.repeat([[1.0, 2], [3.0, 5]], 3, axis=0)
    found = result("range", rows, 3, np.float32, intra=1.0, inter=0.0)
    assert abs(found.outputs["objective:intra"]) < 1e-8 and not found.gradients["embedding"].any()


@pytest.mark.parametrize("images, each, options, words", [
    (10, 4, {}, "10 with 4 images"), (4, 4, {}, "two or more whole identities"), (8, 2, {}, "2 pairs of images"),
    (8, 4, {"count": 0}, "count 0: must be at least 1")])
def test_batches_without_ranges_are_refused(images, each, options, words):
    with pytest.raises(InputError, match=words):
        result("range", np.zeros((images, 2)), each, **options)


def test_marginal_loss_counts_pairs_on_the_wrong_side_of_the_threshold():
    """Unit vectors at 0, 90, 180 and 240 degrees: squared distances 2, 1 within people, 4, 3, 2, 3.73 between them."""
    angles = np.deg2rad([0, 90, 180, 240])
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1) * [[1.0], [5], [2], [3]]  # lengths do not count
    within = [max(0, 0.3 - (1.2 - 2)), max(0, 0.3 - (1.2 - 1))]
    found = result("marginal", rows, 2).outputs["objective:marginal"]
    np.testing.assert_allclose(found, [2 * sum(within) / (4 ** 2 - 4)], rtol=1e-9)
    strict = result("marginal", rows, 2, theta=2.0, xi=2.5, weight=3.0).outputs["objective:marginal"]
    both = [2.5 - (2 - d) for d in (2, 1)] + [2.5 + (2 - d) for d in (4, 3, 2, 2 - 2 * np.cos(np.deg2rad(150)))]
    np.testing.assert_allclose(strict, [3 * 2 * sum(both) / 12], rtol=1e-9)  # an image and itself are no pair
