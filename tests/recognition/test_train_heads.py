"""recognition/train.py with classes over contexts and workers: fine-tuning, restarts elsewhere, a killed worker."""
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.recognition.conftest import alive
from tests.recognition.test_train import DRIVER, FLAGS, assert_same_bits, parameters, run

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def flags(tiny_faces, folder, gpus="cpu", images=8, steps=3, verbose=3, **more):
    """FLAGS over the built-in faces; --frequent 2 prints accuracy and cross-entropy."""
    given = [*FLAGS, "--data-dir", tiny_faces, "--run-dir", folder, "--max-steps", steps, "--verbose", verbose,
             "--ckpt", 2, "--val-targets", "lfw", "--multipliers", "honoured"]
    given[given.index("cpu")], given[given.index("16")] = gpus, str(images)
    return given + [word for name, value in more.items() for word in (f"--{name.replace('_', '-')}", value)]


def figures(folder):
    rows = [json.loads(text) for text in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(row["step"], row["acc"], row["loss"]) for row in rows if row["kind"] == "train"]


def assert_close(left, right, tolerance, of_centres=None):
    """Each array to `tolerance` of its largest entry, centres to `of_centres`; below 1e-6 is rounding alone."""
    left, right = parameters(left), parameters(right)
    assert set(left) == set(right)
    for name in left:
        if of_centres is not None and "fc7_weight" in name:
            assert np.abs(left[name] - right[name]).max() <= of_centres * np.abs(left[name]).max(), name
        assert np.abs(left[name] - right[name]).max() <= tolerance * np.abs(left[name]).max() + 1e-6, name


@pytest.fixture(scope="module")
def pretrained(tiny_faces, tmp_path_factory):
    """A published checkpoint of three steps."""
    folder = tmp_path_factory.mktemp("runs") / "before"
    run(flags(tiny_faces, folder, steps=3, verbose=3))
    return f"{folder / 'model'},1"


def test_fine_tuning_with_shards_is_that_of_the_plain_head(tiny_faces, tmp_path, pretrained):
    """12 identities on 5 contexts: shards of 2 and 3, of several centres. Then the run goes on with other shards."""
    folders = {head: tmp_path / head for head in ("plain", "sharded")}
    for head, folder in folders.items():
        out, _ = run(flags(tiny_faces, folder, "cpu:5", 4, head=head, pretrained=pretrained, loss="subcentre",
                            lr=1e-4))
        assert "parameters new 1: fc7_weight" in out and "parameters ignored 0" in out
    # Rounding of 6e-7 in the centres' first step is 1.4e-5 after three, and 0.016 in a momentum of the deepest layers.
    assert_close(folders["plain"], folders["sharded"], 5e-2, of_centres=1e-4)
    seen = figures(folders["sharded"])
    assert len(seen) == 1
    np.testing.assert_allclose(seen, figures(folders["plain"]), rtol=1e-4)
    whole = parameters(folders["sharded"])["arg:fc7_weight"]
    out, _ = run(["--resume", "--run-dir", folders["sharded"], "--gpus", "cpu:3", "--max-steps", 6])
    assert "[lfw][6]Accuracy-Flip" in out
    moved = parameters(folders["sharded"])["arg:fc7_weight"]
    assert moved.shape == whole.shape and not np.array_equal(moved, whole)


def launched(arguments):
    """Two workers and a server of arcface_mxnet.recognition.train under the launcher."""
    command = [sys.executable, "-m", "arcface_mxnet.recognition.launch", "-n", "2", "-s", "1", "--",
               sys.executable, DRIVER, *arguments]
    return subprocess.Popen(list(map(str, command)), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)})


def process_of(mark, rank):
    """The number of the process that wrote workers/<rank>, found by the line that names its rank."""
    found = [number for number in alive(mark) if b"driver.py" in (Path("/proc") / str(number) / "cmdline").read_bytes()
             and b"arcface_mxnet.recognition.launch" not in (Path("/proc") / str(number) / "cmdline").read_bytes()]
    for number in found:
        opened = [os.path.realpath(entry) for entry in Path(f"/proc/{number}/fd").glob("*")]
        if any(f"workers/{rank}/" in path for path in opened):
            return number
    raise AssertionError(f"no worker {rank} among {found}")


def test_a_killed_worker_ends_the_job_with_a_line_and_it_goes_on_to_the_same_bits(tiny_faces, tmp_path, marked):
    """With sampled centres: what the plain head keeps, and the centres of each worker besides."""
    more = {"kvstore": "dist_sync_device", "head": "sampled", "sample_rate": 0.5}
    folders = [tmp_path / name for name in ("killed", "whole")]
    jobs = [flags(tiny_faces, folder, images=4, steps=20, verbose=5, **more) for folder in folders]
    process = launched(jobs[0])
    pointer = folders[0] / "last" / "last.json"
    while not pointer.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    os.kill(process_of(marked, 1), signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGKILL
    assert err.splitlines()[-1] == "error: worker 1 was killed by SIGKILL; all others were ended"
    assert alive(marked) == []
    stopped = json.loads(pointer.read_text())["step"]
    assert stopped % 5 == 0 and 5 <= stopped < 20
    for arguments in (["--resume", "--run-dir", folders[0], "--gpus", "cpu"], jobs[1]):
        process = launched(arguments)
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, out + err
    assert_same_bits(*folders)
