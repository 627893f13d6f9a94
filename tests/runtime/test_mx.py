import os
import subprocess
import sys

import numpy as np
import pytest

from runtime.cores import available_cores
from runtime.errors import InputError
from runtime.mx import prepare_environment, restore_numpy_aliases
from runtime.python_version import check_python


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
    code = "import os; os.sched_setaffinity(0, {0}); from runtime.cores import available_cores as n; print(n())"
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
