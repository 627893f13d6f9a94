"""Which layers in eight bits can leave 16 bits: by a double loop, in every form a file has them, and who is told."""
import warnings

from arcface_mxnet.engines import onnx_file
from arcface_mxnet.engines.base import installed, place
from arcface_mxnet.engines.int8_saturation import adds_in_16_bits, largest_pair, saturating_layers
from arcface_mxnet.engines.onnx_file import OnnxFile
from arcface_mxnet.engines.onnx_int8 import int8_model
from arcface_mxnet.runtime.errors import Notice
from tests.engines.test_onnx_int8 import IMAGES, network
from tests.engines.test_onnx_int8 import largest_pair as by_a_loop

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

pytest.importorskip("onnxruntime")
ENGINES = [name for name in ("onnxruntime", "openvino") if name in installed()]


@given(st.integers(1, 5), st.integers(1, 6), st.sampled_from([0, 1, 3]), st.booleans(), st.integers(0, 999))
def test_the_largest_pair_is_that_of_a_loop(outputs, inputs, kernel, depthwise, seed):
    inputs = 1 if depthwise else inputs
    shape = (outputs, inputs, kernel, kernel) if kernel else (outputs, inputs)
    weights = np.random.RandomState(seed).randint(-128, 128, shape)
    found = largest_pair(weights, outputs if depthwise else 1)
    depthwise = depthwise or inputs == 1 == outputs  # one channel of one input is both
    assert found.tolist() == [by_a_loop(row, depthwise) for row in weights]


@pytest.mark.parametrize("flags, adds", [
    ("fpu sse2 avx2", True), ("avx2 avx512f avx512bw", True), ("avx2 avx_vnni", False), ("avx512_vnni", False),
    ("amx_int8", False)])
def test_processors_without_vnni_add_in_16_bits(flags, adds, tmp_path, monkeypatch):
    said = tmp_path / "cpuinfo"
    said.write_text(f"model name\t: any\nflags\t\t: {flags}\nbugs\t\t: avx_vnni\n")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert adds_in_16_bits(said) == adds
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert not adds_in_16_bits(said) and not adds_in_16_bits(tmp_path / "none")


def model(op, weight, **attributes):
    """A layer of a network in eight bits, as tools write it."""
    integer = {"QLinearConv": ["d", "s", "z", "w", "s", "z", "s", "z"], "ConvInteger": ["d", "w"],
               "QLinearMatMul": ["d", "s", "z", "w", "s", "z", "s", "z"], "MatMulInteger": ["d", "w"]}
    nodes = [helper.make_node(op, integer.get(op, ["d", "w_grid"]), ["y"], name="layer", **attributes)]
    if op not in integer:
        nodes.insert(0, helper.make_node("DequantizeLinear", ["w", "s", "z"], ["w_grid"]))
    values = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.array(0.1, np.float32), "s"),
              numpy_helper.from_array(np.array(0, weight.dtype), "z")]
    return helper.make_model(helper.make_graph(nodes, "one", [], [helper.make_tensor_value_info(
        "y", TensorProto.FLOAT, None)], values))


def weights(shape, first, second, kind=np.int8):
    """Weights of 1 but the first channel's first two inputs."""
    made = np.ones(shape, kind)
    made[0, 0], made[0, 1] = first, second
    return made


@pytest.mark.parametrize("op, turned, attributes", [
    ("Conv", False, {}), ("QLinearConv", False, {}), ("ConvInteger", False, {}), ("Gemm", False, {"transB": 1}),
    ("Gemm", True, {}), ("MatMul", True, {}), ("QLinearMatMul", True, {}), ("MatMulInteger", True, {})])
def test_every_form_of_a_layer_is_seen(op, turned, attributes, tmp_path):
    """Two neighbours that come to 129; in a convolution two of unlike signs do not."""
    shape = (4, 6, 3, 3) if "Conv" in op else (4, 6)
    for first, second, over in ((100, 29, "Conv" in op), (64, -127, False), (64, 64, False), (65, 2, False)):
        made = weights(shape, first, second)
        over = over or "Conv" not in op and 2 * max(abs(first), abs(second)) > 128
        found = saturating_layers(model(op, made.T if turned else made, **attributes), tmp_path / "m.onnx")
        assert found == (["layer"] if over else [], 1), (first, second)


def test_depthwise_layers_and_unsigned_weights_do_not_saturate(tmp_path):
    deep = np.full((6, 1, 3, 3), 127, np.int8)
    assert saturating_layers(model("Conv", deep, group=6), tmp_path / "m.onnx") == ([], 1)
    assert saturating_layers(model("Conv", deep, group=1), tmp_path / "m.onnx") == (["layer"], 1)
    assert saturating_layers(model("Conv", weights((4, 6, 1, 1), 255, 255, np.uint8)), tmp_path / "m.onnx") == ([], 0)


def test_values_in_a_file_beside_are_read(tmp_path):
    made = model("Conv", weights((4, 6, 3, 3), 127, 127))
    onnx.save(made, str(tmp_path / "m.onnx"), save_as_external_data=True, location="m.data", size_threshold=0)
    beside = onnx.load(str(tmp_path / "m.onnx"), load_external_data=False)
    assert saturating_layers(beside, tmp_path / "m.onnx") == (["layer"], 1)


def stored(tmp_path, full):
    """A network in eight bits by this project, with `full` its weights on all 127 steps as other tools write them."""
    made = int8_model(network(), IMAGES)
    for one in made.graph.initializer:
        if full and one.name.endswith("_weight_int8"):
            whole = numpy_helper.to_array(one).astype(float)
            largest = np.abs(whole).reshape(len(whole), -1).max(1).reshape((-1,) + (1,) * (whole.ndim - 1))
            one.CopyFrom(numpy_helper.from_array(np.rint(whole * 127 / largest).astype(np.int8), one.name))
    path = tmp_path / "int8.onnx"
    path.write_bytes(made.SerializeToString())
    return path


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("narrow", [True, False])
def test_who_loads_such_a_file_on_such_a_processor_is_told(engine, full, narrow, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file, "adds_in_16_bits", lambda: narrow)
    path = stored(tmp_path, full)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        OnnxFile(path, place(engine, "cpu"))
    told = [str(one.message) for one in caught if one.category is Notice]
    assert len(told) == (full and narrow)
    if told:
        assert told[0].startswith(f"{path}: this processor has no VNNI") and "of 4 layers in eight bits" in told[0]
