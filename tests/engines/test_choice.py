"""--engine auto: the fastest engine that agrees with the judge is taken, and what was measured is kept."""
import time
import warnings

from arcface_mxnet.engines import choice
from arcface_mxnet.engines.base import FLOAT32, Numerics, Place, installed, place
from arcface_mxnet.evaluation.embedder import Embedder
from arcface_mxnet.runtime.errors import InputError, Notice
from tests.engines.test_contract import checkpoint, expected, images

import numpy as np
import pytest


class Fake:
    """An engine whose rows are the mean of each channel, `off` from the true ones, after `seconds`."""

    def __init__(self, name, seconds=0.0, off=0.0, fails=False):
        self.NAME, self.seconds, self.off, self.fails, self.passes = name, seconds, off, fails, []

    def version(self):
        return "1"

    def network(self, checkpoint, devices, exact, numerics):
        if self.fails:
            raise RuntimeError("no kernel\nfor it")
        self.exact = exact
        return self

    def embed(self, pictures, batch_size):
        self.passes.append((len(pictures), batch_size))
        time.sleep(self.seconds)
        return (pictures.mean(axis=(2, 3)) * (1 + self.off)).astype(np.float32)


def choose(*engines, pictures=None, batch_size=4):
    network = choice.network(checkpoint(), choice.Places(tuple(Place(one, None) for one in engines), ()))
    with pytest.warns(Notice, match="--engine auto takes "):
        network.embed(images(9) if pictures is None else pictures, batch_size)
    return network.record


def test_the_fastest_that_agrees_is_taken_and_the_others_say_why():
    engines = (Fake("reference", 0.3), Fake("good", 0.05, 5e-6), Fake("fast", 0, 3e-5), Fake("broken", fails=True),
               Fake("nan", 0, np.nan))
    record = choose(*engines)
    assert record["taken"] == "good" and record["judge"] == "reference 1, stored graph" and record["images"] == 4
    told = {one["engine"]: one for one in record["measured"]}
    assert told["broken"]["why"] == "no kernel for it" and told["broken"]["difference"] is None
    assert told["fast"]["difference"] == pytest.approx(3e-5, rel=0.05)
    assert told["good"]["difference"] == pytest.approx(5e-6, rel=0.1)
    assert 4 / 0.3 < told["good"]["images_per_second"] < 4 / 0.05
    assert engines[1].passes[-1] == (9, 4)  # what was measured is what embeds


def test_the_judge_itself_embeds_where_none_agrees():
    reference = Fake("reference")
    reference.network = lambda checkpoint, devices, exact, numerics: Fake("reference", 0, 0.0 if exact else 2.0)
    places = choice.Places((Place(reference, None), Place(Fake("other", 0, 1.0), None)), ())
    network = choice.network(checkpoint(), places)
    with pytest.warns(Notice, match="takes reference, its stored graph"):
        rows = network.embed(images(3), 4)
    np.testing.assert_allclose(rows, images(3).mean(axis=(2, 3)), rtol=1e-5)


def test_a_larger_batch_is_measured_again_a_like_one_is_not():
    network = choice.network(checkpoint(), choice.Places((Place(Fake("one"), None),), ()))
    seen = []
    for count in (1, 1, 8, 8, 9):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            network.embed(images(count), 8)
        seen.append(len(told))
    assert seen == [1, 0, 1, 0, 0]


def test_installed_engines_embed_as_float64_and_exact_measures_nothing():
    model, pictures = checkpoint(), images(5)
    embedder = Embedder(model, place("auto", "cpu"), 4)
    with pytest.warns(Notice, match="--engine auto takes "):
        rows = embedder.embed(pictures)
    wanted = expected(model, pictures)
    assert np.abs(rows - wanted).max() < 1e-5 * np.abs(wanted).max()
    record, = embedder.about()["choices"]
    assert [one["engine"] for one in record["measured"]] == installed()
    assert all(one["difference"] < 1e-5 for one in record["measured"])
    exact = Embedder(model, place("auto", "cpu"), 4, exact=True)
    np.testing.assert_array_equal(exact.embed(pictures), Embedder(model, place(None, "cpu"), 4, True).embed(pictures))
    assert "choices" not in exact.about()


def test_reduced_precision_and_devices_that_are_not_there_are_refused():
    with pytest.raises(InputError, match="--engine auto: measures float32"):
        choice.network(checkpoint(), place("auto", "cpu").devices, numerics=Numerics(bf16=True))
    with pytest.raises(InputError, match="--gpus cpu:x"):
        place("auto", "cpu:x")
    assert choice.describe(place("auto", "cpu").devices, FLOAT32).startswith("engine auto, the fastest of ")


def test_new_values_are_taken_before_and_after_the_choice():
    first, second = checkpoint(0), checkpoint(4)
    embedder = Embedder(first, place("auto", "cpu"), 8)
    for model, count in ((second, 2), (first, 2), (second, 8)):  # the last measures again
        embedder.update(model.args, model.aux)
        pictures = images(count)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Notice)
            rows = embedder.embed(pictures)
        wanted = expected(model, pictures)
        assert np.abs(rows - wanted).max() < 1e-5 * np.abs(wanted).max()
