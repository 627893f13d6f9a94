"""Augmentation against MXNet's own formulas, and what it may and may not change."""
from arcface_mxnet.datasets.iterator import (
    IMAGE,
    MIRROR,
    ORDER,
    Augmentation,
    augment,
    cut_out,
    jitter,
    recompress,
    stream,
)
from arcface_mxnet.engines.mxnet.mx import mx

import numpy as np
import pytest


class Scripted:
    """Chance that follows a script: the order of steps, and each step's strength."""

    def __init__(self, order, strengths):
        self.order, self.strengths = order, list(strengths)

    def permutation(self, _):
        return self.order

    def uniform(self, *_):
        return self.strengths.pop(0)


@pytest.mark.parametrize("step,theirs", [(0, mx.image.BrightnessJitterAug), (1, mx.image.ContrastJitterAug),
                                         (2, mx.image.SaturationJitterAug)])
@pytest.mark.parametrize("strength", [-0.125, 0.06, 0.125])
def test_jitter_is_mxnets(picture, monkeypatch, step, theirs, strength):
    image = picture(1, 1)
    monkeypatch.setattr("random.uniform", lambda *_: strength)
    expected = theirs(0.125)(mx.nd.array(image, dtype="float32")).asnumpy()
    ours = jitter(image, Scripted([step], [strength]))
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, expected, atol=1e-3)


def test_jitter_steps_follow_the_drawn_order(picture):
    image = picture(2, 0)
    one = jitter(image, Scripted([0, 1, 2], [0.1, -0.1, 0.05]))
    brightness = jitter(image, Scripted([0], [0.1]))
    assert not np.allclose(one, jitter(image, Scripted([2, 1, 0], [0.1, -0.1, 0.05])))
    assert np.allclose(brightness, image * 1.1, atol=1e-3)


@pytest.mark.parametrize("row,column,expected", [(50, 60, (40, 60, 50, 70)), (0, 0, (0, 10, 0, 10)),
                                                 (111, 5, (101, 112, 0, 15))])
def test_cut_out_is_a_grey_square_clipped_to_the_image(picture, row, column, expected):
    image = picture(3, 0) // 2
    top, bottom, left, right = expected
    cut = cut_out(image, row, column, 20)
    mask = np.zeros(image.shape[:2], dtype=bool)
    mask[top:bottom, left:right] = True
    assert (cut[mask] == 128).all() and np.array_equal(cut[~mask], image[~mask])


def test_recompression_loses_more_at_lower_quality(picture):
    image = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    error = [np.abs(recompress(image, quality).astype(int) - image).mean() for quality in (2, 20, 95)]
    assert error[0] > error[1] > error[2] > 0
    red = np.zeros((112, 112, 3), dtype=np.uint8)
    red[..., 0] = 250
    assert recompress(red, 20)[..., 0].mean() > 200, "channels must not swap"


def test_nothing_on_changes_nothing(picture):
    image = picture(4, 0)
    assert augment(image, Augmentation(), stream(0, 0, IMAGE)) is image
    assert not Augmentation().changes_pixels


def test_each_draw_has_its_own_stream():
    def draw(*place):
        return stream(*place).random(4).tolist()
    places = [(0, 0, ORDER), (0, 0, MIRROR), (0, 1, ORDER), (1, 0, ORDER), (0, 0, IMAGE, 0), (0, 0, IMAGE, 1)]
    assert len({tuple(draw(*place)) for place in places}) == len(places)
    assert draw(5, 6, IMAGE, 7) == draw(5, 6, IMAGE, 7)


def test_rates_are_as_documented(picture):
    image = picture(5, 0)
    changed = [augment(image, Augmentation(cutout=30), stream(0, 0, IMAGE, place)) is not image for place in range(400)]
    assert 0.42 < np.mean(changed) < 0.58
