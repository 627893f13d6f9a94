"""What reproduce.py --scale paper says before it trains: files, disk, hours, devices; and --dry-run for everything."""
import dataclasses
import json
import re
import shutil
from pathlib import Path

from arcface_mxnet.datasets.catalog import TRAINING_SETS
from arcface_mxnet.recognition import reproduce
from arcface_mxnet.recognition.engine.setup import make_trainer
from arcface_mxnet.recognition.presets import NETWORKS
from arcface_mxnet.recognition.reproduction import paper_needs, processes, training_runs
from arcface_mxnet.recognition.reproduction.figures import Order
from arcface_mxnet.recognition.reproduction.paper_needs import published_speed, sizes_of
from arcface_mxnet.recognition.reproduction.paper_plan import paper_plan
from arcface_mxnet.recognition.reproduction.paper_runs import SUBJECTS, PaperRecipe, PaperScale
from arcface_mxnet.recognition.reproduction.processes import Devices, devices_of
from arcface_mxnet.runtime.errors import InputError
from tests.recognition.paper_root import write_paper_root

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def root(tmp_path_factory, tiny_faces):
    return write_paper_root(tmp_path_factory.mktemp("needs") / "data", tiny_faces)


@pytest.fixture
def small_sets(monkeypatch):
    """The published sets hold the tiny faces."""
    for name in ("webface", "emore", "vgg", "retina"):
        monkeypatch.setitem(TRAINING_SETS, name, dataclasses.replace(TRAINING_SETS[name], identities=12, images=96))


def dry(what, root, tmp_path, *more):
    return reproduce.main([what, "--scale", "paper", "--dry-run", "--data", str(root), "--work", str(tmp_path / "work"),
                           "--out", str(tmp_path / "out"), *more])


@pytest.mark.parametrize("what", SUBJECTS)
def test_a_dry_run_passes_for_every_table_and_figure(what, root, small_sets, tmp_path, capsys):
    assert dry(what, root, tmp_path, "--gpus", "0,1,2,3") == 0
    said = capsys.readouterr().out
    assert f"{what} at paper scale" in said and "missing: nothing" in said
    assert re.search(r"hours: [\d.,]+ of training", said) and re.search(r"disk: [\d.]+ GB below", said)
    assert said.index("needs") < said.index("python recognition/train.py")
    assert not (tmp_path / "work").exists() and not (tmp_path / "out").exists()


@pytest.mark.parametrize("what", SUBJECTS)
def test_a_dry_run_names_what_is_missing(what, tmp_path, capsys):
    with pytest.raises(InputError, match=rf"^{what}: \d+ files are missing, the first is [^\n]*$"):
        dry(what, tmp_path / "nowhere", tmp_path, "--gpus", "0,1,2,3")
    assert "needs" in capsys.readouterr().out


def test_another_edition_of_a_set_and_a_damaged_pack_are_found_before_training(root, small_sets, tmp_path, monkeypatch):
    monkeypatch.setitem(TRAINING_SETS, "webface", dataclasses.replace(TRAINING_SETS["webface"], images=95))
    with pytest.raises(InputError, match="faces_webface_112x112: has 96 images, expected 95"):
        dry("table3", root, tmp_path)
    monkeypatch.setitem(TRAINING_SETS, "webface", dataclasses.replace(TRAINING_SETS["webface"], images=96))
    folder = tmp_path / "own" / "faces_webface_112x112"
    shutil.copytree(root / "faces_webface_112x112", folder)
    (folder / "cfp_fp.bin").write_bytes(b"no pack")
    with pytest.raises(InputError, match="cfp_fp.bin"):
        dry("table3", folder.parent, tmp_path)


@pytest.mark.parametrize("flags, message", [
    (["--dry-run"], "--dry-run: for what is trained at paper scale"),
    (["--measure"], "--measure: for what is trained at paper scale"),
    (["--scale", "paper", "--dry-run", "--engine", "tensor"], "engine.*tensor")])
def test_bad_requests_are_one_line(flags, message, tmp_path):
    with pytest.raises(InputError, match=message):
        reproduce.main(["table3", "--out", str(tmp_path / "out"), *flags])


def test_several_plans_count_a_shared_run_once(tmp_path, capsys):
    with pytest.raises(InputError):
        dry("fig4", tmp_path / "nowhere", tmp_path)
    assert "fig4b trains nothing" in capsys.readouterr().out
    plans = [paper_plan(what, PaperScale(tmp_path), tmp_path) for what in ("table2", "table3", "fig6")]
    whole = reproduce.together(plans)
    assert len(whole.runs) == 22 and len(whole.files) == 6 and not whole.commands


# Disk and hours, against what is written and the sum by hand.


def test_disk_of_a_run_is_what_a_run_writes(tiny_faces, tmp_path, monkeypatch):
    monkeypatch.setitem(NETWORKS, "r50", NETWORKS["demo"])
    recipe = PaperRecipe("r50", "own", tiny_faces, limit=1, batch=8, devices="cpu:2")
    flags = {"network": "r50", "loss": "subcentre", "dataset": "own", "data_dir": str(tiny_faces), "ckpt": 2,
             "run_dir": str(tmp_path / "run"), "max_steps": 1, "verbose": 1, "val_targets": ("lfw",),
             **recipe.batch_flags("subcentre"), **recipe.where()}
    make_trainer(flags).train()
    training_runs.published_model(tmp_path / "run")
    restart, models = sizes_of("r50", "subcentre", 8, 12).kept_bytes(contexts=2)
    written = [path.stat().st_size for path in (tmp_path / "run").rglob("*.params")]
    assert len(written) == 4 and restart + models == pytest.approx(sum(written), rel=0.02)
    assert restart == pytest.approx(next((tmp_path / "run" / "last").glob("*.params")).stat().st_size, rel=0.02)


