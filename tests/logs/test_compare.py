"""A run against the published course: standing, forecast, settings and exit status."""
import dataclasses
import json
from pathlib import Path
from typing import Any, Dict, Optional

from arcface_mxnet.logs import format as lines
from arcface_mxnet.logs.catalogue import names, published_run
from arcface_mxnet.logs.compare import closest, compare, main, report
from arcface_mxnet.logs.parse import Run, load, parse
from arcface_mxnet.logs.recipe import Recipe, differences, recipe

import numpy as np
import pytest

LOGS = {"y1": "insightface_model-y1-test2.log", "r34": "insightface_model-r34-amf.log"}


def shifted(name: str, offset: float, until: Optional[int] = None, **settings: Any) -> Run:
    """A published run with other accuracies (offset in log-odds), cut at a step."""
    run = published_run(name).run
    table = run.table.copy()
    if until:
        table = table[table["step"] <= until]
    for target in run.targets:
        odds = table[f"{target}_accuracy"] / (1 - table[f"{target}_accuracy"])
        table[f"{target}_accuracy"] = 1 - 1 / (1 + odds * np.exp(offset))
    return Run("ours", {**run.settings, **settings}, run.facts, table)


@pytest.mark.parametrize(("offset", "where", "status"), [(0.0, "inside", 0), (-1.0, "below", 1), (1.0, "above", 0)])
def test_standing_and_status(offset: float, where: str, status: int) -> None:
    comparison = compare(shifted("y1", offset, 60000), published_run("y1"))
    assert set(comparison.standings) == {"lfw", "cfp_fp", "agedb_30"}
    assert set(comparison.standings.values()) == {where} and comparison.status == status


def test_the_forecast_of_a_run_that_keeps_its_distance() -> None:
    comparison = compare(shifted("y1", -0.5, 60000), published_run("y1"))
    for target, final in (("lfw", .99467), ("agedb_30", .95883)):  # medians of the last three in the log
        assert comparison.finals[target] == final
        odds = final / (1 - final) * np.exp(-0.5)
        assert comparison.forecasts[target].final == pytest.approx(odds / (1 + odds), abs=1e-9)


def test_alignment_is_by_images_not_steps() -> None:
    """The same course at half the batch: twice the steps, the same standing."""
    run = published_run("r34").run
    table = run.table.copy()
    table["step"] *= 2  # the images stay what they are
    halved = Run("ours", {**run.settings, "batch_size": 256, "per_batch_size": 64}, run.facts, table)
    comparison = compare(halved, published_run("r34"))
    assert (comparison.rows["ours"] == comparison.rows["expected"]).all() and comparison.status == 0
    assert comparison.differing == ["A step takes 256 images, a published step 512."]


def test_every_setting_has_its_sentence() -> None:
    ours = Recipe(network="r34", embedding=256, loss="softmax", identities=10, images=1000, mirror=False, batch=64,
                  devices=1, lr=0.2, lr_steps=(10, 20), max_steps=30, wd=1e-4, momentum=0.8, multipliers="honoured",
                  pretrained="m,1", margins=(1.0, 0.0, 0.35), scale=32.0, head="the angle")
    theirs = Recipe(network="y1", embedding=128, loss="margin", identities=20, images=2000, mirror=True, batch=512,
                    devices=4, lr=0.1, lr_steps=(), max_steps=40, wd=5e-4, momentum=0.9, multipliers="uniform",
                    pretrained="", margins=(1.0, 0.5, 0.0), scale=64.0, head="the 2018 cosine form")
    told = differences(ours, theirs)
    said = [entry for entry in dataclasses.fields(Recipe) if "sentence" in entry.metadata]
    assert len(told) == len(said) == len(dataclasses.fields(Recipe)) - 1
    assert told[0] == "The network is r34, the published run trained y1."
    assert "The margins (m1, m2, m3) are 1, 0, 0.35, published 1, 0.5, 0." in told
    assert "The rate drops at steps 10, 20, in the published run at none." in told
    assert "Random mirroring is off, in the published run on." in told
    assert "The run starts from m,1, the published one from random values." in told
    assert differences(ours, ours) == [] and differences(ours, Recipe()) == []


def test_validations_at_another_rate_are_told_apart() -> None:
    """r34 drops its rate at steps 60k, 90k and 110k, r50 at 50k, 80k and 100k; both have 512 images a step."""
    rows = compare(published_run("r34").run, published_run("r50")).rows.drop_duplicates("step")
    same = set(rows.loc[rows["same_rate"], "step"])
    steps = [step for step in rows["step"] if step <= 112000]
    assert [step for step in steps if step not in same] == [
        step for step in steps if any(drop < step <= drop + 10000 for drop in (50000, 80000, 100000))]


@pytest.mark.parametrize(("loss_type", "margins"), [
    (2, (1.0, 0.0, 0.4)), (4, (1.0, 0.4, 0.0)), (5, (0.9, 0.4, 0.15)), (0, None), (12, None)])
