"""The one import of MXNet, for the modules of this folder; what must be set before it is set here alone.

Also where MXNet computes (`contexts`, the `--gpus` flag) and how it binds (`subgraphs_off`).
"""
import contextlib
import os
import sys
import warnings
from typing import Any, Callable, Iterator, List, MutableMapping, NoReturn, Optional, Sequence

from arcface_mxnet.runtime.environment import (
    WHAT_SERVES,
    Gpu,
    available_cores,
    check_python,
    machine_gpus,
    missing_library,
    missing_library_advice,
    preload_libraries,
)
from arcface_mxnet.runtime.errors import InputError, Notice, leave

import numpy

CPU_HINT = "add '--gpus cpu' to go on with the CPU"
CPU_BUILD = "MXNet here is the CPU build"
_SUBGRAPHS_OFF = {"MXNET_SUBGRAPH_BACKEND": "NONE", "MXNET_SUBGRAPH_VERBOSE": "0"}


def prepare_environment(environ: MutableMapping[str, str], cores: int) -> None:
    """Set what MXNet reads once, at import; a value the user has set is never changed.

    OMP_NUM_THREADS: MXNet takes half of the processors for OpenMP; all of them measured 1.3 to 1.8 times faster.
    MXNET_OPTIMIZER_AGGREGATION_SIZE: fused multi-tensor SGD takes up to 60 arrays a call (4 by default).
    MXNET_CPU_PARALLEL_SIZE: a copy of more elements than this (200,000) runs on OpenMP threads of the thread that
    asked. That second pool makes GNU OpenMP, now with more threads than processors, stop spinning in the engine's own
    pool, and the demo network trained at 430 images/s instead of 800 from the first large copy on. Copies are bound by
    memory anyway: never in parallel.
    MXNET_SUBGRAPH_VERBOSE: a line on stderr at every bind says nothing a user can act on.
    MXNET_CUDNN_AUTOTUNE_DEFAULT stays as it is: the original tunes too.
    """
    environ.setdefault("OMP_NUM_THREADS", str(cores))
    environ.setdefault("MXNET_CPU_PARALLEL_SIZE", str(2 ** 31 - 1))
    environ.setdefault("MXNET_SUBGRAPH_VERBOSE", "0")
    environ.setdefault("MXNET_OPTIMIZER_AGGREGATION_SIZE", "60")


def _unavailable(*given: object, **named: object) -> NoReturn:
    raise NotImplementedError("NumPy no longer has this function, so mx.np cannot offer it")


# What MXNet 1.9.1 reads from NumPy at import and later NumPys lack. All fill `mx.np`, which nothing here uses.
_REMOVED_NAMES = {
    "PZERO": 0.0, "NZERO": -0.0, "NINF": -numpy.inf, "PINF": numpy.inf, "NAN": numpy.nan, "NaN": numpy.nan,
    "Inf": numpy.inf, "alltrue": numpy.all, "sometrue": numpy.any, "round_": numpy.round, "product": numpy.prod,
    "in1d": numpy.isin, "trapz": getattr(numpy, "trapezoid", _unavailable),
    **{name: _unavailable for name in ("msort", "mirr", "npv", "pmt", "ppmt", "pv", "rate")}}


@contextlib.contextmanager
def removed_numpy_names() -> Iterator[None]:
    """While entered, NumPy has the names that MXNet 1.9.1 reads at import and NumPy 2 and later no longer have.

    `bool` (gone from 1.24 to 1.26) is read by MXNet at run time too and stays.
    """
    if "bool" not in vars(numpy):
        numpy.bool = bool  # type: ignore[attr-defined]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a name on its way out warns when it is looked up
        lent = [name for name in _REMOVED_NAMES if not hasattr(numpy, name)]
    for name in lent:
        setattr(numpy, name, _REMOVED_NAMES[name])
    try:
        yield
    finally:
        for name in lent:
            delattr(numpy, name)


