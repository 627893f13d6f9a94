"""recognition/train.py on PyTorch as a user runs it: kills, restarts, the other engine, several processes, no MXNet."""
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from arcface_mxnet.logs.parse import parse
from tests.engines.step_lab import apart
from tests.recognition.test_train import FLAGS, assert_same_bits, parameters, run

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
ON_TORCH = [*FLAGS, "--engine", "torch", "--verbose", 4, "--ckpt", 2]


@pytest.fixture(scope="module")
def whole(tiny_faces, tmp_path_factory):
    """A run on PyTorch that nobody disturbed."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    out, _ = run([*ON_TORCH, "--data-dir", tiny_faces, "--run-dir", folder, "--max-steps", 12])
    return folder, out


def test_engine_device_and_precision_are_said_first_and_kept(whole):
    folder, out = whole
    first = out.splitlines()[0]
    assert first == f"note: engine torch {torch.__version__}, cpu, float32"
    stored = json.loads((folder / "settings.json").read_text())
    assert stored["torch"] == torch.__version__ and "mxnet" not in stored
    assert list(parse((folder / "train.log").read_text()).unread) == []
    assert (folder / "best" / "model-0000.params").exists() and (folder / "model-0003.params").exists()


def test_killed_and_resumed_it_ends_with_the_same_bits(whole, tiny_faces, tmp_path):
    folder = tmp_path / "killed"
    run([*ON_TORCH, "--data-dir", tiny_faces, "--run-dir", folder, "--max-steps", 12], status=-signal.SIGKILL,
        KILL_BEFORE_SAVING="8")
    run(["--resume", "--run-dir", folder, "--gpus", "cpu"])  # on the engine it was begun on
    assert_same_bits(folder, whole[0])


def test_a_run_begun_on_mxnet_goes_on_on_pytorch_and_back(tiny_faces, tmp_path):
    """Dropout off. So near to first values rounding grows fast; tests/engines compares from a trained state."""
    pytest.importorskip("mxnet")
    flags = [*FLAGS, "--verbose", 100, "--lr-steps", "8", "--lr", "0.01", "--engine", "mxnet"]
    folders = tmp_path / "alone", tmp_path / "moved"
    run([*flags, "--data-dir", tiny_faces, "--run-dir", folders[0], "--max-steps", 8], DROPOUT="0")
    shutil.copytree(folders[0], folders[1])
    for engine, folder, steps in (("mxnet", folders[0], 12), ("torch", folders[1], 10), ("mxnet", folders[1], 12)):
        out, _ = run(["--resume", "--run-dir", folder, "--engine", engine, "--gpus", "cpu", "--max-steps", steps],
                     DROPOUT="0")
        assert out.startswith(f"note: engine {engine} ")
    left, right = parameters(folders[1]), parameters(folders[0])
    assert set(left) == set(right)
    for kind, tolerance in (("arg:", 2e-3), ("aux:", 5e-3)):
        assert apart(left, right, kind) < tolerance, kind


def test_two_processes_share_a_run(tiny_faces, tmp_path):
    """torchrun: the first process writes; one process of two replicas goes on from there."""
    folder = tmp_path / "two"
    flags = ["--data-dir", tiny_faces, "--max-steps", 6, "--head", "sharded", "--no-rand-mirror"]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29731",
               "tests/recognition/driver.py", *ON_TORCH, *flags, "--run-dir", folder, "--per-batch-size", "8"]
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "worker 1 of 2" in (folder / "workers" / "1" / "train.log").read_text()
    assert not (folder / "workers" / "1" / "last").exists()
    saved = parameters(folder)
    assert saved["arg:fc7_weight"].shape == (12, 16)
    assert {name for name in saved if name.startswith("context:1:")}
    run(["--resume", "--run-dir", folder, "--gpus", "cpu:2", "--max-steps", 8])


def test_without_mxnet_a_run_is_trained_and_embeds(tiny_faces, tmp_path):
    """In a process where MXNet cannot be imported."""
    folder = tmp_path / "run"
    run([*FLAGS, "--data-dir", tiny_faces, "--run-dir", folder, "--max-steps", 4, "--verbose", 4], NO_MXNET="1")
    assert json.loads((folder / "settings.json").read_text())["torch"] == torch.__version__
    script = ("import sys; sys.modules['mxnet'] = None\n"
              "from arcface_mxnet.recognition import extract; extract.main(sys.argv[1:])")
    done = subprocess.run([sys.executable, "-c", script, "--model", f"{folder / 'best' / 'model'},0", "--images",
                           str(tiny_faces / "lfw.bin"), "--out", str(tmp_path / "out")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert np.isfinite(np.load(tmp_path / "out" / "embeddings.npy")).all()
