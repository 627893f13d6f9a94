"""An ONNX file as a model: the same rows as the checkpoint it was made from, whoever scales the pixels."""
import json

from arcface_mxnet.engines.base import installed, place
from arcface_mxnet.evaluation.angles import has_centres
from arcface_mxnet.evaluation.command import model_hashes
from arcface_mxnet.evaluation.embedder import Embedder, fitting_batch_size
from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.graph.checkpoint import Checkpoint, embedding_only, save
from arcface_mxnet.graph.to_onnx import onnx_model
from arcface_mxnet.recognition import extract
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import sha256
from tests.evaluation.small_network import network

import cv2
import numpy as np
import pytest

onnxruntime = pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")
CPU = place("onnxruntime", "cpu")


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 3, 112, 112)).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    where = tmp_path_factory.mktemp("models")
    save(network(), str(where / "model"), 0)
    (where / "model.onnx").write_bytes(onnx_model(network()).SerializeToString())
    return where


def test_it_gives_the_rows_of_its_checkpoint(folder, images):
    made = Embedder.load(str(folder / "model.onnx"), CPU, batch_size=2)
    stored = Embedder.load(f"{folder}/model,0", CPU)
    assert made.image_size == (112, 112)
    for flip in ("none", "concatenate"):
        np.testing.assert_allclose(made.embed(images, flip), stored.embed(images, flip), rtol=1e-4, atol=1e-5)
    both = Embedder.load(f"{folder}/model,0|{folder}/model.onnx", CPU).embed(images)
    assert both.shape == (5, 10)
    assert model_hashes(str(folder / "model.onnx")) == {"model.onnx": sha256(folder / "model.onnx")}
    assert fitting_batch_size(str(folder / "model.onnx"), (112, 112), CPU) == 64
    assert not has_centres(str(folder / "model.onnx"))


def unscaled():
    """The same network on pixels from -1 to 1: its own scaling left out."""
    net = sym.Convolution(sym.Variable("data"), num_filter=6, kernel=(16, 16), stride=(16, 16), no_bias=True,
                          name="conv0")
    net = sym.Flatten(sym.Pooling(net, kernel=(7, 7), pool_type="avg"))
    symbol = sym.BatchNorm(sym.FullyConnected(net, num_hidden=5, name="pre_fc1"), name="fc1")
    whole = network()
    return embedding_only(Checkpoint(symbol, whole.args, whole.aux))


def test_a_graph_that_does_not_scale_is_fed_scaled_pixels(tmp_path, images):
    (tmp_path / "plain.onnx").write_bytes(onnx_model(unscaled()).SerializeToString())
    scaled = (images.astype(np.float32) - 127.5) / 127.5
    expected = Embedder(unscaled(), CPU).embed(scaled)
    rows = Embedder.load(str(tmp_path / "plain.onnx")).embed(images)
    np.testing.assert_allclose(rows, expected, rtol=1e-4, atol=1e-5)


def test_a_file_of_one_batch_size_is_fed_whole_batches(folder, tmp_path, images):
    model = onnx.load(str(folder / "model.onnx"))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save(model, str(tmp_path / "two.onnx"))
    rows = Embedder.load(str(tmp_path / "two.onnx"), CPU).embed(images)
    expected = Embedder.load(str(folder / "model.onnx"), CPU).embed(images)
    np.testing.assert_allclose(rows, expected, rtol=1e-4, atol=1e-5)


def test_the_extraction_command_takes_one(folder, tmp_path, images):
    (tmp_path / "faces").mkdir()
    for number, image in enumerate(images):
        cv2.imwrite(str(tmp_path / "faces" / f"{number}.png"), image.transpose(1, 2, 0)[:, :, ::-1])
    extract.main(["--model", str(folder / "model.onnx"), "--images", str(tmp_path / "faces"), "--gpus", "cpu",
                  "--out", str(tmp_path / "out")])
    expected = Embedder.load(f"{folder}/model,0", CPU).embed(images)
    np.testing.assert_allclose(np.load(tmp_path / "out" / "embeddings.npy"), expected, rtol=1e-4, atol=1e-5)
    assert json.loads((tmp_path / "out" / "extraction.json").read_text())["complete"]


