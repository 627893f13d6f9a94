"""The functions of an engine (engines.base.Engine) that embeds, in ONNX Runtime."""
from pathlib import Path as FilePath
from typing import Any, List, NamedTuple, Optional

from arcface_mxnet.engines.base import FLOAT32, Numerics, require_float32
from arcface_mxnet.engines.onnx_form import OnnxNetwork, Run
from arcface_mxnet.graph.checkpoint import Checkpoint
from arcface_mxnet.runtime.environment import available_cores, free_memory
from arcface_mxnet.runtime.errors import InputError, one_line

import numpy as np
import onnxruntime
from onnx import ModelProto

NAME = "onnxruntime"
_GPU = ("CUDAExecutionProvider", "ROCMExecutionProvider", "MIGraphXExecutionProvider", "DmlExecutionProvider",
        "CoreMLExecutionProvider")


class Place(NamedTuple):
    """Where a model runs: an execution provider, and which device of it."""

    provider: str
    number: int = 0


def version() -> str:
    """Of ONNX Runtime."""
    return str(onnxruntime.__version__)


def devices(text: Optional[str] = None) -> Place:
    """From the flag --gpus: "cpu", or the number of a GPU; None takes a GPU's provider where one is installed."""
    there = [name for name in _GPU if name in onnxruntime.get_available_providers()]
    if text is None:
        return Place(there[0] if there else "CPUExecutionProvider")
    if text.strip() == "cpu":
        return Place("CPUExecutionProvider")
    if not text.strip().isdigit():
        raise InputError(f"--gpus {text}: ONNX Runtime takes one device, cpu or the number of a GPU")
    if not there:
        raise InputError(f"--gpus {text}: this ONNX Runtime has no provider for a GPU; install onnxruntime-gpu in the "
                         "place of onnxruntime, or take --gpus cpu")
    return Place(there[0], int(text))


def describe(devices: Place, numerics: Numerics = FLOAT32) -> str:
    """Engine, version, device and precision in one line."""
    where = devices.provider.replace("ExecutionProvider", "").lower()
    return f"engine onnxruntime {version()}, {where}{f' {devices.number}' if where != 'cpu' else ''}, float32"


def on_gpu(devices: Place) -> int:
    """How many GPUs these are; 0 for a CPU."""
    return int(devices.provider != "CPUExecutionProvider")


def free_bytes(devices: Place) -> int:
    """Memory that is free for one batch now, on the machine."""
    return free_memory()


def largest_batch(devices: Place, exact: bool = False) -> Optional[int]:
    """How many images pass at once at most: any number."""
    return None


def session(content: Any, place: Place, source: str) -> onnxruntime.InferenceSession:
    """A session of a model (its bytes or its path); InputError naming `source` where it cannot be run here."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = available_cores(), 3
    chosen: List[Any] = [(place.provider, {"device_id": place.number} if place.provider.startswith("CUDA") else {})]
    try:
        made = onnxruntime.InferenceSession(content, options, providers=chosen)
    except Exception as error:  # ONNX Runtime raises kinds of its own, from C++
        raise InputError(f"{source}: ONNX Runtime cannot load it ({one_line(error)})") from None
    if place.provider not in made.get_providers():
        raise InputError(f"{source}: {place.provider} could not be started, see the messages above; take --gpus cpu")
    return made


def run_file(path: FilePath, devices: Place, model: ModelProto) -> Run:
    """What runs an ONNX file; InputError naming it where it cannot be loaded. `model` is what was read of it."""
    made = session(str(path), devices, str(path))
    return lambda images: np.asarray(made.run(None, {made.get_inputs()[0].name: images})[0])


def network(checkpoint: Checkpoint, devices: Place, exact: bool = False, numerics: Numerics = FLOAT32) -> OnnxNetwork:
    """A checkpoint that ends in its embedding, ready to embed; `exact` changes nothing here."""
    require_float32(NAME, numerics)

    def compiled(content: bytes) -> Run:
        made = session(content, devices, "the graph")
        return lambda images: np.asarray(made.run(None, {made.get_inputs()[0].name: images})[0])

    return OnnxNetwork(checkpoint, compiled)
