"""Eight-bit integers as ONNX: QuantizeLinear and DequantizeLinear around the convolutions and dense layers.

Runtimes take a layer whose input and weights come from DequantizeLinear for an integer one (OpenVINO with its PReLU and
residual sum fused; ONNX Runtime fuses less and gains less). Normalisations are folded and the channels of each map are
brought to like ranges first (graph.equalise). Ranges are the extremes seen on the images: one for a map, one for each
output channel of the weights; both symmetric, so that zero padding stays zero. Weights are small enough for processors
without VNNI, where runtimes would compute something else (`_steps`). No MXNet is needed.
"""
from typing import Any, Dict, List, Mapping, Sequence

from arcface_mxnet.engines.base import place
from arcface_mxnet.engines.int8_saturation import largest_pair
from arcface_mxnet.engines.onnx_file import OnnxFile
from arcface_mxnet.engines.onnxruntime.engine import devices, session
from arcface_mxnet.graph.checkpoint import Checkpoint, embedding_only
from arcface_mxnet.graph.equalise import equalised
from arcface_mxnet.graph.inference import folded_form
from arcface_mxnet.graph.to_onnx import onnx_model
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import atomic_path

import numpy as np

_LAYERS = ("Conv", "Gemm")
_LARGEST = 127
_LARGEST_PAIR = 127.5  # of two weights: each is rounded up by half a step at most, and 255 * (128 + 1) leaves 16 bits
_BATCH = 8
_LOWEST_COSINE = 0.5


def int8_model(checkpoint: Checkpoint, images: np.ndarray) -> Any:
    """The ModelProto of a checkpoint in int8, float32 in and out; `images` (n, c, h, w) 0..255 show the ranges.

    Raises InputError without images, or for a graph that has no form in ONNX.
    """
    if not len(images):
        raise InputError("int8 needs images to calibrate on")
    image = images.shape[1:]
    folded = folded_form(embedding_only(checkpoint), (1, *image))
    even = equalised(folded, images, lambda graph, shown, names: widest(onnx_model(graph, image), shown, names))
    model = onnx_model(even, image)
    return _quantised(model, {name: float(by_channel.max())
                              for name, by_channel in widest(model, images, _maps(model)).items()})


def _maps(model: Any) -> List[str]:
    """The tensors that go on a grid: what layers read, and of a residual sum the side that no layer computes last.

    A layer adds the other side in its own accumulator. Where both sides are layers' the second goes on a grid.
    """
    constants = {one.name for one in model.graph.initializer}
    layers = {node.output[0] for node in model.graph.node if node.op_type in _LAYERS}
    found: Dict[str, None] = {}
    for node in model.graph.node:
        if node.op_type in _LAYERS and node.input[1] in constants:
            found[node.input[0]] = None
        elif node.op_type == "Add" and not constants.intersection(node.input):
            sides = [name for name in node.input if name not in layers]
            found.update(dict.fromkeys(sides or node.input[1:]))
    return list(found)


def write_int8(checkpoint: Checkpoint, images: np.ndarray, path: str, metadata: Mapping[str, str],
               engine: str) -> float:
    """Write `path` in int8 and run it on `engine`; returns the lowest cosine to the float32 rows on some `images`.

    Nothing is left behind where onnx's checker refuses the file, or where a cosine is below 0.5: no network then.
    """
    import onnx

    model = int8_model(checkpoint, images)
    onnx.helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model, full_check=True)
    where, shown = place(engine, "cpu"), images[:_BATCH]
    expected = where.engine.network(embedding_only(checkpoint), where.devices).embed(shown, _BATCH)
    with atomic_path(path) as temporary:
        temporary.write_bytes(model.SerializeToString())
        rows = OnnxFile(temporary, where).embed(shown, _BATCH)
        cosine = float(_cosines(rows, expected).min())
        if not cosine > _LOWEST_COSINE:
            raise InputError(f"{path}: its rows have a cosine of {cosine:.2f} to those of float32; calibrate on "
                             "--images that the network was made for; it was not kept")
    return cosine


