import os
import subprocess
import sys
from pathlib import Path

from arcface_mxnet.runtime.cores import available_cores
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.mx import prepare_environment, restore_numpy_aliases
from arcface_mxnet.runtime.python_version import check_python

import numpy as np
import pytest


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


def test_cores_are_those_this_process_may_use():
    code = "import os; os.sched_setaffinity(0, {0})\n" \
           "from arcface_mxnet.runtime.cores import available_cores as n; print(n())"
    alone = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert alone.stdout.strip() == "1"
    assert available_cores() == len(os.sched_getaffinity(0))


@pytest.mark.parametrize("version, good", [((3, 7), False), ((3, 8), True), ((3, 12), True), ((3, 13), False)])
def test_another_python_gets_one_sentence(version, good):
    if good:
        check_python(version)
        return
    with pytest.raises(InputError, match=r"Python 3\.\d+ cannot run MXNet 1.9.1; use Python 3.8 to 3.12"):
        check_python(version)


def test_the_numpy_alias_is_restored(monkeypatch):
    monkeypatch.delattr(np, "bool", raising=False)
    restore_numpy_aliases()
    assert np.__dict__["bool"] is bool


def test_a_command_on_a_gpu_build_without_a_driver_ends_with_one_line(tmp_path):
    """The refusal comes while modules are imported, before any command's main is entered."""
    (tmp_path / "mxnet").mkdir()
    (tmp_path / "mxnet" / "__init__.py").write_text("raise SystemExit('MXNet was imported')")
    (tmp_path / "mxnet_cu112-1.9.1.dist-info").mkdir()
    (tmp_path / "sitecustomize.py").write_text(
        "import ctypes\n"
        "def refuse(name, *more, **named):\n"
        "    raise OSError(name)\n"
        "import arcface_mxnet.runtime.cuda\n"
        "arcface_mxnet.runtime.cuda.ctypes = type('ctypes', (), {'CDLL': refuse, 'RTLD_GLOBAL': 0})\n")
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, str(root / "recognition" / "train.py"), "--network", "r50"],
                          env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{root}"},
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: no NVIDIA driver") and len(done.stderr.splitlines()) == 1
