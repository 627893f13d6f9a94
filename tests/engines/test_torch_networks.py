"""A network of every family on PyTorch: embedding and gradients against MXNet, both against PyTorch in float64."""
from arcface_mxnet.graph.checkpoint import Checkpoint
from arcface_mxnet.graph.symbol import NameManager, Symbol
from arcface_mxnet.graph.symbol_json import read_json
from arcface_mxnet.recognition.networks import build
from arcface_mxnet.recognition.presets import NETWORKS
from arcface_mxnet.recognition.settings import resolve

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from arcface_mxnet.engines.initial import family_law, initial_values  # noqa: E402
from arcface_mxnet.engines.torch.devices import Where  # noqa: E402
from arcface_mxnet.engines.torch.engine import network  # noqa: E402
from tests.engines import lab  # noqa: E402

SMALL = ("demo", "y1", "m05", "vargfacenet", "d121", "mnas025", "small")
CPU = Where(torch.device("cpu"))


def test_every_family_is_here():
    assert {NETWORKS[name]["net_name"] for name in SMALL} == {preset["net_name"] for preset in NETWORKS.values()}


def made(name, images=4, seed=0):
    """The graph of a preset ending in the sum of its embedding with fixed signs, and values for its variables."""
    settings = resolve(name, "softmax", "own", {}).network
    with NameManager():
        embedding = build(settings)
    shapes, _, states = embedding.infer_shape(data=(images, 3, 112, 112))
    chance = np.random.RandomState(seed)
    known = {**dict(zip(embedding.list_arguments(), shapes)), **dict(zip(embedding.list_auxiliary_states(), states))}
    given = initial_values({key: shape for key, shape in known.items() if key != "data"}, embedding.attr_dict(),
                           family_law(settings.net_name), seed)
    given["data"] = chance.randint(0, 256, (images, 3, 112, 112)).astype(np.float32)
    return embedding, given


@pytest.mark.parametrize("name", SMALL)
def test_embeddings_are_mxnets(name):
    """With moving statistics, as a checkpoint is used."""
    pytest.importorskip("mxnet")
    embedding, values = made(name, 2)
    arguments = {key: values[key] for key in embedding.list_arguments() if key != "data"}
    auxiliary = {key: values[key] for key in embedding.list_auxiliary_states()}
    found = network(Checkpoint(embedding, arguments, auxiliary), CPU).embed(values["data"], 2)
    expected = mxnet_embeddings(embedding, values)
    assert found.shape == expected.shape == (2, resolve(name, "softmax", "own", {}).network.emb_size)
    assert lab.apart(found, expected) < 1e-5


@pytest.mark.parametrize("name", ["demo", "y1"])
def test_gradients_in_training_are_as_near_to_float64_as_mxnets(name):
    """Batch statistics, dropout off. What follows has a BatchNorm: parameters whose gradient is 0 are left out."""
    pytest.importorskip("mxnet")
    embedding, values = made(name)
    graph = Symbol(read_json(embedding.tojson().replace('"p": "0.4"', '"p": "0.0"'), name))
    trained = [key for key in embedding.list_arguments() if key.endswith(("weight", "gamma")) and key != "fc1_gamma"]
    judge = lab.run_torch(graph, values, trained, torch.float64, signs=True)
    found, expected = lab.run_torch(graph, values, trained, signs=True), lab.run_mxnet(graph, values, trained, True)
    assert distance(found.outputs, judge.outputs) <= 3 * distance(expected.outputs, judge.outputs) + 1e-6
    mine, theirs = (distance(list(one.gradients.values()), list(judge.gradients.values())) for one in (found, expected))
    assert mine <= 5 * theirs + 1e-5


def distance(left, right):
    """l2 over all arrays, relative."""
    return (sum(np.square(one - other).sum() for one, other in zip(left, right))
            / sum(np.square(other).sum() for other in right)) ** 0.5


def mxnet_embeddings(embedding, values):
    """The stored graph by MXNet."""
    from arcface_mxnet.engines.mxnet.mx import mx
    symbol = mx.sym.load_json(embedding.tojson())
    executor = symbol.bind(mx.cpu(), {key: mx.nd.array(values[key]) for key in symbol.list_arguments()},
                           aux_states={key: mx.nd.array(values[key]) for key in symbol.list_auxiliary_states()})
    return executor.forward(is_train=False)[0].asnumpy()
