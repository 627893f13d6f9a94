"""What losses bring besides a graph: the drop step of sub-centres, imprinted centres, the three stages of CVC."""
from arcface_mxnet.datasets.images import encode_jpeg
from arcface_mxnet.datasets.record_writer import RecordWriter
from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.recognition import cvc, drop
from arcface_mxnet.recognition.engine.checkpoint import network_of
from arcface_mxnet.recognition.engine.setup import make_trainer
from arcface_mxnet.recognition.losses.dp_softmax import first_queues, imprint
from arcface_mxnet.runtime.errors import InputError

import numpy as np
import pytest


def test_imprinted_centres_are_mean_directions():
    centres = imprint(np.array([[3.0, 0], [0, 0.1], [0, 7.0]]), np.array([0, 0, 2]), 4)
    np.testing.assert_allclose(centres, [[np.sqrt(0.5), np.sqrt(0.5)], [0, 0], [0, 1], [0, 0]], atol=1e-6)
    assert centres.dtype == np.float32


def test_first_queues_hold_other_identities():
    queues = first_queues(5, 3)
    assert queues.tolist()[3] == [4, 0, 1] and all(label not in row for label, row in enumerate(queues))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """32x32 pictures: 16 identities, 4 images each, a noisy pattern for each identity."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.RandomState(0)
    with RecordWriter(folder, (32, 32)) as writer:
        for label in range(16):
            pattern = rng.randint(0, 255, (32, 32, 3))
            noisy = [np.clip(pattern + rng.normal(0, 20, pattern.shape), 0, 255).astype(np.uint8) for _ in range(4)]
            writer.add(label, [encode_jpeg(image) for image in noisy])
    return folder


def run_flags(folder, run_dir, loss, **more):
    return {"network": "small", "dataset": "own", "loss": loss, "data_dir": str(folder), "run_dir": str(run_dir),
            "max_steps": 3, "per_batch_size": 16, "gpus": "cpu", "lr": 0.05, "ckpt": 0, **more}


@pytest.mark.slow
def test_drop_command_writes_the_set_that_is_left(pictures, tmp_path, capsys):
    make_trainer(run_flags(pictures, tmp_path / "run", "subcentre")).train()
    drop.main(["--run-dir", str(tmp_path / "run"), "--data-dir", str(pictures), "--out", str(tmp_path / "clean"),
               "--degrees", "180"])
    assert "kept 64 of 64 images, 16 of 16 identities" in capsys.readouterr().out
    left, before = RecordSet.open(tmp_path / "clean"), RecordSet.open(pictures)
    assert left.labels.tolist() == before.labels.tolist()
    assert left.read(int(left.keys[5]))[1] == before.read(int(before.keys[5]))[1]


def test_drop_command_refuses_a_run_of_another_loss(pictures, tmp_path):
    make_trainer(run_flags(pictures, tmp_path / "run", "arcface")).train()
    with pytest.raises(InputError, match="with --loss subcentre"):
        drop.main(["--run-dir", str(tmp_path / "run"), "--data-dir", str(pictures), "--out", str(tmp_path / "clean")])


@pytest.mark.slow
def test_cvc_goes_through_its_three_stages(pictures, tmp_path, capsys):
    cvc.main(["--web-dir", str(pictures), "--data-dir", str(pictures), "--run-dir", str(tmp_path), "--network", "small",
              "--gpus", "cpu", "--max-steps", "2", "--per-batch-size", "8"])
    capsys.readouterr()
    log = (tmp_path / "3-dpsoftmax" / "train.log").read_text()
    assert "fc7_weight" not in next(line for line in log.splitlines() if line.startswith("parameters new"))
    settings, _, centres = network_of(tmp_path / "3-dpsoftmax")
    assert settings.loss.loss_name == "dominant" and centres.shape == (16, 128)
    assert np.linalg.norm(centres, axis=1).mean() == pytest.approx(1.0, abs=0.5)  # 0.11 if new
