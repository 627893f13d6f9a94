"""A checkpoint as an ONNX file that other runtimes load and agree with.

MXNet 1.9.1's exporter writes files that ONNX Runtime refuses or that compute something else. Its faults and what is
done here: a dense layer's unstated flattening is read as off (stated outright); the opset of whichever onnx is
installed is stamped, not the one the operators were written for (13, IR 7, stamped again); PReLU slopes keep shape (C,)
and would run along the width (reshaped to (C, 1, 1)); a BatchNorm with a fixed scale keeps what is stored in gamma
(written as 1); `onnx.mapping`, which onnx 1.19 dropped, is read (given back). Parameters are also taken off the list of
inputs, so that a runtime may fold them.
"""
import importlib.util
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any, Mapping

from arcface_mxnet.engines.mxnet.convert import ndarrays, to_mxnet
from arcface_mxnet.engines.mxnet.executor import forward
from arcface_mxnet.engines.mxnet.mx import mx
from arcface_mxnet.graph.checkpoint import Checkpoint
from arcface_mxnet.graph.describe import image_shape
from arcface_mxnet.graph.editing import Editing
from arcface_mxnet.graph.fold import drop_training_only
from arcface_mxnet.graph.inference import exact_form
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import atomic_path

import numpy

OPSET = 13
IR_VERSION = 7
LARGEST_DIFFERENCE = 1e-4


def write_onnx(checkpoint: Checkpoint, path: str, metadata: Mapping[str, str]) -> float:
    """Write `path`, dynamic in the batch, checked and compared; returns the largest difference to MXNet.

    The file appears only after onnx's checker accepts it and ONNX Runtime's outputs, on batches of one and three
    images, differ from MXNet's by less than 1e-4; otherwise InputError says why and nothing is left behind.
    """
    model = onnx_model(checkpoint)
    for key, value in metadata.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    content = model.SerializeToString()
    difference = verify(checkpoint, content, path)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return difference


def onnx_model(checkpoint: Checkpoint) -> "onnx.ModelProto":  # type: ignore[name-defined]  # noqa: F821
    """The corrected ONNX model; raises InputError naming the operator the exporter does not know."""
    import onnx  # only this format needs it

    _restore_mapping(onnx)
    editing = Editing(checkpoint)
    drop_training_only(editing)
    for node in editing.graph.nodes():
        if node.op == "FullyConnected":
            node.attrs["flatten"] = str(node.flag("flatten", True))
        elif node.op == "BatchNorm" and node.flag("fix_gamma", True):
            gamma = node.inputs[1][0]
            editing.set_value(gamma, numpy.ones_like(editing.value(gamma)))
    prepared = editing.finish()
    channels, height, width = image_shape(checkpoint)
    with tempfile.TemporaryDirectory() as folder:
        raw = str(Path(folder) / "raw.onnx")
        try:
            mx.onnx.export_model(to_mxnet(prepared.symbol), ndarrays({**prepared.args, **prepared.aux}),
                                 [(1, channels, height, width)], [numpy.float32], raw, dynamic=True,
                                 dynamic_input_shapes=[(None, channels, height, width)])
        except AttributeError as error:
            raise InputError(f"this graph cannot be written as ONNX: {str(error).splitlines()[0]}") from None
        model = onnx.load(raw)
    _correct(model)
    return model


def _restore_mapping(onnx: Any) -> None:
    """Give onnx 1.19 and later the module `onnx.mapping` that MXNet's exporter reads."""
    if hasattr(onnx, "mapping") or importlib.util.find_spec("onnx.mapping") is not None:
        return
    kinds = [kind for kind in onnx.TensorProto.DataType.values() if kind != onnx.TensorProto.UNDEFINED]
    to_numpy = {kind: onnx.helper.tensor_dtype_to_np_dtype(kind) for kind in kinds}
    mapping: Any = ModuleType("onnx.mapping")
    mapping.TENSOR_TYPE_TO_NP_TYPE = to_numpy
    mapping.NP_TYPE_TO_TENSOR_TYPE = {name: onnx.helper.np_dtype_to_tensor_dtype(name) for name in to_numpy.values()}
    sys.modules["onnx.mapping"] = onnx.mapping = mapping


def verify(checkpoint: Checkpoint, content: bytes, name: str) -> float:
    """Largest difference of an ONNX model's outputs to MXNet's; InputError, naming the file, if it is no copy."""
    import onnx
    import onnxruntime

    try:
        onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    except Exception as error:  # the two libraries raise kinds of their own, from C++ too
        raise InputError(f"{name}: not a valid ONNX file ({_one_line(error)}); it was not kept") from None
    random = numpy.random.RandomState(0)
    largest = 0.0
    for batch in (1, 3):
        images = random.randint(0, 256, (batch,) + image_shape(checkpoint)).astype("float32")
        expected = _forward(checkpoint, images)
        try:
            output = session.run(None, {"data": images})[0]
        except Exception as error:
            raise InputError(f"{name}: ONNX Runtime fails on it ({_one_line(error)}); it was not kept") from None
        if output.shape != expected.shape:
            raise InputError(f"{name}: gives {output.shape} in place of {expected.shape}; it was not kept")
        largest = max(largest, float(abs(output - expected).max()))
    if not largest < LARGEST_DIFFERENCE:
        raise InputError(f"{name}: differs from MXNet by {largest:.1e}, more than {LARGEST_DIFFERENCE:.0e}; "
                         "it was not kept")
    return largest


def _correct(model: "onnx.ModelProto") -> None:  # type: ignore[name-defined]  # noqa: F821
    """Versions, slopes, inputs and the names of the batch axis, in place."""
    model.ir_version = IR_VERSION
    for entry in model.opset_import:
        entry.version = OPSET
    slopes = {node.input[1] for node in model.graph.node if node.op_type == "PRelu"}
    stored = {initializer.name: initializer for initializer in model.graph.initializer}
    for name in slopes:
        if len(stored[name].dims) == 1:
            stored[name].dims.extend([1, 1])
    for value in [value for value in model.graph.input if value.name in stored]:
        model.graph.input.remove(value)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"


def _forward(checkpoint: Checkpoint, images: numpy.ndarray) -> numpy.ndarray:
    return forward(exact_form(checkpoint, images.shape), {"data": images})[0]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
