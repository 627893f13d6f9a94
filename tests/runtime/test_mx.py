import os
import shutil
import struct
import subprocess
import sys
import types
from pathlib import Path

from arcface_mxnet.engines.mxnet.mx import (
    _kernel_fault,
    contexts,
    give_tostring,
    gpu_indices,
    mx,
    prepare_environment,
    removed_numpy_names,
)
from arcface_mxnet.runtime.environment import Gpu
from arcface_mxnet.runtime.errors import InputError, Notice

import numpy as np
import pytest

P40S = [Gpu(index, "Tesla P40", (6, 1)) for index in range(4)]
H100 = [Gpu(0, "NVIDIA H100", (9, 0))]


def test_all_cores_are_used_and_a_users_setting_is_kept():
    environ = {}
    prepare_environment(environ, 6)
    assert environ["OMP_NUM_THREADS"] == "6"
    assert int(environ["MXNET_CPU_PARALLEL_SIZE"]) > 64 * 3 * 112 * 112
    users = {"OMP_NUM_THREADS": "1", "MXNET_OPTIMIZER_AGGREGATION_SIZE": "7", "MXNET_SUBGRAPH_VERBOSE": "1",
             "MXNET_CPU_PARALLEL_SIZE": "9"}
    environ = dict(users)
    prepare_environment(environ, 6)
    assert environ == users


def test_numpy_has_the_names_that_mxnet_reads_for_the_length_of_its_import(monkeypatch):
    had = {name: name in vars(np) for name in ("NINF", "in1d", "msort")}
    monkeypatch.delattr(np, "bool", raising=False)
    with removed_numpy_names():
        assert np.NINF == -np.inf
        assert np.in1d([1, 2], [2, 3]).tolist() == [False, True]
        assert callable(np.msort)
    assert vars(np)["bool"] is bool  # read at run time too
    assert {name: name in vars(np) for name in had} == had


@pytest.mark.parametrize("module, unused", [
    ("engines.mxnet.mx", ("sklearn", "scipy.stats")),
    ("recognition.train", ("sklearn", "pandas", "matplotlib")),  # scikit-image for Python 3.8 loads scipy.stats
])
def test_a_start_loads_no_library_that_it_does_not_use(module, unused):
    code = (f"import sys, arcface_mxnet.{module}\n"
            f"print([name for name in {unused} if name in sys.modules])\n"
            "import scipy.stats, sklearn.base")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_records_are_packed_where_arrays_have_no_tostring():
    """NumPy 2.3 removed it; the original's own `pack` and `pack_img` call it."""
    header = mx.recordio.IRHeader(0, [1.0, 2.0], 3, 0)
    assert mx.recordio.pack(header, b"body") == struct.pack("<IfQQ2f", 2, 0.0, 3, 0, 1.0, 2.0) + b"body"
    cv2 = types.SimpleNamespace(imencode=lambda *given: (True, np.arange(3, dtype="u1")))
    fake = types.SimpleNamespace(np=np, cv2=cv2)
    give_tostring(fake)
    assert fake.np.asarray([1.0], dtype=np.float32).tostring() == struct.pack("<f", 1.0)
    assert fake.cv2.imencode(".png")[1].tostring() == bytes(range(3))
    assert fake.np.pi == np.pi


def test_a_command_on_a_gpu_build_without_a_driver_ends_with_one_line(tmp_path):
    """The refusal comes while modules are imported, before any command's main is entered."""
    (tmp_path / "mxnet").mkdir()
    (tmp_path / "mxnet" / "__init__.py").write_text("raise SystemExit('MXNet was imported')")
    (tmp_path / "mxnet_cu112-1.9.1.dist-info").mkdir()
    (tmp_path / "sitecustomize.py").write_text(
        "import ctypes\n"
        "def refuse(name, *more, **named):\n"
        "    raise OSError(name)\n"
        "import arcface_mxnet.runtime.environment\n"
        "arcface_mxnet.runtime.environment.ctypes = type('ctypes', (), {'CDLL': refuse, 'RTLD_GLOBAL': 0})\n")
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, str(root / "recognition" / "train.py"), "--network", "r50"],
                          env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{root / 'src'}"},
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: no NVIDIA driver") and len(done.stderr.splitlines()) == 1


def runs(index):
    """A GPU build that computes on every GPU."""


def fails(index):
    return "no kernel image is available for execution on the device"


def test_without_a_flag_every_gpu_else_the_cpu():
    assert gpu_indices(None, P40S, runs) == [0, 1, 2, 3]
    assert gpu_indices(None, [], runs) == []
    assert gpu_indices(None, [], None) == []
    assert contexts(None) == [mx.cpu()]


