"""The printed commands are understood by the trainer and resolve to the settings of the published logs."""
import shlex
from typing import Any, Dict, List

from arcface_mxnet.logs.catalogue import names, published_run
from arcface_mxnet.logs.publish import check, published_command
from arcface_mxnet.recognition.engine.setup import settings_from
from arcface_mxnet.recognition.settings import Settings
from arcface_mxnet.recognition.train import build_parser
from arcface_mxnet.runtime.errors import InputError

import pytest


def commands(name: str) -> List[List[str]]:
    return [shlex.split(text)[2:] for text in published_command(name).splitlines() if text.startswith("python ")]


def resolved(words: List[str]) -> Settings:
    given: Dict[str, Any] = {key: value for key, value in vars(build_parser().parse_args(words)).items()
                             if value is not None}
    return settings_from(given)


@pytest.mark.parametrize("name", names())
def test_the_command_resolves_to_the_published_settings(name: str) -> None:
    words = commands(name)[-1]
    settings, recipe = resolved(words), published_run(name).recipe
    optimizer, loss = settings.optimizer, settings.loss
    assert words[words.index("--gpus") + 1].count(",") + 1 == recipe.devices
    assert settings.data.per_batch_size * recipe.devices == recipe.batch
    assert (optimizer.lr, optimizer.wd, optimizer.mom) == (recipe.lr, recipe.wd, recipe.momentum)
    assert settings.schedule.lr_steps == recipe.lr_steps
    assert (settings.data.num_classes, settings.data.images) == (recipe.identities, recipe.images)
    assert settings.network.emb_size == recipe.embedding and settings.names.network == recipe.network
    assert settings.checkpoint.verbose == 2000 and optimizer.multipliers == "uniform" and settings.data.data_rand_mirror
    if recipe.margins:
        assert (loss.loss_m1, loss.loss_m2, loss.loss_m3) == recipe.margins and loss.loss_s == recipe.scale
        assert loss.head_2018 == (recipe.head == "the 2018 cosine form") and loss.original != loss.head_2018
    else:
        assert loss.loss_name == "softmax"
    assert bool(settings.checkpoint.pretrained) == bool(recipe.pretrained)


@pytest.mark.parametrize("name", ["y1", "moli-arcface"])
def test_stages_hand_over_a_checkpoint(name: str) -> None:
    first, second = (resolved(words) for words in commands(name))
    assert first.loss.loss_name == "softmax" and first.schedule.max_steps == 40000 and first.checkpoint.ckpt == 2
    folder = commands(name)[0][commands(name)[0].index("--run-dir") + 1]
    # rule 2 numbers a checkpoint by its validation: 40000 / 2000
    assert second.checkpoint.pretrained == f"{folder}/model,20"


def test_what_is_not_exact_is_said() -> None:
    assert "not published" in published_command("y1")
    assert "step 164,000 of it was released" in published_command("r100")
    assert "--data-dir data/faces_ms1mrf_112x112" in published_command("r34")


def test_check_gives_report_and_status(fixtures: Any) -> None:
    text, status = check("y1", fixtures / "logs" / "insightface_model-y1-test2.log")
    assert status == 0 and "lfw: inside the published course" in text
    assert check("r100", fixtures / "logs" / "insightface_model-y1-test2.log")[1] == 1


def test_an_unknown_run_is_named() -> None:
    with pytest.raises(InputError, match="unknown published run 'r9'"):
        published_command("r9")
