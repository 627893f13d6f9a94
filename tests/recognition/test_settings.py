import dataclasses

from arcface_mxnet.datasets import catalog
from arcface_mxnet.recognition import presets
from arcface_mxnet.recognition.losses import LossSettings
from arcface_mxnet.recognition.networks import NetworkSettings
from arcface_mxnet.recognition.settings import DataSettings, Settings, StepSettings, resolve
from arcface_mxnet.runtime.errors import InputError

import pytest


def test_the_papers_command_is_the_papers_recipe():
    settings = resolve("r100", "arcface", "emore", {})
    network, loss = settings.network, settings.loss
    assert (network.net_name, network.num_layers, network.net_output) == ("fresnet", 100, "E")
    assert (loss.loss_s, loss.loss_m1, loss.loss_m2, loss.loss_m3) == (64, 1, 0.5, 0)
    assert (settings.data.num_classes, settings.data.images) == (85742, 5822653)
    assert settings.data.folder == "data/faces_emore"
    assert settings.data.val_targets == ("lfw", "cfp_fp", "agedb_30")
    assert settings.step == StepSettings(per_batch_size=128, lr=0.1, lr_steps=(100000, 160000), max_steps=180000,
                                         wd=5e-4, mom=0.9)


def test_casia_and_mobilefacenet():
    assert resolve("r50", "arcface", "webface", {}).step.lr_steps == (20000, 28000)
    assert resolve("r50", "arcface", "webface", {}).step.max_steps == 32000
    assert resolve("y1", "arcface", "emore", {}).step.wd == 4e-5
    assert resolve("y1", "arcface", "emore", {"wd": 1e-3}).step.wd == 1e-3


def test_flags_go_before_presets():
    settings = resolve("r50", "combined", "emore", {"recipe": "casia", "max_steps": 5, "loss_m2": 0.1,
                                                    "data_dir": "/elsewhere", "original": True})
    assert settings.step.max_steps == 5
    assert settings.step.lr_steps == (20000, 28000)
    assert (settings.loss.loss_m2, settings.loss.loss_m3) == (0.1, 0.2)
    assert settings.data.folder == "/elsewhere"
    assert settings.original and settings.loss.original


@pytest.mark.parametrize("names, said", [
    (("r101x", "arcface", "emore"), "unknown network 'r101x'; known: .*r100, .*y1"),
    (("r50", "arcfase", "emore"), "unknown loss 'arcfase'; known: .*arcface"),
    (("r50", "arcface", "emoree"), "unknown dataset 'emoree'; known: .*emore"),
])
def test_an_unknown_preset_lists_the_known_ones(names, said):
    with pytest.raises(InputError, match=said):
        resolve(*names, flags={})


@pytest.mark.parametrize("flags, said", [
    ({"per_batch_size": 0}, "--per-batch-size 0"), ({"lr": 0.0}, "--lr 0.0"), ({"mom": 1.0}, "--mom 1.0"),
    ({"lr_steps": (5, 3)}, "--lr-steps 5,3: must rise"), ({"ckpt": 4}, "--ckpt 4: known rules are 0"),
    ({"multipliers": "some"}, "unknown multipliers 'some'; known: honoured, uniform"),
    ({"wd": float("nan")}, "--wd nan"), ({"lr": float("nan")}, "--lr nan"), ({"threads": -1}, "--threads -1"),
    ({"data_color": 3}, "--color 3: known are 0"), ({"data_cutoff": -8}, "--cutoff -8"),
    ({"verbose": 0}, "--verbose 0"), ({"recipe": "x"}, "unknown recipe 'x'"),
])
def test_impossible_values_name_their_flag(flags, said):
    with pytest.raises(InputError, match=said):
        resolve("r50", "arcface", "emore", flags)


def test_every_preset_key_is_a_setting():
    known = {field.name for kind in (NetworkSettings, LossSettings, DataSettings, StepSettings)
             for field in dataclasses.fields(kind)} | {"recipe"}
    for table in (presets.NETWORKS, presets.LOSSES, presets.DATASETS, presets.RECIPES):
        for name, preset in table.items():
            assert set(preset) <= known, name


def test_every_published_dataset_is_in_the_catalog():
    for name in set(presets.DATASETS) - {"own", "demo"}:
        assert catalog.training_set(name).identities
        assert resolve("r50", "arcface", name, {}).data.num_classes == catalog.training_set(name).identities


def test_settings_survive_json():
    settings = resolve("y2", "cm2", "own", {"data_dir": "x", "lr_steps": (7, 8)})
    assert Settings.from_json(settings.as_json(), "settings.json") == settings