def test_the_papers_four_gpus():
    assert gpu_indices("0,1,2,3", P40S, runs) == [0, 1, 2, 3]
    assert gpu_indices("3,1", P40S, runs) == [3, 1]


@pytest.mark.parametrize("gpus, fault, said", [
    (H100, None, "GPU 0 .NVIDIA H100, compute capability 9.0. stays idle: MXNet here is the CPU build. "
                 "What serves it: the PyTorch engine"),
    (H100, fails, "GPU 0 .NVIDIA H100, .* stays idle: no kernel image .*What serves it: the PyTorch engine"),
    (P40S[:1], None, "GPU 0 .Tesla P40, .* What serves it: MXNet's GPU wheel .'make setup REQ")])
def test_a_gpu_that_stays_idle_is_spoken_of(gpus, fault, said):
    with pytest.warns(Notice, match=said):
        assert gpu_indices(None, gpus, fault) == []


def test_a_build_of_ones_own_serves_the_card_it_runs_on():
    """The H100 is on no list: a kernel that computes there decides, and the other card is left."""
    with pytest.warns(Notice, match="GPU 1 .Tesla P40"):
        assert gpu_indices(None, [*H100, P40S[1]], lambda index: None if index == 0 else "no kernel image") == [0]
    assert gpu_indices("0", H100, runs) == [0]


def test_a_kernel_tells_whether_a_gpu_computes(monkeypatch):
    """MXNet's CPU build has no GPU; with the CPU in its place the kernel runs."""
    assert "GPU" in _kernel_fault(0) or "gpu" in _kernel_fault(0)
    monkeypatch.setattr(mx, "gpu", mx.cpu)
    assert _kernel_fault(0) is None


DRIVER = """
#include <string.h>
int cuInit(unsigned flags) { return 0; }
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
int cuDeviceGet(int *device, int index) { *device = index; return 0; }
int cuDeviceGetName(char *name, int size, int device) { strncpy(name, "NVIDIA GeForce RTX 5090", size); return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) { *value = attribute == 75 ? 12 : 0; return 0; }
"""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="builds a stand-in for the driver with gcc")
def test_a_card_newer_than_the_wheel_is_told_what_serves_it(tmp_path):
    """With a driver that reports an RTX 5090: the run goes on with the CPU and says so; --gpus 0 is an error."""
    (tmp_path / "stub.c").write_text(DRIVER)
    subprocess.run(["gcc", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o", str(tmp_path / "libcuda.so.1"),
                    str(tmp_path / "stub.c")], check=True)
    code = ("import sys\nfrom arcface_mxnet.engines.mxnet.mx import contexts\n"
            "from arcface_mxnet.runtime.errors import run_command\n"
            "run_command(lambda argv: print(contexts(*sys.argv[1:])))")

    def run(*gpus):
        return subprocess.run([sys.executable, "-c", code, *gpus], capture_output=True, text=True,
                              env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path)})

    alone, wanted = run(), run("0")
    assert (alone.returncode, alone.stdout) == (0, "[cpu(0)]\n")
    assert alone.stderr.startswith("note: GPU 0 (NVIDIA GeForce RTX 5090, compute capability 12.0) stays idle: ")
    assert wanted.returncode == 2 and wanted.stderr.startswith("error: --gpus 0: GPU 0 (NVIDIA GeForce RTX 5090")
    for said in (alone.stderr, wanted.stderr):
        assert "the PyTorch engine" in said and "ONNX Runtime's CUDA provider" in said and said.count("\n") == 1


def test_cpu_contexts():
    assert contexts("cpu") == [mx.cpu(0)]
    assert contexts("cpu:2") == [mx.cpu(0), mx.cpu(1)]


@pytest.mark.parametrize("text, gpus, fault, said", [
    ("0", H100, fails, "compute capability 9.0.: no kernel image .*'--gpus cpu'.*PyTorch engine"),
    ("0", [], runs, "no GPU 0 here .found 0..*'--gpus cpu'"),
    ("0,4", P40S, runs, "no GPU 4 here .found 4."),
    ("0", P40S, None, "CPU build.*'--gpus cpu'.*MXNet's GPU wheel"),
    ("0", H100, None, "CPU build.*'--gpus cpu'.*PyTorch engine"),
    ("0,0", P40S, runs, "each GPU once"),
    ("a", P40S, runs, "expected GPU numbers"),
])
def test_what_cannot_be_used_is_said_in_one_line(text, gpus, fault, said):
    with pytest.raises(InputError, match=said) as error:
        gpu_indices(text, gpus, fault)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["cpu:0", "cpu:two", "cpu:-1"])
def test_a_bad_number_of_cpu_contexts(text):
    with pytest.raises(InputError, match=f"--gpus {text}"):
        contexts(text)
