import dataclasses
import json
from pathlib import Path

from arcface_mxnet.datasets import catalog
from arcface_mxnet.recognition import presets
from arcface_mxnet.recognition.losses.triplet import Added
from arcface_mxnet.recognition.settings import (
    DataSettings,
    Names,
    OptimizerSettings,
    ScheduleSettings,
    Settings,
    resolve,
    sections,
)
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
    assert settings.optimizer == OptimizerSettings(lr=0.1, wd=5e-4, mom=0.9)
    assert settings.schedule == ScheduleSettings(lr_steps=(100000, 160000), max_steps=180000)
    assert settings.data.per_batch_size == 128


def test_casia_and_mobilefacenet():
    assert resolve("r50", "arcface", "webface", {}).schedule.lr_steps == (20000, 28000)
    assert resolve("r50", "arcface", "webface", {}).schedule.max_steps == 32000
    assert resolve("y1", "arcface", "emore", {}).optimizer.wd == 4e-5
    assert resolve("y1", "arcface", "emore", {"wd": 1e-3}).optimizer.wd == 1e-3


def test_flags_go_before_presets():
    settings = resolve("r50", "combined", "emore", {"recipe": "casia", "max_steps": 5, "loss_m2": 0.1,
                                                    "data_dir": "/elsewhere", "original": True})
    assert settings.schedule.max_steps == 5
    assert settings.schedule.lr_steps == (20000, 28000)
    assert (settings.loss.loss_m2, settings.loss.loss_m3) == (0.1, 0.2)
    assert settings.data.folder == "/elsewhere"
    assert settings.original and settings.loss.original


@pytest.mark.parametrize("names, said", [
    (("r101x", "arcface", "emore"), "unknown network 'r101x'; known: .*r100, .*y1"),
    (("r50", "arcfase", "emore"), "unknown loss 'arcfase'; known: .*did you mean arcface\\?"),
    (("R100", "arcface", "emore"), "unknown network 'R100'; known: .*did you mean r100\\?"),
    (("r50", "ArcFace", "emore"), "unknown loss 'ArcFace'; known: .*did you mean arcface\\?"),
    (("r50", "arcface", "emoree"), "unknown dataset 'emoree'; known: .*emore"),
])
def test_an_unknown_preset_lists_the_known_ones(names, said):
    with pytest.raises(InputError, match=said):
        resolve(*names, flags={})


@pytest.mark.parametrize("flags, said", [
    ({"per_batch_size": 0}, "--per-batch-size 0"), ({"lr": 0.0}, "--lr 0.0"), ({"mom": 1.0}, "--mom 1.0"),
    ({"lr_steps": (5, 3)}, "--lr-steps 5,3: must rise"), ({"ckpt": 4}, "--ckpt 4: known are 0"),
    ({"multipliers": "some"}, "unknown multipliers 'some'; known: honoured, uniform"),
    ({"wd": float("nan")}, "--wd nan"), ({"lr": float("nan")}, "--lr nan"), ({"threads": -1}, "--threads -1"),
    ({"data_color": 3}, "--color 3: known are 0"), ({"data_cutoff": -8}, "--cutoff -8"),
    ({"verbose": 0}, "--verbose 0"), ({"recipe": "x"}, "unknown recipe 'x'"),
])
def test_impossible_values_name_their_flag(flags, said):
    with pytest.raises(InputError, match=said):
        resolve("r50", "arcface", "emore", flags)


@pytest.mark.parametrize("flags, said", [
    ({"learning_rate": 1}, "unknown setting 'learning_rate'; known: .*lr, "),
    ({"per_batch_sise": 1}, "known: .*did you mean per_batch_size"),
    ({"lr": "fast"}, "--lr 'fast': expected a number"), ({"max_steps": 2.5}, "--max-steps 2.5: expected a whole"),
    ({"bf16": 1}, "--bf16 1: expected true or false"), ({"lr_steps": 5}, "--lr-steps 5: expected a list"),
    ({"image_shape": (112, 112)}, "image_shape .*: expected 3 values"),
    ({"options": {"angular": 0.5}}, "loss margin_triplet, option angular 0.5: expected true or false"),
    ({"options": {"wieght": 1.0}}, "unknown option of the loss margin_triplet 'wieght'; known: .*did you mean weight"),
])
def test_what_is_no_setting_is_refused(flags, said):
    with pytest.raises(InputError, match=said):
        resolve("r50", "arcface_etriplet", "emore", flags)