def test_what_cannot_be_run_is_refused(folder, tmp_path, images):
    with pytest.raises(InputError, match="absent.onnx: not found; give the .onnx file"):
        Embedder.load(str(tmp_path / "absent.onnx"))
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(InputError, match="bad.onnx: no ONNX file"):
        Embedder.load(str(tmp_path / "bad.onnx"))
    model = Embedder.load(str(folder / "model.onnx"), CPU)
    with pytest.raises(InputError, match="model.onnx: does not take images of shape .1, 112, 112.; it takes 3x"):
        model.embed(images[:, :1])
    with pytest.raises(ValueError, match="one checkpoint"):
        model.update({}, {})
    if "mxnet" in installed():
        with pytest.raises(InputError, match="an ONNX file runs with --engine onnxruntime or openvino, not with mxnet"):
            Embedder.load(str(folder / "model.onnx"), place("mxnet", "cpu"))


def picture_model(tmp_path, nodes, values):
    """A file that takes pictures of 2x2; `nodes` make `found` of their 12 numbers, `flat`."""
    kind, helper = onnx.TensorProto.FLOAT, onnx.helper
    taken = helper.make_tensor_value_info("data", kind, ["b", 3, 2, 2])
    given = helper.make_tensor_value_info("found", kind, ["b", 12])
    graph = helper.make_graph([helper.make_node("Flatten", ["data"], ["flat"], axis=1), *nodes], "g", [taken], [given],
                              values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    return tmp_path / "m.onnx"


def values_in(location, length="48"):
    """Twelve numbers that lie in another file."""
    tensor = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[12],
                              data_location=onnx.TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", length)):
        tensor.external_data.add(key=key, value=value)
    return tensor


@pytest.mark.parametrize("engine", [name for name in ("onnxruntime", "openvino") if name in installed()])
def test_values_may_lie_in_a_file_beside_the_model_and_nowhere_else(engine, tmp_path):
    where, added = place(engine, "cpu"), [onnx.helper.make_node("Add", ["flat", "w"], ["found"])]
    pixels = np.full((2, 3, 2, 2), 255, np.uint8)
    (tmp_path / "secret").write_bytes(np.arange(12, dtype=np.float32).tobytes())
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "values").write_bytes(np.arange(12, dtype=np.float32).tobytes())
    rows = Embedder(picture_model(folder, added, [values_in("values")]), where).embed(pixels)
    np.testing.assert_allclose(rows, 1 + np.arange(12)[None] + np.zeros((2, 1)))
    for location in ("../secret", str(tmp_path / "secret"), "..", ""):
        with pytest.raises(InputError, match="the values of 'w' lie in .*, not beside the model"):
            Embedder(picture_model(folder, added, [values_in(location)]), where)
    with pytest.raises(InputError, match="beyond its end .48 bytes"):
        Embedder(picture_model(folder, added, [values_in("values", "52")]), where)


def test_openvino_is_not_given_operators_that_index_by_values(tmp_path):
    """OpenVINO 2026.4 read outside the tensor here; ONNX Runtime checks."""
    nodes = [onnx.helper.make_node("GatherND", ["flat", "places"], ["found"])]
    file = picture_model(tmp_path, nodes, [onnx.numpy_helper.from_array(np.full((4, 1), 9), "places")])
    pixels = np.zeros((4, 3, 2, 2), np.uint8)
    with pytest.raises(InputError, match="onnxruntime fails on it"):
        Embedder(file, CPU).embed(pixels)
    if "openvino" in installed():
        with pytest.raises(InputError, match="GatherND.: not run by OpenVINO from a file"):
            Embedder(file, place("openvino", "cpu"))
