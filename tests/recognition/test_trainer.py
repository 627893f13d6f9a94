"""What must reach the loop and its log: switches of the command line, the facts of the set, a gradient gone wrong."""
from arcface_mxnet.engines.base import Outcome
from arcface_mxnet.recognition.engine import setup
from arcface_mxnet.recognition.engine.trainer import Trainer, collapse
from arcface_mxnet.recognition.presets import NETWORKS
from arcface_mxnet.runtime.errors import InputError

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def tiny_network(monkeypatch):
    monkeypatch.setitem(NETWORKS, "tiny", {"net_name": "fmobilefacenet", "emb_size": 16, "net_output": "GDC",
                                           "net_multiplier": 0.125, "net_blocks": (1, 1, 1, 1)})


def trainer(faces, run, **more) -> Trainer:
    return setup.make_trainer({"network": "tiny", "loss": "arcface", "dataset": "own", "data_dir": str(faces),
                               "run_dir": str(run), "gpus": "cpu", "per_batch_size": 16, "max_steps": 2,
                               "val_targets": (), **more})


@pytest.mark.parametrize("original, steps", [(False, 2), (True, 3)])
def test_the_original_takes_one_step_more(tiny_faces, tmp_path, original, steps):
    made = trainer(tiny_faces, tmp_path / "run", original=original)
    assert made.train().step == steps
    assert made.run.last_step() == steps


@pytest.mark.parametrize("original", [False, True])
def test_only_the_original_goes_on_when_the_loss_it_prints_is_no_number(tiny_faces, tmp_path, original):
    """Its cross-entropy is NaN when a probability underflows, and nothing is wrong with the gradients then."""
    made = trainer(tiny_faces, tmp_path / "run", original=original, frequent=1)
    made.window.add(Outcome([1.0], [float("nan")], 1))
    if original:
        assert made.train().step == 3
        assert "lossvalue=nan" in (tmp_path / "run" / "train.log").read_text()
    else:
        with pytest.raises(InputError, match="the loss is no longer finite"):
            made.train()


def test_multipliers_decide_what_decays(tiny_faces, tmp_path):
    """A beta begins at 0, moves in the first step and decays in the second, unless it is spared."""
    values = {}
    for policy in ("uniform", "honoured"):
        made = trainer(tiny_faces, tmp_path / policy, multipliers=policy, wd=5.0, lr=0.01)
        made.train()
        values[policy] = made.training_step.parameters()[0]["conv_1_batchnorm_beta"]
    assert abs(values["uniform"] - values["honoured"]).max() > 1e-6
    assert (abs(values["uniform"]) ** 2).sum() < (abs(values["honoured"]) ** 2).sum()


@pytest.mark.parametrize("check, frequent, said", [
    ("gradients_finite", 1, "a gradient is no longer finite somewhere in steps 1 to 2"),
    ("parameters_finite", 20, "a parameter is no longer finite somewhere in steps 1 to 4"),
])
def test_what_is_no_number_stops_the_run_with_its_steps_and_is_not_saved(tiny_faces, tmp_path, monkeypatch, check,
                                                                         frequent, said):
    made = trainer(tiny_faces, tmp_path / "run", max_steps=4, frequent=frequent)
    monkeypatch.setattr(made.training_step, check, lambda: False)
    with pytest.raises(InputError, match=said):
        made.train()
    assert not (tmp_path / "run" / "last").exists()


def test_the_log_says_what_the_set_holds(tiny_faces, tmp_path):
    trainer(tiny_faces, tmp_path / "run")
    said = (tmp_path / "run" / "train.log").read_text().splitlines()
    at = said.index(f"loading: {tiny_faces}/train.rec False")
    assert said[at + 1:at + 5] == ["header0 label [97. 109.]", "id2range 12", "96", "rand_mirror True"]


def test_embeddings_that_point_one_way_are_spoken_of():
    chance = np.random.default_rng(0)
    one_way, apart = chance.uniform(0, 0.01, 50), np.where(np.arange(50) % 2, 0.005, 1.5)
    assert collapse([]) is None and collapse([one_way, apart]) is None  # impostors of the second pack are far apart
    told = collapse([one_way, one_way])
    assert "point one way (median cosine of the pairs 0.99" in told and "--pretrained" in told