def test_hours_are_steps_times_images_by_the_published_speed(tmp_path):
    plan = paper_plan("table3", PaperScale(tmp_path, devices="0,1,2,3"), tmp_path)
    text = paper_needs.needs_text(plan, tmp_path)
    hours = 32000 * 4 * (4 * 128 + 60) / (4 * 824.0) / 3600  # four losses of 128 images a device, triplets of 60
    assert f"hours: {hours:.2f} of training" in text and "one NVIDIA H100" in text
    assert f"{490_623:,} images" in text and "size unknown" in text
    cpu = paper_needs.needs_text(paper_plan("table3", PaperScale(tmp_path, devices="cpu"), tmp_path), tmp_path)
    assert "hours: unknown, no speed of a CPU is published" in cpu


def test_published_speeds_are_those_of_the_documents():
    rows = re.findall(r"^\| (y1|r50|r100) \| ([\d,]+) \|", (ROOT / "docs" / "engines.md").read_text(), re.MULTILINE)
    assert {name: float(speed.replace(",", "")) for name, speed in rows} == dict(paper_needs.PUBLISHED_SPEED)
    assert published_speed("r100", 2).images_per_second == 2 * 526
    assert 824 < published_speed("r34", 1).images_per_second < 2 * 824


def test_a_set_that_is_missing_is_reckoned_from_the_bytes_an_image_of_one_that_is_here(root, small_sets, tmp_path):
    here = tmp_path / "data"
    here.mkdir()
    (here / "faces_webface_112x112").symlink_to(root / "faces_webface_112x112")
    text = paper_needs.needs_text(paper_plan("table8", PaperScale(here), tmp_path), tmp_path)
    size = (root / "faces_webface_112x112" / "train.rec").stat().st_size / 96 * 6_753_545 / 1e9
    assert f"to come: {here / 'faces_glint'}: about {size:,.2f} GB" in text
    assert f"to come: {here / 'faces_emore_asian'}: size unknown" in text


@pytest.mark.slow
def test_measured_hours_are_from_steps_on_this_machine(root, small_sets, tmp_path, capsys, monkeypatch):
    whole = paper_needs.group_of
    small = {"network": "small", "per_batch_size": 8}
    monkeypatch.setattr(paper_needs, "group_of", lambda recipe, loss: whole(recipe, loss)._replace(
        batch=8, flags={**whole(recipe, loss).flags, **small}))
    assert dry("fig4a", root, tmp_path, "--gpus", "cpu", "--measure") == 0
    said = capsys.readouterr().out
    speed, = re.findall(r"([\d,]+) images/s \(measured now, engine \w+ [\w.+]+, cpu", said)
    hours = 180_000 * 8 / float(speed.replace(",", "")) / 3600
    assert float(re.search(r"hours: ([\d.]+) of training", said).group(1)) == pytest.approx(hours, rel=0.1)


# Devices and processes.


@pytest.mark.parametrize("engine, text, expected", [
    ("torch", "0,1,2,3", Devices(4, 4, 4)), ("mxnet", "0,1,2,3", Devices(4, 4, 1)),
    ("torch", "cuda:2", Devices(1, 1, 1)), ("torch", "cpu:2", Devices(0, 2, 1)), ("mxnet", "cpu", Devices(0, 1, 1))])
def test_devices_are_counted_and_torch_takes_a_process_for_each_gpu(engine, text, expected):
    assert devices_of(engine, text) == expected
    assert processes.embedding_devices(engine, text) == ("0" if expected.processes > 1 else text)


def test_the_engine_reaches_runs_commands_and_evaluations(tmp_path):
    pytest.importorskip("torch")
    order = Order(tmp_path, tmp_path, "paper", devices="0,1,2,3", engine="torch")
    plan = paper_plan("table4", order.paper, tmp_path)
    assert plan.commands[0].startswith("torchrun --nproc-per-node 4 -m arcface_mxnet.recognition.train --network r100 ")
    assert "--gpus 0,1,2,3 --engine torch" in plan.commands[0]
    flags = plan.runs[0][0].flags("arcface", plan.runs[0][0].data, tmp_path, 0)
    assert (flags["engine"], flags["gpus"]) == ("torch", "0,1,2,3")
    assert order.paper.network("run/model,0").flags() == {"model": "run/model,0", "engine": "torch", "gpus": "0"}
    on = dataclasses.replace(order, devices="cpu").embeds_on
    assert on.engine.NAME == "torch"


@pytest.mark.slow
def test_a_run_of_several_processes_is_started_by_torchrun(tiny_faces, tmp_path, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr("arcface_mxnet.recognition.reproduction.paper_runs.devices_of", lambda *_: Devices(0, 2, 2))
    recipe = PaperRecipe("demo", "own", tiny_faces, limit=2, batch=4, devices="cpu", engine="torch")
    monkeypatch.setattr(PaperRecipe, "schedule", (1, 2))
    folder = training_runs.trained("arcface", 0, tiny_faces, tmp_path, recipe)
    assert json.loads((folder / "last" / "last.json").read_text())["step"] == 2
    assert (folder / "workers" / "1").is_dir()
    assert json.loads((folder / "settings.json").read_text())["torch"]


def test_processes_that_fail_are_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "apart", lambda *_: ["false"])
    with pytest.raises(InputError, match="the 2 processes of this run ended with status 1"):
        processes.train_apart({"run_dir": str(tmp_path)}, 2)
    monkeypatch.undo()
    with pytest.raises(InputError, match="r99: could not be measured: unknown network 'r99'"):
        processes.measured_apart("arcface_mxnet.recognition.reproduction.speed",
                                 {"network": "r99", "loss": "arcface", "dataset": "own", "classes": 5}, 1)
