"""Eight-bit ONNX: its grids by hand, near to float32 on every runtime, written by a command that others read."""
from arcface_mxnet.engines.base import installed, place
from arcface_mxnet.engines.onnx_file import OnnxFile
from arcface_mxnet.engines.onnx_int8 import int8_model, widest, write_int8
from arcface_mxnet.evaluation.embedder import Embedder
from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.graph.checkpoint import Checkpoint, save
from arcface_mxnet.graph.equalise import equalised
from arcface_mxnet.graph.inference import folded_form
from arcface_mxnet.graph.to_onnx import onnx_model
from arcface_mxnet.recognition import export
from arcface_mxnet.runtime.errors import InputError

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from tests.engines.int8_lab import Layer, with_output_on_grid  # noqa: E402

RUNTIMES = [name for name in ("onnxruntime", "openvino") if name in installed()]
SIDE = 16
IMAGES = np.random.RandomState(0).randint(0, 256, (12, 3, SIDE, SIDE)).astype(np.float32)


def network(seed=0, spread=30.0):
    """Convolution, BatchNorm, PReLU, depthwise convolution, sum and dense layer; channels of widely different sizes."""
    def norm(value, name):
        return sym.BatchNorm(value, fix_gamma=False, eps=2e-5, name=name)

    net = (sym.Variable("data") - 127.5) * 0.0078125
    net = norm(sym.Convolution(net, num_filter=8, kernel=(3, 3), stride=(2, 2), no_bias=True, name="conv0"), "bn0")
    trunk = sym.LeakyReLU(net, act_type="prelu", name="relu0")
    net = sym.Convolution(trunk, num_filter=8, kernel=(3, 3), pad=(1, 1), num_group=8, no_bias=True, name="conv1")
    net = sym.LeakyReLU(norm(net, "bn1"), act_type="prelu", name="relu1")
    net = trunk + norm(sym.Convolution(net, num_filter=8, kernel=(1, 1), no_bias=True, name="conv2"), "bn2")
    symbol = sym.BatchNorm(sym.FullyConnected(net, num_hidden=6, no_bias=True, name="pre_fc1"), fix_gamma=True,
                           eps=2e-5, name="fc1")
    random = np.random.RandomState(seed)
    shapes, _, states = symbol.infer_shape(data=(1, 3, SIDE, SIDE))
    args = {name: random.randn(*shape).astype(np.float32) * 0.3
            for name, shape in zip(symbol.list_arguments(), shapes) if name != "data"}
    args["bn0_gamma"] = np.geomspace(1, spread, 8).astype(np.float32)
    aux = {name: (np.ones if name.endswith("var") else np.zeros)(shape, np.float32)
           for name, shape in zip(symbol.list_auxiliary_states(), states)}
    return Checkpoint(symbol, args, aux)


def rows(content, images, engine="onnxruntime", where=None):
    where.write_bytes(content)
    return OnnxFile(where, place(engine, "cpu")).embed(images, 4).astype(np.float64)


def lowest_cosine(one, other):
    return float(((one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)).min())


@pytest.mark.parametrize("engine", RUNTIMES)
def test_it_is_near_to_float32_on_every_runtime(engine, tmp_path):
    model = network()
    content = int8_model(model, IMAGES)
    onnx.checker.check_model(content, full_check=True)
    found = rows(content.SerializeToString(), IMAGES, engine, tmp_path / "int8.onnx")
    expected = rows(onnx_model(model, IMAGES.shape[1:]).SerializeToString(), IMAGES, engine, tmp_path / "f.onnx")
    assert lowest_cosine(found, expected) > 0.995 and np.abs(found - expected).max() > 0


def largest_pair(row, depthwise):
    """Of integer weights (i, kh, kw) or (i,): the largest sum of two of one sign that may be added in 16 bits."""
    if depthwise:
        return np.abs(row).max()
    if row.ndim == 1 or len(row) % 2:
        return 2 * np.abs(row).max()
    sums = [0]
    for channel in range(0, len(row), 2):
        for at in np.ndindex(*row.shape[1:]):
            two = [row[(other, *at)] for other in (channel, channel + 1)]
            sums += [sum(one for one in two if one > 0), -sum(one for one in two if one < 0)]
    return max(sums)


@pytest.mark.parametrize("spread", [1, 0.008], ids=["alike", "every second small"])
@pytest.mark.parametrize("layer", [
    Layer(3, 64, 3), Layer(3, 16, 7), Layer(1, 16, 3), Layer(2, 16, 3), Layer(64, 64, 3), Layer(33, 20, 3),
    Layer(64, 64, 1), Layer(64, 64, 3, groups=64), Layer(64, 128, 3, groups=64), Layer(64, 64, 3, groups=8),
    Layer(24, 48, 3, groups=8), Layer(8, 32, 0)], ids=lambda layer: "-".join(map(str, layer)))
@pytest.mark.parametrize("engine", RUNTIMES)
def test_large_sums_are_exact_on_every_processor(engine, layer, spread, tmp_path):
    """Against float64 on the same grids, with a float output and with one on a grid. With 127 for every largest weight
    outputs were wrong by up to 13 times the largest on a processor without VNNI; only there this test can fail.
    """
    model, path, where = layer.model(spread), tmp_path / "one.onnx", place(engine, "cpu")
    wanted = layer.expected(model)

    def found():
        path.write_bytes(model.SerializeToString())
        return where.engine.run_file(path, where.devices, model)(layer.images())

    largest = np.abs(wanted).max()
    assert np.abs(found() - wanted).max() < 1e-6 * largest
    with_output_on_grid(model, largest / 127)
    assert np.abs(found() - wanted).max() < 0.51 * largest / 127


