from arcface_mxnet.engines.base import engine, installed
from arcface_mxnet.engines.initial import GAUSSIAN_FAMILIES
from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.graph.checkpoint import Checkpoint
from arcface_mxnet.recognition.engine.setup import overlay
from arcface_mxnet.recognition.networks import families
from arcface_mxnet.runtime.errors import InputError

import numpy as np
import pytest


def small_symbol():
    data = sym.Variable("data")
    body = sym.Convolution(data, num_filter=64, kernel=(3, 3), name="conv0", no_bias=True)
    slope = sym.Variable("relu0_gamma", init=sym.Initial("constant", {"value": 0.25}))
    body = sym.LeakyReLU(sym.BatchNorm(body, fix_gamma=False, name="bn0"), act_type="prelu", gamma=slope)
    return sym.FullyConnected(body, num_hidden=128, name="pre_fc1")


SHAPES = ({"conv0_weight": (64, 32, 3, 3), "bn0_gamma": (64,), "bn0_beta": (64,), "relu0_gamma": (64,),
           "pre_fc1_weight": (128, 512), "pre_fc1_bias": (128,), "fc7_weight": (100, 128)},
          {"bn0_moving_mean": (64,), "bn0_moving_var": (64,)})


ENGINES = installed(trains=True)


CENTRES = sym.Initial("normal", {"sigma": 0.01})


def start(seed=3, family="fresnet", name=ENGINES[0], centres=CENTRES):
    return engine(name).initial(small_symbol(), SHAPES, family, {"fc7_weight": centres}, seed)


@pytest.mark.parametrize("name", ENGINES)
def test_initial_values_are_the_originals(name):
    arguments, auxiliary = start(name=name)
    value = {**arguments, **auxiliary}
    assert (value["bn0_gamma"] == 1).all() and (value["bn0_beta"] == 0).all() and (value["relu0_gamma"] == 0.25).all()
    assert (value["bn0_moving_mean"] == 0).all() and (value["bn0_moving_var"] == 1).all()
    assert (value["pre_fc1_bias"] == 0).all()
    assert value["conv0_weight"].std() == pytest.approx(np.sqrt(2 / (64 * 9)), rel=0.02)
    assert value["pre_fc1_weight"].std() == pytest.approx(np.sqrt(2 / 128), rel=0.02)
    assert value["fc7_weight"].std() == pytest.approx(0.01, rel=0.02)


def test_gaussian_families_are_registered():
    assert set(GAUSSIAN_FAMILIES) <= set(families())


@pytest.mark.parametrize("name", ENGINES)
def test_other_families_are_uniform_over_the_inputs(name):
    weight = start(family="fmobilenet", name=name)[0]["pre_fc1_weight"]
    bound = np.sqrt(2 * 3 / 512) / np.sqrt(3)
    assert np.abs(weight).max() == pytest.approx(bound, rel=0.01)
    assert weight.std() == pytest.approx(bound / np.sqrt(3), rel=0.02)


@pytest.mark.parametrize("kind, settings, deviation, most", [
    ("zero", {}, 0, 0), ("one", {}, 0, 1), ("constant", {"value": 3.5}, 0, 3.5), ("normal", {"sigma": 0.2}, 0.2, 1.2),
    ("uniform", {"scale": 0.3}, 0.3 / 3 ** 0.5, 0.3),
    ("xavier", {"rnd_type": "gaussian", "factor_type": "out", "magnitude": 2}, (2 / 100) ** 0.5, 0.85),
    ("xavier", {"rnd_type": "uniform", "factor_type": "in", "magnitude": 3}, 1 / 128 ** 0.5, (3 / 128) ** 0.5)])
@pytest.mark.parametrize("name", ENGINES)
def test_every_law_that_a_variable_can_carry(name, kind, settings, deviation, most):
    weight = start(name=name, centres=sym.Initial(kind, settings))[0]["fc7_weight"]
    assert weight.std() == pytest.approx(deviation, rel=0.03) and np.abs(weight).max() <= most * (1 + 1e-6)
    assert np.abs(weight).max() > 0.5 * most or not most


@pytest.mark.parametrize("name", ENGINES)
def test_the_seed_decides(name):
    def weights(seed):
        return start(seed, name=name)[0]["conv0_weight"]

    assert (weights(3) == weights(3)).all()
    assert (weights(3) != weights(4)).any()


def test_pretrained_values_go_over_initial_ones_and_the_rest_is_named():
    given = Checkpoint(None, {"conv0_weight": np.ones((64, 32, 3, 3), np.float32),
                              "fc1_weight": np.ones((128, 512), np.float32),
                              "fc7_weight": np.ones((7, 128), np.float32), "old_gamma": np.ones(1, np.float32)},
                       {"bn0_moving_mean": np.full(64, 5, np.float32)})
    laid = overlay(*start(), pretrained=given, source="models/y1,0")
    assert laid.loaded == ["bn0_moving_mean", "conv0_weight", "pre_fc1_weight"]
    assert laid.new == ["bn0_beta", "bn0_gamma", "bn0_moving_var", "fc7_weight", "pre_fc1_bias", "relu0_gamma"]
    assert laid.ignored == ["fc7_weight", "old_gamma"]
    assert (laid.arguments["pre_fc1_weight"] == 1).all()
    assert (laid.auxiliary["bn0_moving_mean"] == 5).all()
    assert laid.arguments["fc7_weight"].shape == (100, 128)


@pytest.mark.parametrize("arrays, said", [
    ({"conv0_weight": (64, 3, 3, 3)}, r"--pretrained m,0: conv0_weight has shape \(64, 3, 3, 3\)"),
    ({"foreign": (1,)}, "--pretrained m,0: none of its 1 arrays belongs to this network"),
])
def test_a_checkpoint_of_another_network_is_refused(arrays, said):
    given = Checkpoint(None, {name: np.zeros(shape, np.float32) for name, shape in arrays.items()}, {})
    with pytest.raises(InputError, match=said):
        overlay(*start(), pretrained=given, source="m,0")
