import os
import struct
import subprocess
import sys
import types
from pathlib import Path

from arcface_mxnet.engines.mxnet.mx import (
    contexts,
    give_tostring,
    gpu_indices,
    mx,
    prepare_environment,
    removed_numpy_names,
)
from arcface_mxnet.runtime.environment import Gpu
from arcface_mxnet.runtime.errors import InputError

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


def test_without_a_flag_every_gpu_else_the_cpu():
    assert gpu_indices(None, P40S, True) == [0, 1, 2, 3]
    assert gpu_indices(None, [], True) == []
    assert gpu_indices(None, [], False) == []
    assert contexts(None) == [mx.cpu()]


def test_the_papers_four_gpus():
    assert gpu_indices("0,1,2,3", P40S, True) == [0, 1, 2, 3]
    assert gpu_indices("3,1", P40S, True) == [3, 1]


def test_cpu_contexts():
    assert contexts("cpu") == [mx.cpu(0)]
    assert contexts("cpu:2") == [mx.cpu(0), mx.cpu(1)]


@pytest.mark.parametrize("text, gpus, gpu_build, said", [
    (None, H100, True, "GPU 0 .NVIDIA H100. has compute capability 9.0.*'--gpus cpu'"),
    ("0", H100, True, "compute capability 9.0"),
    ("0", [], True, "no GPU 0 here .found 0..*'--gpus cpu'"),
    ("0,4", P40S, True, "no GPU 4 here .found 4."),
    ("0", P40S, False, "CPU build"),
    ("0,0", P40S, True, "each GPU once"),
    ("a", P40S, True, "expected GPU numbers"),
])
def test_what_cannot_be_used_is_said_in_one_line(text, gpus, gpu_build, said):
    with pytest.raises(InputError, match=said) as error:
        gpu_indices(text, gpus, gpu_build)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["cpu:0", "cpu:two", "cpu:-1"])
def test_a_bad_number_of_cpu_contexts(text):
    with pytest.raises(InputError, match=f"--gpus {text}"):
        contexts(text)
