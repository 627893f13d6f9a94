"""ONNX files: accepted by onnx, run by ONNX Runtime, equal to the stored graph, and refused when they are not."""
import dataclasses

from arcface_mxnet.engines import onnx_export
from arcface_mxnet.engines.base import place
from arcface_mxnet.engines.mxnet.mx import mx
from arcface_mxnet.engines.mxnet.untrained import untrained
from arcface_mxnet.engines.onnx_export import verify, write_onnx
from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.graph.checkpoint import Checkpoint, load
from arcface_mxnet.graph.symbol import Symbol
from arcface_mxnet.graph.symbol_json import read_json
from arcface_mxnet.graph.to_onnx import onnx_model
from arcface_mxnet.recognition.networks import NetworkSettings, build
from arcface_mxnet.recognition.presets import NETWORKS
from arcface_mxnet.runtime.errors import InputError

import numpy
import onnx
import pytest

IMAGE = (1, 3, 112, 112)


@pytest.fixture(scope="module")
def checkpoint():
    """A network with a slope, a fixed scale that is stored as something else, and a dense layer on a map."""
    settings = NetworkSettings(net_name="fmobilefacenet", net_output="E", emb_size=16, net_multiplier=0.25,
                               net_blocks=(1, 1, 1, 1))
    made = untrained(build(settings), IMAGE, images=16)
    made.args["fc1_gamma"][:] = 7
    return made


def test_a_network_is_written_and_agrees(checkpoint, tmp_path):
    path = tmp_path / "model.onnx"
    difference = write_onnx(checkpoint, str(path), {"colour": "RGB"})
    assert difference < 1e-4
    model = onnx.load(str(path))
    assert model.opset_import[0].version == 13 and model.ir_version == 7
    assert [value.name for value in model.graph.input] == ["data"]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert {entry.key: entry.value for entry in model.metadata_props} == {"colour": "RGB"}


def test_the_published_network_agrees(fixtures, tmp_path):
    published = load(str(fixtures / "published_y1" / "model"), 0)
    assert write_onnx(published, str(tmp_path / "y1.onnx"), {}) < 1e-5


@pytest.mark.parametrize("damage", ["slope", "scale", "operator"])
def test_a_file_that_does_not_agree_is_refused(checkpoint, damage):
    model = onnx_model(checkpoint)
    if damage == "operator":
        model.graph.node[5].op_type = "Nonsense"
    else:
        kind = {"slope": "PRelu", "scale": "BatchNormalization"}[damage]
        name = [node for node in model.graph.node if node.op_type == kind][-1].input[1]
        stored = next(value for value in model.graph.initializer if value.name == name)
        values = onnx.numpy_helper.to_array(stored) * 2
        stored.CopyFrom(onnx.numpy_helper.from_array(values, name))
    with pytest.raises(InputError, match="it was not kept") as caught:
        verify(checkpoint, model.SerializeToString(), "damaged.onnx", place(None, "cpu"))
    assert "\n" not in str(caught.value) and "damaged.onnx" in str(caught.value)


def test_nothing_is_left_behind_when_it_is_refused(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, "LARGEST_DIFFERENCE", 0.0)
    with pytest.raises(InputError, match="differs from mxnet"):
        write_onnx(checkpoint, str(tmp_path / "model.onnx"), {})
    assert not list(tmp_path.iterdir())


def test_an_operator_the_exporter_does_not_know_is_named():
    net = mx.sym.Convolution(mx.sym.Variable("data"), num_filter=2, kernel=(1, 1), name="conv")
    net = Symbol(read_json(mx.sym.erfinv(net, name="last").tojson(), "net", allow=["erfinv"]))
    made = untrained(net, (1, 3, 24, 24))
    with pytest.raises(InputError, match="erfinv"):
        onnx_model(made)


def test_the_comparison_is_not_of_a_thing_with_itself(checkpoint):
    content = onnx_model(checkpoint).SerializeToString()
    other = untrained(checkpoint.symbol, IMAGE, seed=1, images=2)
    with pytest.raises(InputError, match="differs"):
        verify(other, content, "other.onnx", place(None, "cpu"))
    assert numpy.isfinite(verify(checkpoint, content, "same.onnx", place(None, "cpu")))


@pytest.mark.parametrize("name", ["r18", "m05", "mnas025", "vargfacenet", "small", "d121"])
def test_every_family_is_written_and_agrees(name, tmp_path):
    known = {field.name for field in dataclasses.fields(NetworkSettings)}
    settings = NetworkSettings(**{key: value for key, value in NETWORKS[name].items() if key in known})
    made = untrained(build(settings), settings.input_shape, images=16 if name == "vargfacenet" else 4)
    assert write_onnx(made, str(tmp_path / "model.onnx"), {}) < 2e-5