def test_the_losses_of_2018(loss_type: int, margins: Any) -> None:
    settings = {"loss_type": loss_type, "margin_m": 0.4, "margin_a": 0.9, "margin_b": 0.15, "margin_s": 30.0}
    found = recipe(Run("log", settings, {}, published_run("y1").run.table))
    assert found.margins == margins and found.scale == (30.0 if margins else None)
    assert found.loss == {0: "softmax", 12: "loss type 12 of 2018"}.get(loss_type, "margin")


@pytest.mark.parametrize("name", names())
def test_a_published_run_is_closest_to_itself(name: str) -> None:
    assert closest(published_run(name).recipe).name == name


def ours(network: str = "y1", **step: Any) -> Dict[str, Any]:
    """A settings.json of our own trainer (recognition/engine/checkpoint.py)."""
    return {"settings": {
        "names": {"network": network, "loss": "arcface", "dataset": "own"}, "pretrained": "", "original": False,
        "network": {"emb_size": 128},
        "loss": {"loss_name": "margin_softmax", "loss_s": 64.0, "loss_m1": 1.0, "loss_m2": 0.5, "loss_m3": 0.0},
        "data": {"data_rand_mirror": True},
        "step": {"per_batch_size": 32, "lr": 0.1, "lr_steps": [100, 200], "max_steps": 300, "wd": 4e-5, "mom": 0.9,
                 "multipliers": "uniform", **step}}, "identities": 50, "images": 400, "contexts": 2}


def test_our_settings_are_understood() -> None:
    run = Run("ours", ours(), {}, published_run("y1").run.table)
    mine = recipe(run)
    assert (mine.network, mine.batch, mine.devices, mine.lr_steps) == ("y1", 64, 2, (100, 200))
    assert mine.margins == (1.0, 0.5, 0.0) and mine.identities == 50
    assert closest(mine).name in ("y1", "moli-arcface")
    told = differences(mine, published_run("y1").recipe)
    assert "A step takes 64 images, a published step 512." in told
    assert "The training set has 50 identities, the published one 85,742." in told


def test_the_settings_of_2021_are_understood() -> None:
    text = ("Called with argument: Namespace(network='r50', loss='arcface', dataset='emore', lr=0.1, wd=0.0005, "
            "mom=0.9, lr_steps='100000,160000', per_batch_size=128, ctx_num=8, pretrained='') "
            "{'loss_name': 'margin_softmax', 'loss_s': 64.0, 'loss_m1': 1.0, 'loss_m2': 0.5, 'loss_m3': 0.0, "
            "'emb_size': 512}\n")
    mine = recipe(parse(text + lines.epoch_batch(0, 0, 20, 100.0, 0.0)))
    assert (mine.network, mine.batch, mine.margins, mine.lr_steps) == ("r50", 1024, (1.0, .5, 0.0), (100000, 160000))


def test_a_run_that_has_not_reached_the_first_published_validation() -> None:
    comparison = compare(shifted("y1", 0.0, 1000), published_run("y1"))
    assert comparison.status == 3 and "no validation yet" in report(comparison)
    early = shifted("y1", 0.0, 2000)
    early.table["images"] /= 2
    comparison = compare(early, published_run("y1"))
    assert comparison.status == 3 and "validated first after 1,024,000" in report(comparison)
    assert "not comparable" in report(comparison)


def test_a_loss_that_broke_is_said() -> None:
    run = shifted("y1", 0.0, 60000)
    run.table.loc[run.table["step"] > 50000, "acc"] = np.nan
    assert any(note.startswith("From step 50,") and "not a finite number" in note
               for note in compare(run, published_run("y1")).notes)


def test_drawn_faces_are_not_taken_for_photographs() -> None:
    settings = ours()
    settings["settings"]["names"]["dataset"] = "demo"
    comparison = compare(Run("ours", settings, {}, published_run("y1").run.table), published_run("y1"))
    assert any("drawn faces" in note for note in comparison.notes)


def test_the_command(fixtures: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "comparison.json"
    assert main([str(fixtures / "logs" / LOGS["r34"]), "--with", "r50", "--last", "1", "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert "The network is r34, the published run trained r50." in told
    assert "1.22 times the published 662.9" in told
    written = json.loads(out.read_text())
    assert written["published"] == "r50" and written["status"] == 0
    assert written["standings"] == {target: "inside" for target in ("lfw", "cfp_ff", "cfp_fp", "agedb_30")}
    assert main([str(fixtures / "logs" / LOGS["y1"]), "--with", "r100"]) == 1
    capsys.readouterr()
    assert main([str(fixtures / "logs" / LOGS["y1"])]) == 0
    assert "published run y1\n" in capsys.readouterr().out


def test_a_log_is_its_own_course(fixtures: Path) -> None:
    run = load(fixtures / "logs" / LOGS["y1"])
    comparison = compare(run, published_run("y1"))
    assert comparison.differing == [] and (comparison.rows["ours"] == comparison.rows["expected"]).all()
    assert comparison.train_accuracy[0] == pytest.approx(comparison.train_accuracy[1])
