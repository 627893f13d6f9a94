"""What the later text sets beside sub-centres on noisy labels: softmax pooling, the regulariser, NR; by hand."""
from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.recognition.losses import LossSettings, attach
from arcface_mxnet.runtime.errors import InputError
from tests.recognition.loss_lab import run

import numpy as np
import pytest

CLASSES, SIZE = 4, 5
LABELS = np.array([0, 3, 1, 2, 2, 0])


def result(family, values=None, count=1, **options):
    """A head with scale 8 and margin 0.3, on given or random embeddings and centres: outputs, gradients."""
    settings = LossSettings(family, loss_s=8.0, loss_m2=0.3, loss_K=count, options=options)
    head = attach(sym.Variable("embedding", shape=(len(LABELS), SIZE)), settings, CLASSES, len(LABELS))
    rng = np.random.RandomState(2)
    drawn = {"embedding": rng.randn(len(LABELS), SIZE), "fc7_weight": rng.randn(CLASSES * count, SIZE)}
    return run(head, {**drawn, **(values or {}), "softmax_label": LABELS})


def test_soft_pooling_goes_from_the_mean_of_the_cosines_to_their_maximum():
    cold, hot = result("subcentre_softmax", count=3, gamma=1e-5), result("subcentre_softmax", count=3, gamma=1e6)
    nearest = result("subcentre", count=3)
    np.testing.assert_allclose(cold.outputs["probability"], nearest.outputs["probability"], atol=1e-8)
    for name, gradient in nearest.gradients.items():
        np.testing.assert_allclose(cold.gradients[name], gradient, atol=1e-6, err_msg=name)
    directions = np.random.RandomState(2).randn(CLASSES * 3 + len(LABELS), SIZE)[len(LABELS):]
    means = (directions / np.linalg.norm(directions, axis=1, keepdims=True)).reshape(CLASSES, 3, SIZE).mean(axis=1)
    rows = np.random.RandomState(2).randn(len(LABELS), SIZE)
    cosine = rows @ means.T / np.linalg.norm(rows, axis=1, keepdims=True)
    target = np.arange(len(LABELS)), LABELS
    cosine[target] = np.cos(np.arccos(cosine[target]) + 0.3)
    expected = np.exp(8 * cosine) / np.exp(8 * cosine).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(hot.outputs["probability"], expected, rtol=1e-5)


@pytest.mark.parametrize("centres, expected", [
    (np.repeat(np.eye(CLASSES, SIZE), 3, axis=0) * ([[1.0], [2], [3]] * CLASSES), 0.0),  # one direction, three lengths
    (np.tile(np.eye(3, SIZE), (CLASSES, 1)), 2 * np.sqrt(2) / 2)])  # three at right angles: 3 pairs of 6
def test_the_regulariser_is_the_distance_between_the_centres_of_a_class(centres, expected):
    found = result("subcentre_compact", {"fc7_weight": centres}, 3, tau=2.0).outputs["objective:compactness"]
    np.testing.assert_allclose(found, [expected], atol=2e-5)  # equal centres: the root of 1e-10 stands for 0


def test_noise_resistance_believes_the_label_and_for_the_rest_the_choice():
    """-0.7 log p_y - 0.3 log p_c, and ArcFace where the label is believed altogether."""
    plain, believed, shared = (result("margin_softmax"), result("noise_resistance", label=1.0),
                               result("noise_resistance", label=0.7))
    for name, gradient in plain.gradients.items():
        np.testing.assert_allclose(believed.gradients[name], gradient, atol=1e-12)
        assert np.abs(shared.gradients[name] - gradient).max() > 1e-3
    logs = np.log(plain.outputs["probability"])
    mixed = -0.7 * logs[np.arange(len(LABELS)), LABELS] - 0.3 * logs.max(axis=1)
    total = shared.outputs["loss"] + shared.outputs["objective:choice"]
    np.testing.assert_allclose(total, [mixed.mean()], rtol=1e-9)


@pytest.mark.parametrize("family, count, options, words", [
    ("subcentre_softmax", 3, {"gamma": 0.0}, "gamma 0.0: must be above 0"),
    ("subcentre_compact", 1, {}, "loss_K 1: an identity needs at least 2 centres"),
    ("subcentre", 0, {}, "loss_K 0: an identity needs at least 1 centre"),
    ("noise_resistance", 1, {"label": 1.5}, "label 1.5: a share from 0 to 1")])
def test_constants_without_a_meaning_are_refused(family, count, options, words):
    with pytest.raises(InputError, match=words):
        result(family, None, count, **options)