OPERATORS = {
    "sqrt": lambda x: sym.sqrt(sym.square(x) + 0.1), "exp": lambda x: sym.exp(x * 0.1),
    "log": lambda x: sym.log(sym.square(x) + 1.0), "relu": sym.relu, "sigmoid": sym.sigmoid, "negative": lambda x: -x,
    "clip": lambda x: sym.clip(x, -0.2, 0.3), "sum over a side": lambda x: sym.sum(x, axis=2),
    "sum kept": lambda x: sym.sum(x, axis=(2, 3), keepdims=True),
    "mean of the others": lambda x: sym.broadcast_mul(x, sym.mean(x, axis=(0, 1), exclude=True, keepdims=True)),
    "mean": lambda x: sym.mean(x, axis=3), "unit rows": lambda x: sym.L2Normalization(sym.Flatten(x)),
    "unit images": sym.L2Normalization, "softmax by channel": lambda x: sym.SoftmaxActivation(x, mode="channel"),
    "softmax of rows": lambda x: sym.SoftmaxActivation(sym.Flatten(x)),
    "reshape": lambda x: sym.Reshape(x, shape=(0, -1, 4)), "a new axis": lambda x: sym.expand_dims(x, axis=2),
    "a part": lambda x: sym.slice_axis(x, axis=1, begin=1, end=3), "to the end": lambda x: sym.slice_axis(
        x, axis=-1, begin=-3, end=None),
    "scalars": lambda x: 1.0 / (sym.maximum(2.0 - x, 0.5) + sym.minimum(x / 3.0, 0.25)),
    "two maps": lambda x: sym.maximum(x, sym.Activation(x, act_type="tanh")) - sym.minimum(x, x * 0.5),
    "joined": lambda x: sym.Concat(x, sym.Activation(x, act_type="softrelu"), dim=1),
    "elu": lambda x: sym.LeakyReLU(x, act_type="elu", slope=0.3),
    "leaky": lambda x: sym.LeakyReLU(x, act_type="leaky", slope=0.2),
    "softsign": lambda x: sym.Activation(x, act_type="softsign"),
    "largest": lambda x: sym.Pooling(x, global_pool=True, kernel=(1, 1), pool_type="max"),
    "mean of all": lambda x: sym.Pooling(x, global_pool=True, kernel=(1, 1), pool_type="avg"),
    "windows over the rim": lambda x: sym.Pooling(x, kernel=(3, 3), stride=(2, 2), pool_type="max",
                                                  pooling_convention="full"),
    "means with the rim": lambda x: sym.Pooling(x, kernel=(3, 3), stride=(2, 2), pad=(1, 1), pool_type="avg"),
    "means without it": lambda x: sym.Pooling(x, kernel=(3, 3), stride=(2, 2), pad=(1, 1), pool_type="avg",
                                              count_include_pad=False)}


@pytest.mark.parametrize("name", OPERATORS)
def test_every_operator_is_written_as_the_engine_runs_it(name, tmp_path):
    maps = sym.Convolution(sym.Variable("data") * 0.01, kernel=(3, 3), stride=(2, 2), num_filter=4, name="conv0")
    network = sym.FullyConnected(OPERATORS[name](maps), num_hidden=5, name="fc1")
    made = untrained(network, (1, 3, 24, 24), images=16 if name == "vargfacenet" else 4)
    assert write_onnx(made, str(tmp_path / "model.onnx"), {}) < 1e-5


def test_a_softmax_whose_axes_are_in_doubt_is_refused():
    maps = sym.Convolution(sym.Variable("data"), kernel=(3, 3), num_filter=4, name="conv0")
    made = untrained(sym.FullyConnected(sym.SoftmaxActivation(maps), num_hidden=5, name="fc1"), (1, 3, 24, 24))
    with pytest.raises(InputError, match="softmax over all of 4 axes"):
        onnx_model(made)


def test_a_grey_network_of_another_project_is_written(fixtures, tmp_path):
    grey = load(str(fixtures / "mobileface_v1" / "MobileFace_Identification_V1"), 0)
    assert write_onnx(grey, str(tmp_path / "v1.onnx"), {}) < 1e-5


@pytest.mark.parametrize("factor", [1e-7, 1e4])
def test_the_tolerance_follows_the_length_of_the_embeddings(checkpoint, tmp_path, factor):
    """A file of long embeddings that agrees is kept; one of tiny ones that does not is refused."""
    args = {**checkpoint.args, "pre_fc1_weight": checkpoint.args["pre_fc1_weight"]}
    scaled = Checkpoint(checkpoint.symbol, args, {**checkpoint.aux, "fc1_moving_var": checkpoint.aux["fc1_moving_var"]
                                                  / factor ** 2, "fc1_moving_mean": checkpoint.aux["fc1_moving_mean"]})
    scaled.args["fc1_beta"] = checkpoint.args["fc1_beta"] * factor
    assert write_onnx(scaled, str(tmp_path / "model.onnx"), {}) < 1e-4
    wrong = Checkpoint(scaled.symbol, {**scaled.args, "fc1_beta": scaled.args["fc1_beta"] + factor}, scaled.aux)
    with pytest.raises(InputError, match="differs"):
        verify(wrong, onnx_model(scaled).SerializeToString(), "wrong.onnx", place(None, "cpu"))