def test_weights_and_maps_lie_on_the_grids_of_their_ranges():
    """By hand from the float model: 127 steps to the largest magnitude of a map; of an output channel 127, or fewer
    where two weights of one sign would otherwise come to more than 128.
    """
    model, image = network(), IMAGES.shape[1:]
    even = onnx_model(equalised(folded_form(model, (1, *image)), IMAGES,
                                lambda graph, shown, names: widest(onnx_model(graph, image), shown, names)), image)
    stored = {one.name: onnx.numpy_helper.to_array(one) for one in even.graph.initializer}
    made = int8_model(model, IMAGES)
    value = {one.name: onnx.numpy_helper.to_array(one) for one in made.graph.initializer}
    layers = [node for node in even.graph.node if node.op_type in ("Conv", "Gemm")]
    assert len(layers) == 4
    for node in layers:
        weight = stored[node.input[1]].reshape(len(stored[node.input[1]]), -1).astype(np.float64)
        stored_whole = value[f"{node.input[1]}_int8"]
        whole = stored_whole.reshape(weight.shape)
        step = value[f"{node.input[1]}_step"].astype(np.float64)[:, None]
        assert whole.dtype == np.int8
        group = next((one.i for one in node.attribute if one.name == "group"), 1)
        for row in stored_whole.astype(int):
            pair = largest_pair(row, depthwise=group == len(stored_whole))
            assert pair <= 128 and (np.abs(row).max() == 127 or pair >= 127)
        assert (np.abs(whole * step - weight) <= step * 0.5001).all()
        seen = widest(even, IMAGES, [node.input[0]])[node.input[0]].max()
        assert value[f"{node.input[0]}_step"] == pytest.approx(seen / 127, rel=1e-6)
    kinds = [node.op_type for node in made.graph.node]
    assert kinds.count("QuantizeLinear") == 4 and kinds.count("DequantizeLinear") == 8
    assert not {node.input[1] for node in layers} & set(value)  # float weights are gone
    add, = (node for node in made.graph.node if node.op_type == "Add")
    assert "relu0_grid" in add.input  # the sum reads the map that the convolution reads


def test_the_largest_magnitudes_are_those_of_each_channel():
    image = IMAGES.shape[1:]
    model = folded_form(network(), (1, *image))
    found = widest(onnx_model(model, image), IMAGES, ["data", "conv0"])
    np.testing.assert_array_equal(found["data"], IMAGES.max(axis=(0, 2, 3)))
    weight, bias = (model.args[f"conv0_{part}"].astype(np.float64) for part in ("weight", "bias"))
    patches = np.lib.stride_tricks.sliding_window_view(IMAGES - 127.5, (3, 3), (2, 3))[:, :, ::2, ::2]
    wanted = np.abs(np.einsum("ncyxhw,ochw->noyx", patches, weight) + bias[:, None, None]).max(axis=(0, 2, 3))
    np.testing.assert_allclose(found["conv0"], wanted, rtol=1e-4)


def test_channels_with_prelus_between_are_evened_out_without_changing_the_rows(tmp_path):
    model, image = folded_form(network(spread=300.0), (1, *IMAGES.shape[1:])), IMAGES.shape[1:]
    even = equalised(model, IMAGES, lambda graph, shown, names: widest(onnx_model(graph, image), shown, names))
    before, after = (rows(onnx_model(one, image).SerializeToString(), IMAGES, where=tmp_path / "m.onnx")
                     for one in (model, even))
    assert np.abs(after - before).max() < 1e-5 * np.abs(before).max()

    def spread(one):
        seen = widest(onnx_model(one, image), IMAGES, ["relu0"])["relu0"]
        return seen.max() / seen.min()

    assert spread(even) < spread(model) / 5


def test_what_cannot_be_quantised_is_refused_and_leaves_nothing(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="images to calibrate"):
        int8_model(network(), IMAGES[:0])
    path = tmp_path / "bad.onnx"
    monkeypatch.setattr("arcface_mxnet.engines.onnx_int8._LOWEST_COSINE", 1.1)
    with pytest.raises(InputError, match=r"bad.onnx: its rows have a cosine of .* it was not kept"):
        write_int8(network(), IMAGES, str(path), {}, "onnxruntime")
    assert list(tmp_path.iterdir()) == []


def wide():
    """The same for 112x112, which the command's built-in faces have."""
    whole = network()
    args = dict(whole.args)
    args["pre_fc1_weight"] = np.random.RandomState(1).randn(6, 8 * 55 * 55).astype(np.float32) * 0.01
    return Checkpoint(whole.symbol, args, whole.aux)


@pytest.mark.parametrize("engine", RUNTIMES)
def test_the_command_writes_a_file_that_others_take(engine, tmp_path, capsys):
    save(wide(), str(tmp_path / "model"), 0)
    out = tmp_path / "deploy" / "int8.onnx"
    out.parent.mkdir()
    export.main(["int8", "--model", f"{tmp_path}/model,0", "--count", "8", "--engine", engine, "--out", str(out)])
    assert f"--engine {engine}" in capsys.readouterr().out
    card = (out.parent / "int8.onnx.card.md").read_text()
    assert "int8, calibrated on 8 images" in card and "lowest cosine to float32" in card
    pictures = export.calibration_images((3, 112, 112), None, 4, seed=1)
    found = Embedder.load(str(out), place(engine, "cpu")).embed(pictures).astype(np.float64)
    expected = Embedder(wide(), place(engine, "cpu")).embed(pictures)
    assert lowest_cosine(found, expected) > 0.98