@contextlib.contextmanager
def without(*modules: str) -> Iterator[None]:
    """While entered, these modules cannot be imported, unless they have been already."""
    absent = [module for module in modules if module not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # None is what Python itself looks for
    try:
        yield
    finally:
        for module in absent:
            del sys.modules[module]


class _Bytes(numpy.ndarray):
    """An array with the `tostring` that NumPy 2.3 removed."""

    def tostring(self) -> bytes:
        return self.tobytes()


class _Changed:
    """A module as another one is to see it: some functions changed, the rest as it is."""

    def __init__(self, module: Any, **changed: Callable[..., Any]) -> None:
        self._module = module
        vars(self).update(changed)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def give_tostring(recordio: Any) -> None:
    """Let `mx.recordio` call `tostring` on the arrays that its pack and pack_img make."""
    encode = recordio.cv2.imencode

    def imencode(*given: Any, **named: Any) -> Any:
        done, content = encode(*given, **named)
        return done, content.view(_Bytes)

    recordio.np = _Changed(numpy, asarray=lambda *given, **named: numpy.asarray(*given, **named).view(_Bytes))
    recordio.cv2 = _Changed(recordio.cv2, imencode=imencode)


prepare_environment(os.environ, available_cores())
try:
    check_python((sys.version_info[0], sys.version_info[1]))
    preload_libraries()
except InputError as error:  # commands import this before run_command is there to catch anything
    leave(error)

try:
    # A base class of mx.model.FeedForward and the entropy of a calibration, for a second of loading.
    with removed_numpy_names(), without("sklearn", "scipy.stats"):
        import mxnet as mx  # (everything above must come first)
except OSError as error:
    absent = missing_library(str(error))
    if absent is None:
        raise
    leave(InputError(missing_library_advice(absent)))
if not hasattr(numpy.ndarray, "tostring"):
    give_tostring(mx.recordio)


def contexts(text: Optional[str] = None) -> List[mx.Context]:
    """The contexts a `--gpus` value asks for.

    "0,1,2,3": those GPUs. "cpu": the CPU; "cpu:N": N CPU contexts, for checking data parallelism without a GPU.
    None: every GPU that the installed MXNet runs on, else one CPU context, with a notice about a GPU that stays idle.
    Which MXNet it is tells MXNet itself, and whether it runs on a GPU a kernel there: a build of one's own or of a
    vendor's container serves as well as the wheel. Raises InputError in one line where a GPU is requested that is not
    there, or that this MXNet does not run on.
    """
    if text is not None and text.split(":")[0].strip().lower() == "cpu":
        return _cpu_contexts(text)
    cuda = bool(mx.runtime.Features().is_enabled("CUDA"))
    return [mx.gpu(index) for index in gpu_indices(text, machine_gpus(), _kernel_fault if cuda else None)] or [mx.cpu()]


def _kernel_fault(index: int) -> Optional[str]:
    """Why this MXNet does not compute on a GPU, out of one small kernel run there; None where it does."""
    try:
        total = float((mx.nd.ones((2, 3), ctx=mx.gpu(index)) + 1.0).sum().asscalar())
    except mx.base.MXNetError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return lines[-1] if lines else "no reason given"
    return None if total == 12.0 else f"its sum of six twos is {total:g}"


def gpu_indices(text: Optional[str], gpus: Sequence[Gpu], fault: Optional[Callable[[int], Optional[str]]]) -> List[int]:
    """The GPU numbers to use out of those the machine has; empty means the CPU. Raises as `contexts` does.

    `fault` tells why MXNet does not run on a GPU, None where it does; it is None itself for a build without CUDA.
    """
    if text is None:
        return _usable(gpus, fault)
    by_index = {gpu.number: gpu for gpu in gpus}
    wanted = _numbers(text)
    for index in wanted:
        if index not in by_index:
            raise InputError(f"--gpus {text}: no GPU {index} here (found {len(gpus)}); {CPU_HINT}")
        why = CPU_BUILD if fault is None else fault(index)
        if why is not None:
            raise InputError(f"--gpus {text}: {by_index[index].description}: {why}; {CPU_HINT}. "
                             f"{_remedy(by_index[index], fault is not None)}")
    return wanted


def _usable(gpus: Sequence[Gpu], fault: Optional[Callable[[int], Optional[str]]]) -> List[int]:
    """The GPUs that MXNet runs on; a notice about each that stays idle."""
    usable = []
    for gpu in gpus:
        why = CPU_BUILD if fault is None else fault(gpu.number)
        if why is None:
            usable.append(gpu.number)
        else:
            warnings.warn(f"{gpu.description} stays idle: {why}. {_remedy(gpu, fault is not None)}", Notice)
    return usable


def _remedy(gpu: Gpu, gpu_build: bool) -> str:
    """What makes use of a GPU that this MXNet does not run on."""
    if gpu.runs_wheel and not gpu_build:
        return "What serves it: MXNet's GPU wheel ('make setup REQUIREMENTS=requirements.txt')"
    return WHAT_SERVES


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


@contextlib.contextmanager
def subgraphs_off() -> Iterator[None]:
    """Bind without oneDNN's subgraphs: with them the second forward of a depthwise network fails, and an output from
    the middle of a fused pair is an error.

    MXNet reads the setting at each bind, so that other graphs keep their subgraphs; a user's own setting stays.
    """
    changed = [name for name in _SUBGRAPHS_OFF if name not in os.environ]
    for name in changed:
        os.environ[name] = _SUBGRAPHS_OFF[name]
    try:
        yield
    finally:
        for name in changed:
            del os.environ[name]
