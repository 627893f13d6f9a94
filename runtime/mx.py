"""The one import of MXNet: `from arcface_mxnet.runtime.mx import mx`; what must be set before it is set here alone."""
import os
import sys
from typing import MutableMapping

from arcface_mxnet.runtime.cores import available_cores
from arcface_mxnet.runtime.cuda import preload_libraries
from arcface_mxnet.runtime.errors import InputError, leave
from arcface_mxnet.runtime.python_version import check_python

import numpy


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


def restore_numpy_aliases() -> None:
    """Give NumPy 1.24 and later the `numpy.bool` that MXNet 1.9.1 reads at import (Python 3.12 needs NumPy 1.26)."""
    if "bool" not in numpy.__dict__:
        numpy.bool = bool  # type: ignore[attr-defined]


prepare_environment(os.environ, available_cores())
restore_numpy_aliases()
try:
    check_python((sys.version_info[0], sys.version_info[1]))
    preload_libraries()
except InputError as error:  # commands import this before run_command is there to catch anything
    leave(error)

import mxnet as mx  # noqa: E402  (everything above must come first)

__all__ = ["mx"]
