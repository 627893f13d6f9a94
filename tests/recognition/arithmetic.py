"""Whose arithmetic a run has: pins of whole runs hold to the last bit only where it is the one they were set with."""
import platform
from typing import Tuple

from arcface_mxnet.engines.mxnet.mx import mx
from tests.processor import FLAGS, TOLD

import cv2

# For the environment of a process whose bits are to be pinned.
SAME_KERNELS = {"OMP_NUM_THREADS": "1", "DNNL_MAX_CPU_ISA": "AVX2", "OPENBLAS_CORETYPE": "Haswell"}
PINNED = ("1.9.1", "4.11.0", "AuthenticAMD", "26", "avx2", "glibc 2.36")


def arithmetic() -> Tuple[str, ...]:
    """What decides the last bits: MXNet, the JPEG decoder, whose processor it is (kernels look at its caches), and the
    C library: MXNet's arccos is its `acosf`, which glibc 2.41 changed.
    """
    avx2 = "avx2" if "avx2" in FLAGS else ""
    return (mx.__version__, cv2.__version__, TOLD.get("vendor_id", ""), TOLD.get("cpu family", ""), avx2,
            " ".join(platform.libc_ver()))
