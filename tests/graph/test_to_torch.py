"""State dicts of the public PyTorch definitions: their names, their arithmetic, and the way back."""
from arcface_mxnet.engines.mxnet.executor import forward
from arcface_mxnet.engines.mxnet.untrained import untrained
from arcface_mxnet.graph.checkpoint import Checkpoint
from arcface_mxnet.graph.nodes import Graph
from arcface_mxnet.graph.to_torch import TORCH_EPS, from_torch, to_torch
from arcface_mxnet.recognition.networks import NetworkSettings, build
from arcface_mxnet.runtime.errors import InputError

import numpy
import pytest

RESNET = NetworkSettings(num_layers=18, emb_size=8)
MOBILE = NetworkSettings(net_name="fmobilefacenet", emb_size=16, net_output="GDC")
IMAGE = (1, 3, 112, 112)


@pytest.fixture(scope="module", params=[RESNET, MOBILE], ids=["iresnet", "MobileFaceNet"])
def checkpoint(request):
    return untrained(build(request.param), IMAGE, images=16)


def _embed(checkpoint, images):
    return forward(checkpoint, {"data": images})[0]


def test_the_way_back_gives_the_same_embeddings(checkpoint):
    state = to_torch(checkpoint)
    back = from_torch(checkpoint.symbol, state)
    images = numpy.random.RandomState(0).randint(0, 256, (2,) + IMAGE[1:]).astype("float32")
    expected = _embed(checkpoint, images)
    numpy.testing.assert_allclose(_embed(back, images), expected, atol=1e-4 * abs(expected).max())
    again = to_torch(back)
    assert set(again) == set(state)
    for name, value in state.items():
        numpy.testing.assert_allclose(again[name], value, rtol=2e-6, atol=2e-6, err_msg=name)


def test_torch_arithmetic_with_these_values_gives_the_same_embeddings(checkpoint):
    """The graph as PyTorch has it: eps 1e-5 everywhere, images scaled outside by 1 / 127.5, no bias in GDC."""
    state = to_torch(checkpoint)
    plain = from_torch(checkpoint.symbol, state)
    mobile = "conv_sep.layers.0.weight" in state
    first = "layers.0.layers.0.weight" if mobile else "conv1.weight"
    args, aux = dict(plain.args), dict(plain.aux)
    args["conv_1_conv2d_weight" if mobile else "conv0_weight"] = state[first]
    graph = Graph.of(checkpoint.symbol)
    for node in graph.nodes():
        if node.op == "BatchNorm":
            old = node.number("eps", 1e-3)
            node.attrs["eps"] = str(TORCH_EPS)
            name = node.inputs[4][0].name
            aux[name] = aux[name] + (old - TORCH_EPS)
    graph.replace(lambda node: node.inputs[0] if node.op in ("_minus_scalar", "_mul_scalar") else None)
    images = numpy.random.RandomState(0).randint(0, 256, (2,) + IMAGE[1:]).astype("float32")
    torch_like = Checkpoint(graph.symbol(), args, aux)
    expected = _embed(checkpoint, images)
    numpy.testing.assert_allclose(_embed(torch_like, (images / 255 - 0.5) / 0.5), expected,
                                  atol=1e-4 * abs(expected).max())


def test_names_are_those_of_the_public_definitions(checkpoint):
    state = to_torch(checkpoint)
    if "conv_sep.layers.0.weight" in state:
        _mobile_names(state)
        return
    assert state["conv1.weight"].shape == (64, 3, 3, 3) and state["prelu.weight"].shape == (64,)
    assert state["layer3.0.downsample.0.weight"].shape == (256, 128, 1, 1)
    assert state["layer4.1.bn3.running_var"].shape == (512,) and state["fc.weight"].shape == (8, 25088)
    assert (state["features.weight"] == 1).all() and state["bn2.num_batches_tracked"] == 0


def _mobile_names(mobile):
    assert mobile["layers.3.layers.2.layers.1.layers.0.weight"].shape == (128, 1, 3, 3)
    assert mobile["layers.1.layers.2.weight"].shape == (64,) and mobile["conv_sep.layers.1.bias"].shape == (512,)
    assert mobile["features.layers.0.layers.0.weight"].shape == (512, 1, 7, 7)
    assert mobile["features.layers.2.weight"].shape == (16, 512) and "features.layers.2.bias" not in mobile


def test_other_states_are_refused(checkpoint):
    state = to_torch(checkpoint)
    first = next(iter(state))
    with pytest.raises(InputError, match=f"{first} has shape"):
        from_torch(checkpoint.symbol, {**state, first: numpy.zeros((64, 3, 5, 5))})
    del state[first]
    with pytest.raises(InputError, match=f"no {first}"):
        from_torch(checkpoint.symbol, state)


def test_other_networks_are_refused():
    small = NetworkSettings(num_layers=18, net_unit=1, net_output="GAP", emb_size=8)
    with pytest.raises(InputError, match="no public PyTorch definition"):
        to_torch(untrained(build(small), (1, 3, 32, 32), images=2))
