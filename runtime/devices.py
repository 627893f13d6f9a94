"""Where the numbers are computed: the `--gpus` flag read into MXNet contexts."""
from typing import List, Optional, Sequence

from arcface_mxnet.runtime.cuda import COMPILED_CAPABILITIES, Gpu, installed_mxnet, machine_gpus, wheel_needs_cuda
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.mx import mx

CPU_HINT = "add '--gpus cpu' to go on with the CPU"


def contexts(text: Optional[str] = None) -> List[mx.Context]:
    """The contexts a `--gpus` value asks for.

    "0,1,2,3": those GPUs. "cpu": the CPU; "cpu:N": N CPU contexts, for checking data parallelism without a GPU.
    None: every GPU the installed MXNet can use, else one CPU context. Raises InputError in one line where a GPU is
    asked for that is not there, or that this build holds no machine code for.
    """
    if text is not None and text.split(":")[0].strip().lower() == "cpu":
        return _cpu_contexts(text)
    folder = installed_mxnet()
    gpu_build = folder is not None and wheel_needs_cuda(folder)
    return [mx.gpu(index) for index in gpu_indices(text, machine_gpus() if gpu_build else [], gpu_build)] or [mx.cpu()]


def gpu_indices(text: Optional[str], gpus: Sequence[Gpu], gpu_build: bool) -> List[int]:
    """The GPU numbers to use out of those the machine has; empty means the CPU. Raises as `contexts` does."""
    wanted = [gpu.number for gpu in gpus] if text is None else _numbers(text)
    if wanted and not gpu_build:
        raise InputError(f"--gpus {text}: MXNet here is the CPU build; {CPU_HINT}, or install requirements.txt")
    by_index = {gpu.number: gpu for gpu in gpus}
    for index in wanted:
        if index not in by_index:
            raise InputError(f"--gpus {text}: no GPU {index} here (found {len(gpus)}); {CPU_HINT}")
        gpu = by_index[index]
        if not gpu.runs_wheel:
            known = ", ".join(f"{major}.{minor}" for major, minor in COMPILED_CAPABILITIES)
            raise InputError(f"GPU {index} ({gpu.name}) has compute capability "
                             f"{gpu.capability[0]}.{gpu.capability[1]}, this MXNet has code for {known}; {CPU_HINT}")
    return wanted


def _numbers(text: str) -> List[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--gpus {text}: expected GPU numbers like 0,1 or cpu or cpu:2") from None
    if len(set(numbers)) != len(numbers) or min(numbers) < 0:
        raise InputError(f"--gpus {text}: each GPU once, counted from 0")
    return numbers


def _cpu_contexts(text: str) -> List[mx.Context]:
    count = text.partition(":")[2] or "1"
    if not count.isdigit() or int(count) < 1:
        raise InputError(f"--gpus {text}: expected cpu or cpu:N with N from 1")
    return [mx.cpu(index) for index in range(int(count))]