def _cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return (one.astype(np.float64) * other).sum(axis=1) / np.maximum(lengths, np.finfo(np.float32).tiny)


def widest(model: Any, images: np.ndarray, tensors: Sequence[str]) -> Dict[str, np.ndarray]:
    """The largest magnitude of each channel, float64 (c,), of the named tensors of a ModelProto over the images."""
    import onnx

    given = model.graph.input[0].name
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    del shown.graph.output[:]
    wanted = [name for name in tensors if name != given]
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
    run = session(shown.SerializeToString(), devices("cpu"), "the graph")
    found: Dict[str, np.ndarray] = {}
    for start in range(0, len(images), _BATCH):
        batch = np.ascontiguousarray(images[start:start + _BATCH], dtype=np.float32)
        values = dict(zip(wanted, run.run(wanted, {given: batch})))
        for name in tensors:
            value = np.abs(values.get(name, batch))
            most = value.max(axis=(0, *range(2, value.ndim))).astype(np.float64)
            found[name] = np.maximum(found.get(name, 0.0), most)
    return found


def _steps(weights: np.ndarray, groups: int) -> np.ndarray:
    """The step of each output channel, float32 (o,), of weights (o, i) or (o, i, kh, kw), float64.

    No two weights that a processor without VNNI would add in 16 bits sum to more than 128 (engines.int8_saturation).
    """
    largest = np.abs(weights).reshape(len(weights), -1).max(axis=1)
    step = np.maximum(largest / _LARGEST, largest_pair(weights, groups) / _LARGEST_PAIR)
    return np.where(step > np.finfo(np.float32).tiny, step, 1.0).astype(np.float32)


def _quantised(model: Any, largest: Dict[str, float]) -> Any:
    """The model with inputs and weights of its layers on grids of up to 255 values; `largest` magnitude by tensor."""
    from onnx import helper, numpy_helper

    values = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    made: Dict[str, np.ndarray] = {}
    nodes: List[Any] = []
    ready: Dict[str, str] = {}

    def constant(name: str, value: np.ndarray) -> str:
        made[name] = value
        return name

    def map_on_grid(name: str) -> str:
        scale = constant(f"{name}_step", np.array(largest[name] / _LARGEST or 1.0, np.float32))
        zero = constant(f"{name}_zero", np.array(0, np.int8))
        nodes.append(helper.make_node("QuantizeLinear", [name, scale, zero], [f"{name}_int8"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}_int8", scale, zero], [f"{name}_grid"]))
        return f"{name}_grid"

    def weights_on_grid(name: str, groups: int) -> str:
        value = values[name].astype(np.float64)
        step = _steps(value, groups)
        whole = np.rint(value / step.astype(np.float64).reshape((-1,) + (1,) * (value.ndim - 1)))
        inputs = [constant(f"{name}_int8", np.clip(whole, -_LARGEST, _LARGEST).astype(np.int8)),
                  constant(f"{name}_step", step), constant(f"{name}_zero", np.zeros(len(step), np.int8))]
        nodes.append(helper.make_node("DequantizeLinear", inputs, [f"{name}_grid"], axis=0))
        return f"{name}_grid"

    for node in model.graph.node:
        weights = node.input[1] if node.op_type in _LAYERS and node.input[1] in values else None
        groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
        for name in node.input:
            if name not in ready and (name in largest or name == weights):
                ready[name] = map_on_grid(name) if name in largest else weights_on_grid(name, groups)
        node.input[:] = [ready.get(name, name) for name in node.input]  # all who read a map read one grid
        nodes.append(node)
    used = {name for node in nodes for name in node.input}
    kept = [one for one in model.graph.initializer if one.name in used]
    kept += [numpy_helper.from_array(value, name) for name, value in made.items()]
    for field, content in (("node", nodes), ("initializer", kept)):
        copies = [type(one).FromString(one.SerializeToString()) for one in content]
        del getattr(model.graph, field)[:]
        getattr(model.graph, field).extend(copies)
    return model
