import os
import subprocess
import sys
from pathlib import Path

from arcface_mxnet.engines.mxnet import parameter_server
from arcface_mxnet.engines.mxnet.parameter_server import CentreKeys
from arcface_mxnet.engines.mxnet.partial_fc import SampledCentres
from arcface_mxnet.engines.mxnet.workers import ALONE, Workers, join
from arcface_mxnet.graph.params_file import read_arrays
from arcface_mxnet.recognition.engine.checkpoint import Position, RunDirectory
from arcface_mxnet.recognition.engine.distributed import FollowerDirectory, own_directory
from arcface_mxnet.runtime.errors import InputError
from tests.recognition import head_lab as lab
from tests.recognition import worker_lab

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


def launch(*arguments, workers=2, servers=2):
    """Run worker_lab under the launcher; returns its output."""
    command = [sys.executable, "-m", "arcface_mxnet.recognition.launch", "-n", workers, "-s", servers, "--",
               sys.executable, ROOT / "tests" / "recognition" / "worker_lab.py", *arguments]
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, timeout=120,
                          env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def alone(head):
    """The single process that must end the same: the plain head on two contexts, or the sampled one."""
    loss = worker_lab.LOSSES[head]
    if head == "plain":
        made = lab.plain(loss, 2, worker_lab.CLASSES)
    else:
        made = lab.class_parallel(loss, 1, worker_lab.CLASSES, SampledCentres, rule=worker_lab.RULE)
    return lab.start(made, loss, worker_lab.CLASSES)


def assert_end(engine, path):
    expected, found = engine.restart_arrays(), read_arrays(path)
    assert set(expected) == set(found)
    for key in expected:
        left, right = expected[key], found[key]
        assert np.abs(left - right).max() <= 3e-4 * np.abs(left).max(), key


@pytest.mark.slow
def test_two_workers_with_the_plain_head_end_where_two_contexts_end(tmp_path):
    out = launch("plain", tmp_path / "4.params", 4, servers=1)
    assert "[worker 0] worker 0 of 2" in out and "[worker 1] worker 1 of 2" in out
    engine = alone("plain")
    lab.run(engine, 4, classes=worker_lab.CLASSES)
    assert_end(engine, tmp_path / "4.params")


@pytest.mark.slow
def test_centres_on_servers_end_where_the_sampled_head_of_one_process_ends_restart_included(tmp_path):
    launch("sampled", tmp_path / "4.params", 4)
    launch("sampled", tmp_path / "7.params", 3, tmp_path / "4.params")
    engine = alone("sampled")
    lab.run(engine, 4, classes=worker_lab.CLASSES)
    assert_end(engine, tmp_path / "4.params")
    lab.run(engine, 3, first=4, classes=worker_lab.CLASSES)
    assert_end(engine, tmp_path / "7.params")


def test_a_momentum_lives_beside_its_centres():
    for servers in (1, 2, 3, 4, 7):
        keys = CentreKeys(servers)
        numbers = [number for index in range(50) for number in (keys.weight(index), keys.momentum(index))]
        assert len(set(numbers)) == 100
        for index in range(50):
            assert keys.weight_of(keys.momentum(index)) == keys.weight(index)
            assert keys.weight_of(keys.weight(index)) == -1
            assert keys.weight(index) * 9973 % servers == keys.momentum(index) * 9973 % servers


def test_a_worker_outside_a_job_is_told_how_to_start_one(monkeypatch):
    monkeypatch.delenv("DMLC_ROLE", raising=False)
    with pytest.raises(InputError, match="--kvstore dist_sync: needs a scheduler and servers; start this command with"):
        join("dist_sync")
    assert join("device") == ALONE and ALONE.agree(None) is None and ALONE.agree(2) == 2


def test_only_the_first_worker_writes_the_run(tmp_path):
    run = RunDirectory(tmp_path)
    run.save_last(Position(step=3, batch=3), {"arg:x": np.ones(2, np.float32)})
    assert own_directory(run, Workers(0, 2, None)) is run
    follower = own_directory(run, Workers(1, 2, None))
    assert isinstance(follower, FollowerDirectory) and follower.folder == tmp_path / "workers" / "1"
    position, arrays = follower.load_last()
    assert position.step == 3 and arrays["arg:x"].shape == (2,)
    before = sorted(path.name for path in tmp_path.rglob("*"))
    follower.save_last(Position(step=4), {"arg:x": np.zeros(2, np.float32)})
    assert follower.last_step() == 4 and run.last_step() == 3
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_parts_of_a_sample_cover_it(monkeypatch):
    centres = object.__new__(parameter_server.ServerCentres)
    centres._bounds, centres._chosen = [(0, 10), (10, 20), (20, 25)], np.array([1, 3, 9, 20, 24])
    centres.sizes = parameter_server.HeadSizes(25, 2, 4, 8)
    parts = [(index, rows.tolist(), (where.start, where.stop)) for index, rows, where in centres._parts()]
    assert parts == [(0, [2, 3, 6, 7, 18, 19], (0, 6)), (1, [], (6, 6)), (2, [0, 1, 8, 9], (6, 10))]
