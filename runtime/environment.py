"""The machine before and without MXNet: its Python, its processors, its GPUs and the CUDA libraries of `mxnet-cu112`.

The GPU wheel links the CUDA 11 libraries; they come from PyPI (`requirements.txt`) and lie in site-packages/nvidia,
where the loader does not look. Loading them here by path, dependencies first, lets `import mxnet` find them with no
LD_LIBRARY_PATH. Only libcuda.so.1, the driver, must come from the machine. Standard library only.
"""
import ctypes
import importlib.util
import os
import platform
import re
from pathlib import Path
from typing import Any, List, NamedTuple, Optional

from arcface_mxnet.runtime.errors import InputError

OLDEST, NEWEST = (3, 8), (3, 14)
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
NOT_FOR_THE_WHEEL = "MXNet 1.9.1's wheel has no machine code for it"
WHAT_SERVES = ("What serves it: the PyTorch engine (make setup ENGINE=torch, then --engine torch); for embeddings also "
               "an ONNX export with ONNX Runtime's CUDA provider (pip install onnxruntime-gpu); an MXNet built for it")

# What MXNet's CPU wheel needs from the machine, and the package that brings it for apt, dnf and apk.
_LIBRARY_PACKAGES = {
    "libgomp.so.1": ("libgomp1", "libgomp", "libgomp"),
    "libquadmath.so.0": ("libquadmath0", "libquadmath", "libquadmath"),
    "libstdc++.so.6": ("libstdc++6", "libstdc++", "libstdc++"),
    "libgcc_s.so.1": ("libgcc-s1", "libgcc", "libgcc"),
}
_NOT_FOUND = ": cannot open shared object file"  # the loader's words
_ARM_LIBRARY = "libarmpl_lp64_mp.so"
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76  # CUdevice_attribute


class Gpu(NamedTuple):
    """One GPU as the driver describes it; `capability` is (major, minor)."""

    number: int
    name: str
    capability: "tuple[int, int]"

    @property
    def description(self) -> str:
        """The GPU in words: number, name, compute capability."""
        return f"GPU {self.number} ({self.name}, compute capability {self.capability[0]}.{self.capability[1]})"

    @property
    def runs_wheel(self) -> bool:
        """Whether the wheel holds machine code this GPU executes: same major version, minor not newer than its own."""
        major, minor = self.capability
        return any(major == compiled[0] and minor >= compiled[1] for compiled in COMPILED_CAPABILITIES)


def check_python(version: "tuple[int, int]") -> None:
    """Raise InputError with one clear sentence on a (major, minor) on which nothing here was run."""
    if not OLDEST <= version <= NEWEST:
        raise InputError(f"Python {version[0]}.{version[1]} is not one of {OLDEST[0]}.{OLDEST[1]} to "
                         f"{NEWEST[0]}.{NEWEST[1]}; for example 'make setup PYTHON=python3.11'")


def processor() -> str:
    """The processor's name as its maker gives it, or its architecture where the system does not say."""
    cpuinfo = Path("/proc/cpuinfo")
    named = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines()
             if line.startswith("model name")] if cpuinfo.exists() else []
    return named[0] if named else platform.processor() or platform.machine()


def available_cores() -> int:
    """The processors this process may use (its affinity, not the machine's total)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def no_mxnet_wheel() -> Optional[str]:
    """Why MXNet 1.9.1 has no wheel that runs on this machine, or None where it has one.

    On PyPI lie wheels for Linux x86_64, Linux aarch64 and macOS x86_64. The aarch64 one links the Arm Performance
    Libraries and does not hold them.
    """
    system, machine = platform.system(), platform.machine().lower()
    if system == "Linux" and not platform.libc_ver()[0]:
        return "MXNet 1.9.1 has no wheel for Linux without glibc (musl)"
    if (system, machine) in (("Linux", "x86_64"), ("Darwin", "x86_64")):
        return None
    if (system, machine) == ("Linux", "aarch64"):
        return None if _system_has(_ARM_LIBRARY) else (
            f"MXNet 1.9.1's wheel for aarch64 needs the Arm Performance Libraries ({_ARM_LIBRARY}), not found here")
    return f"MXNet 1.9.1 has no wheel for {system} {machine}"


def missing_library(said: str) -> Optional[str]:
    """The shared library that the loader did not find, out of what a failed import said; None if it was not that."""
    found = re.search(rf"(lib[\w.+-]+\.so[.\d]*){_NOT_FOUND}", said)
    return found.group(1) if found else None


def missing_library_advice(library: str) -> str:
    """One line: the library that is missing and what installs it; `missing_library` finds its name in it again."""
    if library not in _LIBRARY_PACKAGES:
        return f"{library}{_NOT_FOUND}; install the package of your system that holds it"
    apt, dnf, apk = _LIBRARY_PACKAGES[library]
    return (f"{library}{_NOT_FOUND}; apt-get install {apt}, dnf install {dnf} or apk add {apk}, "
            "or 'make setup' again")


def link_library(prefix: Path, library: str) -> Optional[Path]:
    """Link a library beside libmxnet.so, where the loader looks, to the copy that another wheel of `prefix` brings.

    scikit-learn and SciPy hold libgomp and libquadmath under names with a checksum (`libgomp-a34b3233.so.1.0.0`).
    Returns the copy; None if no wheel has one.
    """
    stem, _, version = library.partition(".so")
    for site in prefix.glob("lib/python3*/site-packages"):
        copies = sorted(site.glob(f"*.libs/{stem}-*.so{version}*"))
        if copies and (site / "mxnet").is_dir():
            link = site / "mxnet" / library
            if link.is_symlink():
                link.unlink()
            link.symlink_to(os.path.relpath(copies[0], link.parent))
            return copies[0]
    return None


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
            raise InputError(f"{path}: not found; run 'pip install --no-deps -r requirements.txt' again")


def load_driver() -> Any:
    """The driver's library; raises InputError with the way to the CPU where there is none."""
    try:
        return ctypes.CDLL(DRIVER, mode=ctypes.RTLD_GLOBAL)
    except OSError:
        container = "start the container with --gpus all; " if "NVIDIA_VISIBLE_DEVICES" in os.environ else ""
        raise InputError(f"no NVIDIA driver ({DRIVER} not found) for the GPU build of MXNet; {container}to go on "
                         "with the CPU: pip uninstall -y mxnet-cu112 && pip install --no-deps -r requirements-cpu.txt"
                         ) from None


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


def free_memory() -> int:
    """Bytes of the machine's memory that are free now; half of all of it where the system does not say (macOS)."""
    page = os.sysconf("SC_PAGE_SIZE")
    if "SC_AVPHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_AVPHYS_PAGES") * page
    return os.sysconf("SC_PHYS_PAGES") * page // 2
