"""recognition/train.py as a user runs it, in processes of its own: whole runs, kills, restarts, signals."""
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from arcface_mxnet.evaluation import verification
from arcface_mxnet.graph.params_file import read_arrays
from arcface_mxnet.logs.parse import parse

import numpy as np
import pytest

DRIVER = Path(__file__).with_name("driver.py")
FLAGS = ["--network", "tiny", "--loss", "arcface", "--dataset", "own", "--gpus", "cpu", "--per-batch-size", "16",
         "--lr", "0.05", "--lr-steps", "9", "--frequent", "2", "--seed", "3"]


def start(arguments, **environment):
    command = [sys.executable, str(DRIVER), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env={**os.environ, "OMP_NUM_THREADS": "1", **environment})


def run(arguments, status=0, **environment):
    process = start(arguments, **environment)
    out, err = process.communicate(timeout=300)
    assert process.returncode == status, out + err
    return out, err


def parameters(folder):
    """Every array of the restart point of a run, by name."""
    pointer = json.loads((folder / "last" / "last.json").read_text())
    return read_arrays(folder / "last" / pointer["arrays"])


def training_lines(folder):
    """What was printed of the training windows and at the ends of epochs, without speeds and times."""
    rows = (folder / "train.log").read_text().splitlines()
    return [re.sub(r"Speed: [\d.]+ samples/sec", "", row) for row in rows if "] Batch [" in row or "] Train-" in row]


def assert_same_bits(left, right):
    left, right = parameters(left), parameters(right)
    assert set(left) == set(right)
    assert [name for name in left if not np.array_equal(left[name], right[name])] == []


@pytest.fixture(scope="module")
def whole(tiny_faces, tmp_path_factory):
    """A run that nobody disturbed: 12 steps of 16 images, two epochs, three validations."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    out, _ = run([*FLAGS, "--data-dir", tiny_faces, "--run-dir", folder, "--max-steps", 12, "--verbose", 4,
                  "--ckpt", 2])
    return folder, out


def test_a_run_leaves_all_it_should(whole):
    folder, out = whole
    for name in ("settings.json", "train.log", "metrics.jsonl", "last/last.json", "best/model-0000.params",
                 "best/model-0000.params.sha256", "model-symbol.json", "model-0001.params", "model-0003.params"):
        assert (folder / name).exists(), name
    assert json.loads((folder / "settings.json").read_text())["identities"] == 12
    assert out.rstrip().splitlines()[-1] == f"run directory: {folder}"


def test_every_printed_line_is_one_the_parser_reads(whole):
    folder, _ = whole
    assert list(parse((folder / "train.log").read_text()).unread) == []
    steps = [json.loads(text) for text in (folder / "metrics.jsonl").read_text().splitlines()]
    train = [row for row in steps if row["kind"] == "train"]
    assert [row["step"] for row in train] == [3, 5, 9, 11]
    assert [row["lr"] for row in train] == [0.05, 0.05, 0.05, 0.05 * 0.1]
    assert [row["target"] for row in steps if row["kind"] == "validation"] == ["lfw", "cfp_fp", "agedb_30"] * 3


def test_the_saved_checkpoint_has_the_accuracy_that_was_logged(whole, tiny_faces, tmp_path):
    folder, _ = whole
    assert verification.main(["--model", f"{folder / 'model'},3", "--data-dir", str(tiny_faces), "--target",
                              "lfw,agedb_30", "--out", str(tmp_path)]) in (0, None)
    result = json.loads((tmp_path / "result.json").read_text())
    logged = {row["target"]: row for text in (folder / "metrics.jsonl").read_text().splitlines()
              for row in [json.loads(text)] if row["kind"] == "validation" and row["step"] == 12}
    for target in ("lfw", "agedb_30"):
        assert result[target]["accuracy"] == logged[target]["accuracy"]
        assert result[target]["xnorm"] == pytest.approx(logged[target]["xnorm"], rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("step", [4, 8])
def test_killed_and_resumed_it_ends_with_the_same_bits(whole, tiny_faces, tmp_path, step):
    folder = tmp_path / "killed"
    run([*FLAGS, "--data-dir", tiny_faces, "--run-dir", folder, "--max-steps", 12, "--verbose", 4, "--ckpt", 2],
        status=-signal.SIGKILL, KILL_BEFORE_SAVING=str(step))
    run(["--resume", "--run-dir", folder, "--gpus", "cpu"])
    assert_same_bits(folder, whole[0])
    steps = [json.loads(text)["step"] for text in (folder / "metrics.jsonl").read_text().splitlines()]
    assert steps == [json.loads(text)["step"] for text in (whole[0] / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_saves_first(tiny_faces, tmp_path, number):
    stopped_by(number, tiny_faces, tmp_path / "stopped")


@pytest.mark.slow
def test_stopped_by_a_signal_the_run_goes_on_inside_the_epoch(whole, tiny_faces, tmp_path):
    folder = tmp_path / "stopped"
    stopped_by(signal.SIGTERM, tiny_faces, folder)
    run(["--resume", "--run-dir", folder, "--gpus", "cpu"])
    assert_same_bits(folder, whole[0])
    assert training_lines(folder) == training_lines(whole[0])  # to the digit


def stopped_by(number, tiny_faces, folder):
    """Begin the run of `whole` and send it a signal after its first line."""
    process = start([*FLAGS, "--data-dir", tiny_faces, "--run-dir", folder, "--max-steps", 12, "--verbose", 4,
                     "--ckpt", 2])
    log = folder / "train.log"
    while not (log.exists() and "Batch [" in log.read_text()):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 128 + number, out + err
    assert "Traceback" not in err
    assert 0 < json.loads((folder / "last" / "last.json").read_text())["step"] < 12
    assert f"{number.name}" in log.read_text()


@pytest.mark.slow
def test_fine_tuning_says_what_was_loaded_and_what_is_new(whole, tiny_faces, tmp_path):
    out, _ = run([*FLAGS, "--data-dir", tiny_faces, "--run-dir", tmp_path / "tuned", "--max-steps", 1,
                  "--pretrained", f"{whole[0] / 'model'},3"])
    assert "parameters new 1: fc7_weight" in out
    assert "parameters ignored 0" in out


@pytest.mark.slow
def test_two_contexts_run_whole(tiny_faces, tmp_path):
    flags = [*FLAGS, "--data-dir", tiny_faces, "--run-dir", tmp_path / "two", "--max-steps", 3, "--verbose", 3]
    flags[flags.index("cpu")] = "cpu:2"
    flags[flags.index("16")] = "8"
    out, _ = run(flags)
    assert "[agedb_30][3]Accuracy-Flip: " in out


@pytest.mark.slow
def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_good_point(whole, tiny_faces, tmp_path):
    folder = tmp_path / "diverged"
    flags = [*FLAGS, "--data-dir", tiny_faces, "--run-dir", folder, "--max-steps", 12, "--verbose", 1]
    flags[flags.index("0.05")] = "1e30"
    _, err = run(flags, status=2)
    assert len(err.strip().splitlines()) == 1
    assert "is no longer finite somewhere in steps" in err and "is kept, go on with a lower --lr" in err
    for name in (folder / "last").glob("*.params"):
        assert all(np.isfinite(array).all() for array in parameters(folder).values()), name
