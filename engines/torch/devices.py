"""Where PyTorch computes, and in which numbers: the flag --gpus and `Numerics` read into devices and switches."""
import os
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Callable, Dict, Optional

from arcface_mxnet.engines.base import Numerics
from arcface_mxnet.engines.bfloat16 import gain
from arcface_mxnet.runtime.errors import InputError

import numpy as np
import torch
from torch import Tensor

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it once: without it sums may vary
COMPILER: Dict[str, Any] = {  # options of torch.compile for maps stored by pixel on a CPU
    # It decides on the order of axes by the forward convolutions of a graph, and a backward graph has none: it would
    # copy maps of depthwise layers back and forth there.
    "force_layout_optimization": True,
    # BatchNorm reads a map and four values for each channel, which it takes for five maps: it would write the result
    # to memory a second time rather than compute it again from one.
    "realize_reads_threshold": 16, "realize_opcount_threshold": 100}
LOCAL_RANK = "LOCAL_RANK"  # torchrun's number of this process on its machine


@dataclass(frozen=True)
class Where:
    """One device, and the number of shares a batch of this process is split into: as many BatchNorm statistics."""

    device: torch.device
    replicas: int = 1


def where(text: Optional[str] = None) -> Where:
    """The device a --gpus value asks for.

    None: the first CUDA or ROCm device (under torchrun the one of this process), else Apple's, else the CPU. "cpu";
    "cpu:N": N replicas on the CPU. "cuda:N" or "N": that GPU. "mps". Raises InputError for what is not there.
    """
    local = int(os.environ.get(LOCAL_RANK, "0"))
    if text is None:
        if torch.cuda.is_available():
            return Where(torch.device("cuda", local % torch.cuda.device_count()))
        return Where(torch.device("mps" if torch.backends.mps.is_available() else "cpu"))
    kind, _, number = text.strip().lower().partition(":")
    if kind == "cpu":
        if number and (not number.isdigit() or int(number) < 1):
            raise InputError(f"--gpus {text}: expected cpu or cpu:N with N from 1")
        return Where(torch.device("cpu"), int(number or 1))
    if kind == "mps":
        if not torch.backends.mps.is_available():
            raise InputError(f"--gpus {text}: PyTorch sees no Apple GPU here; take --gpus cpu")
        return Where(torch.device("mps"))
    return Where(torch.device("cuda", _gpu(text, number if kind == "cuda" else text, local)))


def _gpu(text: str, number: str, local: int) -> int:
    """The CUDA device of this process out of "0", "2" or "0,1,2,3": with several, torchrun's LOCAL_RANK picks."""
    numbers = [part.strip() for part in number.split(",")] if number else ["0"]
    if not all(part.isdigit() for part in numbers):
        raise InputError(f"--gpus {text}: expected cpu, cpu:N, mps, cuda:N or GPU numbers like 0,1")
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", os.environ.get("WORLD_SIZE", "1")))
    if len(numbers) > 1 and len(numbers) != processes:
        raise InputError(f"--gpus {text}: PyTorch takes a process for each GPU; start with 'torchrun --nproc-per-node "
                         f"{len(numbers)} -m arcface_mxnet.recognition.train ...'")
    chosen = int(numbers[local] if len(numbers) > 1 else numbers[0])
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if chosen >= found:
        raise InputError(f"--gpus {text}: PyTorch sees no GPU {chosen} here (found {found}); take --gpus cpu")
    return chosen


def set_numerics(numerics: Numerics, device: torch.device) -> None:
    """Switch PyTorch to these numbers: float32 means float32, and the same bits every time.

    The switches are the whole process's, so whoever computes sets them before it does: a validation in float32 may come
    between two steps in TF32. cuDNN may choose its algorithms by trying them only where a faster mode was chosen:
    another choice is other bits.
    """
    faster = numerics.tf32 or numerics.bf16 or numerics.fp16 or numerics.autotune
    torch.backends.cuda.matmul.allow_tf32 = numerics.tf32
    torch.backends.cudnn.allow_tf32 = numerics.tf32
    torch.backends.cudnn.benchmark = faster
    torch.backends.cudnn.deterministic = not faster
    if torch.are_deterministic_algorithms_enabled() == faster:
        torch.use_deterministic_algorithms(not faster, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # all is written first
    if device.type == "cuda" and device.index not in (None, torch.cuda.current_device()):
        torch.cuda.set_device(device)


def low_type(numerics: Numerics) -> Optional[torch.dtype]:
    """The reduced precision of the network, None for none."""
    return torch.bfloat16 if numerics.bf16 else torch.float16 if numerics.fp16 else None


@lru_cache(maxsize=None)
def convolution_gain() -> float:
    """How many times as fast as in float32 a convolution (3x3, 64 channels of 28x28) is in bfloat16 on the CPU."""
    images = torch.randn(8, 64, 28, 28).to(memory_format=torch.channels_last)
    weight = torch.randn(64, 64, 3, 3)

    def runs(kind: torch.dtype) -> Callable[[], object]:
        given = images.to(kind), weight.to(kind)
        return lambda: torch.nn.functional.conv2d(*given, padding=1)

    with torch.inference_mode():
        return gain(runs(torch.float32), runs(torch.bfloat16))


def by_pixel(numerics: Numerics, device: torch.device) -> bool:
    """Whether maps are stored pixel by pixel: faster on CPUs, and on tensor cores."""
    if numerics.channels_last is not None:
        return numerics.channels_last
    return device.type == "cpu" or device.type == "cuda" and (numerics.bf16 or numerics.fp16 or numerics.tf32)


def stored(tensor: Tensor, pixelwise: bool) -> Tensor:
    """The tensor as a network reads it: maps and weights (n, c, h, w) pixel by pixel where `pixelwise`.

    `.contiguous()` would not do: by its rule a weight of one input channel (depthwise) is stored by pixel already,
    while the kernels go by its strides and would take the slower path.
    """
    return tensor.to(memory_format=torch.channels_last) if pixelwise and tensor.dim() == 4 else tensor


def placed(value: np.ndarray, device: torch.device, pixelwise: bool) -> Tensor:
    """A copy of an array on the device, in float32, as a network reads it."""
    return stored(torch.from_numpy(np.array(value, dtype=np.float32)).to(device), pixelwise)


def compiled(function: Callable[..., Any], device: torch.device, pixelwise: bool) -> Callable[..., Any]:
    """The function by torch.compile, whole and for one shape."""
    options = COMPILER if pixelwise and device.type == "cpu" else None
    return torch.compile(function, fullgraph=True, dynamic=False, options=options)


def described(place: Where, numerics: Numerics) -> str:
    """Version, device and precision in one line."""
    name = str(place.device)
    if place.device.type == "cuda":
        name = f"{place.device} ({torch.cuda.get_device_name(place.device)})"
    if place.replicas > 1:
        name += f" as {place.replicas} replicas"
    precision = "bfloat16 convolutions" if numerics.bf16 else "float16 convolutions" if numerics.fp16 else "float32"
    parts = [precision] + [word for word, on in (("TF32", numerics.tf32), ("autotuned", numerics.autotune),
                                                 ("compiled", numerics.compile),
                                                 ("CUDA graphs", numerics.graphs)) if on]
    return f"engine torch {torch.__version__}, {name}, {', '.join(parts)}"
