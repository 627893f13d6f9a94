"""Training on triplets mined from bags, by the command: kills in the middle of a bag's triplets, and what is logged."""
import json
import re
import signal

from arcface_mxnet.logs.parse import parse
from tests.recognition.test_train import assert_same_bits, parameters, run, start

import pytest

FLAGS = ["--network", "tiny", "--loss", "atriplet_bag", "--dataset", "own", "--gpus", "cpu", "--per-batch-size", "30",
         "--lr", "0.01", "--lr-steps", "90", "--seed", "3", "--val-targets", "lfw", "--verbose", "8",
         "--max-steps", "24", "--ckpt", "0"]


@pytest.fixture(scope="module")
def whole(tiny_faces, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bags") / "whole"
    run([*FLAGS, "--data-dir", tiny_faces, "--run-dir", folder])
    return folder


@pytest.mark.slow
def test_a_run_goes_through_bags(whole):
    text = (whole / "train.log").read_text()
    bags = [(int(number), int(found)) for number, found in
            re.findall(r"note: bag (\d+): 60 images, (\d+) semi-hard triplets", text)]
    assert [number for number, _ in bags] == list(range(len(bags))) and len(bags) >= 2
    assert all(10 <= found <= 120 for _, found in bags), "12 identities of 5 images have 120 pairs"
    assert text.count("call reset()") == len(bags)
    assert list(parse(text).unread) == []
    assert "order:keys" in parameters(whole)


@pytest.mark.slow
def test_a_kill_among_the_triplets_of_a_bag_changes_no_bit(whole, tiny_faces, tmp_path):
    process = start([*FLAGS, "--data-dir", tiny_faces, "--run-dir", tmp_path / "run"], KILL_BEFORE_SAVING="24")
    process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL
    left = json.loads((tmp_path / "run" / "last" / "last.json").read_text())
    assert left["step"] == 16 and left["epoch"] > 0 and left["batch"] > 0
    run(["--resume", "--run-dir", tmp_path / "run", "--gpus", "cpu"])
    assert_same_bits(tmp_path / "run", whole)
