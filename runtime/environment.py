"""The machine before and without MXNet: its Python, its processors, its GPUs and the CUDA libraries of `mxnet-cu112`.

The GPU wheel links the CUDA 11 libraries; they come from PyPI (`requirements.txt`) and lie in site-packages/nvidia,
where the loader does not look. Loading them here by path, dependencies first, lets `import mxnet` find them with no
LD_LIBRARY_PATH. Only libcuda.so.1, the driver, must come from the machine. Standard library only.
"""
import ctypes
import importlib.util
import os
from pathlib import Path
from typing import Any, List, NamedTuple, Optional

from arcface_mxnet.runtime.errors import InputError

OLDEST, NEWEST = (3, 8), (3, 12)
DRIVER = "libcuda.so.1"
# Read from the library with cuobjdump: machine code for these and no PTX. Each runs its own major version upwards.
COMPILED_CAPABILITIES = ((5, 0), (6, 0), (7, 0), (8, 0), (8, 6))

# Dependencies before their users; every one is a DT_NEEDED of libmxnet.so or of another line here.
_LIBRARIES = (
    "cuda_runtime/lib/libcudart.so.11.0",
    "cublas/lib/libcublasLt.so.11",
    "cublas/lib/libcublas.so.11",
    "cuda_nvrtc/lib/libnvrtc.so.11.2",
    "cufft/lib/libcufft.so.10",
    "curand/lib/libcurand.so.10",
    "cusparse/lib/libcusparse.so.11",
    "cusolver/lib/libcusolver.so.11",
    "cudnn/lib/libcudnn.so.8",
    "nccl/lib/libnccl.so.2",
    "nvtx/lib/libnvToolsExt.so.1",
)
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76  # CUdevice_attribute


class Gpu(NamedTuple):
    """One GPU as the driver describes it; `capability` is (major, minor)."""

    number: int
    name: str
    capability: "tuple[int, int]"

    @property
    def runs_wheel(self) -> bool:
        """Whether the wheel holds machine code this GPU executes: same major version, minor not newer than its own."""
        major, minor = self.capability
        return any(major == compiled[0] and minor >= compiled[1] for compiled in COMPILED_CAPABILITIES)


def check_python(version: "tuple[int, int]") -> None:
    """Raise InputError with one clear sentence on a (major, minor) that MXNet 1.9.1 cannot run on."""
    if not OLDEST <= version <= NEWEST:
        raise InputError(f"Python {version[0]}.{version[1]} cannot run MXNet 1.9.1; use Python 3.8 to 3.12, "
                         "for example 'make setup PYTHON=python3.11'")


def available_cores() -> int:
    """The processors this process may use (its affinity, not the machine's total)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def installed_mxnet() -> Optional[Path]:
    """Folder of the installed MXNet, or None; does not import it."""
    found = importlib.util.find_spec("mxnet")
    return Path(found.origin).parent if found and found.origin else None


def wheel_needs_cuda(folder: Path) -> bool:
    """Whether the installed MXNet is a GPU wheel, told by the name its metadata carries."""
    return any(folder.parent.glob("mxnet_cu*.dist-info"))


def preload_libraries() -> None:
    """Load the CUDA libraries of a GPU wheel by path; does nothing for a CPU wheel.

    Raises InputError in one line when the driver is missing (MXNet's own message would name a missing .so only) or
    when a library of requirements.txt is not installed.
    """
    folder = installed_mxnet()
    if folder is None:
        raise InputError("MXNet is not installed in this Python; run 'make setup' and use .venv/bin/python")
    if not wheel_needs_cuda(folder):
        return
    load_driver()
    for library in _LIBRARIES:
        path = folder.parent / "nvidia" / library
        if path.exists():
            ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
        elif not _system_has(path.name):
            raise InputError(f"{path}: not found; run 'pip install -r requirements.txt' again")


def load_driver() -> Any:
    """The driver's library; raises InputError with the way to the CPU where there is none."""
    try:
        return ctypes.CDLL(DRIVER, mode=ctypes.RTLD_GLOBAL)
    except OSError:
        raise InputError(f"no NVIDIA driver ({DRIVER} not found) for the GPU build of MXNet; to go on with the CPU: "
                         "pip uninstall -y mxnet-cu112 && pip install -r requirements-cpu.txt") from None


def list_gpus(driver: Any) -> List[Gpu]:
    """The GPUs that `driver` (libcuda, or something that answers like it) sees; empty when it cannot start."""
    count, device = ctypes.c_int(0), ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return []
    gpus = []
    for index in range(count.value):
        name = ctypes.create_string_buffer(128)
        driver.cuDeviceGet(ctypes.byref(device), index)
        driver.cuDeviceGetName(name, len(name), device)
        values = []
        for attribute in (_CAPABILITY_MAJOR, _CAPABILITY_MINOR):
            value = ctypes.c_int(0)
            driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
            values.append(value.value)
        gpus.append(Gpu(index, name.value.decode("utf-8", "replace"), (values[0], values[1])))
    return gpus


def machine_gpus() -> List[Gpu]:
    """The GPUs of this machine by its driver; empty without one."""
    try:
        return list_gpus(load_driver())
    except (InputError, AttributeError):
        return []


def _system_has(library: str) -> bool:
    try:
        ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
    except OSError:
        return False
    return True