def test_a_losss_options_are_of_its_own_class():
    assert resolve("r50", "arcface_etriplet", "emore", {}).loss.options == Added(weight=1.0, angular=False)
    given = {"options": {"weight": 2}}
    assert resolve("r50", "arcface_etriplet", "emore", given).loss.options == Added(weight=2.0, angular=False)


def test_a_key_belongs_to_one_section():
    """Presets and flags are flat: only the network's half precision stands in two sections, resolved from one flag."""
    keys = [field.name for name, kind in sections().items() if name != "names" for field in dataclasses.fields(kind)]
    assert {key for key in keys if keys.count(key) > 1} == {"fp16"}
    made = resolve("r50", "arcface", "emore", {"fp16": True})
    assert made.network.fp16 and made.precision.fp16


def test_none_alone_is_no_verification_pack():
    assert resolve("r50", "arcface", "emore", {"val_targets": ("none",)}).data.val_targets == ()
    assert DataSettings("x", val_targets=("none", "lfw")).val_targets == ("none", "lfw")


def test_every_preset_key_is_a_setting():
    known = {field.name for kind in sections().values() for field in dataclasses.fields(kind)}
    for table in (presets.NETWORKS, presets.LOSSES, presets.DATASETS, presets.RECIPES):
        for name, preset in table.items():
            assert set(preset) <= known, name


def test_every_published_dataset_is_in_the_catalog():
    for name in set(presets.DATASETS) - {"own", "demo"}:
        assert catalog.training_set(name).identities
        assert resolve("r50", "arcface", name, {}).data.num_classes == catalog.training_set(name).identities


@pytest.mark.parametrize("names", [("y2", "cm2", "own"), ("r50", "arcface_etriplet", "emore"), ("demo", "qan", "demo")])
def test_settings_survive_json(names):
    settings = resolve(*names, {"data_dir": "x", "lr_steps": (7, 8), "per_batch_size": 60})
    assert Settings.from_json(json.loads(json.dumps(settings.as_json())), "settings.json") == settings


def before_sections():
    """A settings.json as written until 0.1.0, by `train.py --network demo --loss arcface_triplet --dataset own`."""
    return json.loads(Path(__file__).with_name("settings_before_sections.json").read_text())["settings"]


def test_settings_of_before_there_were_sections_are_read():
    flags = {"per_batch_size": 15, "max_steps": 2, "val_targets": (), "seed": 3, "original": True, "head": "plain",
             "lr_steps": (7, 9), "data_dir": "faces"}
    read = Settings.from_json(before_sections(), "settings.json")
    assert read == resolve("demo", "arcface_triplet", "own", flags)
    assert read.loss.options.angular is True and read.names == Names("demo", "arcface_triplet", "own", "original")


@pytest.mark.parametrize("change, said", [
    (lambda stored: stored["step"].update(warmup=5), "unknown setting 'warmup'"),
    (lambda stored: stored["step"].update(lr="fast"), "--lr 'fast': expected a number"),
    (lambda stored: stored.update(network=[1]), "not the settings of a run"),
    (lambda stored: stored.pop("names"), "names is not a section"),
    (lambda stored: stored["loss"].update(loss_name=7), "loss_name 7: expected text"),
    (lambda stored: stored["loss"].update(options=[1]), "settings.json: .*options"),
    (lambda stored: stored.pop("step"), "unknown section 'original'"),
])
def test_what_is_wrong_with_stored_settings_is_said(change, said):
    stored = before_sections()
    change(stored)
    with pytest.raises(InputError, match=said):
        Settings.from_json(stored, "settings.json")


@pytest.mark.parametrize("stored", [{}, [], None, {"names": {}, "network": {}, "loss": {}}])
def test_what_holds_no_settings_is_refused(stored):
    with pytest.raises(InputError, match="settings.json: not the settings of a run"):
        Settings.from_json(stored, "settings.json")
