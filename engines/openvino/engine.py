"""The functions of an engine (engines.base.Engine) that embeds, in OpenVINO.

OpenVINO runs PReLU as a part of the convolution before it, which MXNet's operators cannot express: MobileFaceNet embeds
1.1 to 1.5 times as fast. Precision is stated: left to itself OpenVINO takes bfloat16 on processors that have it.
"""
from pathlib import Path
from typing import Optional, Union

from arcface_mxnet.engines.base import FLOAT32, Numerics, require_float32
from arcface_mxnet.engines.onnx_check import require_known
from arcface_mxnet.engines.onnx_form import OnnxNetwork, Run
from arcface_mxnet.graph.checkpoint import Checkpoint
from arcface_mxnet.runtime.environment import available_cores, free_memory
from arcface_mxnet.runtime.errors import InputError, one_line

import numpy as np
import openvino
from onnx import ModelProto

NAME = "openvino"


def version() -> str:
    """Of OpenVINO."""
    return str(openvino.__version__).split("-")[0]


def devices(text: Optional[str] = None) -> str:
    """From the flag --gpus: OpenVINO computes on the CPU here."""
    if text is not None and text.strip() != "cpu":
        raise InputError(f"--gpus {text}: OpenVINO embeds on the CPU here; take --gpus cpu or another --engine")
    return "CPU"


def describe(devices: str, numerics: Numerics = FLOAT32) -> str:
    """Engine, version, device and precision in one line."""
    return f"engine openvino {version()}, {devices.lower()}, float32"


def on_gpu(devices: str) -> int:
    """How many GPUs these are: none."""
    return 0


def free_bytes(devices: str) -> int:
    """Memory that is free for one batch now, on the machine."""
    return free_memory()


def largest_batch(devices: str, exact: bool = False) -> Optional[int]:
    """How many images pass at once at most: any number."""
    return None


def network(checkpoint: Checkpoint, devices: str, exact: bool = False, numerics: Numerics = FLOAT32) -> OnnxNetwork:
    """A checkpoint that ends in its embedding, ready to embed; `exact` changes nothing here."""
    require_float32(NAME, numerics)
    return OnnxNetwork(checkpoint, lambda content: _compiled(content, devices))


def run_file(path: Path, devices: str, model: ModelProto) -> Run:
    """What runs an ONNX file; InputError naming it where it cannot be loaded or holds operators that are not known."""
    require_known(model, path, "OpenVINO", "take --engine onnxruntime")
    try:
        return _compiled(str(path), devices)
    except Exception as error:  # OpenVINO raises kinds of its own, from C++
        raise InputError(f"{path}: OpenVINO cannot load it ({one_line(error)})") from None


def _compiled(source: Union[bytes, str], devices: str) -> Run:
    """A Run of the bytes or the path of an ONNX model."""
    core = openvino.Core()
    model = core.compile_model(core.read_model(source), devices, {
        "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": available_cores()})
    output = model.output(0)
    return lambda images: np.array(model([images])[output])
