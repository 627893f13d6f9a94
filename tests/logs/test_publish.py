"""The published figures in the repository are those of the published logs."""
import csv
import json
import re
from pathlib import Path

from arcface_mxnet.logs.catalogue import FOLDER, PROVENANCE, names, published_run
from arcface_mxnet.logs.publish import SOURCES, csv_text, main, make
from arcface_mxnet.runtime.errors import InputError

import pytest


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_each_file_is_made_again_byte_for_byte(fixtures: Path, name: str) -> None:
    text, entry = make(name, fixtures / "logs")
    assert (FOLDER / f"{name}.csv").read_bytes() == text.encode()
    assert json.loads(PROVENANCE.read_text())[name] == json.loads(json.dumps(entry))


def test_the_logs_are_those_of_the_manifest(fixtures: Path) -> None:
    manifest = (fixtures / "MANIFEST.sha256").read_text()
    for name in names():
        entry = published_run(name).entry
        assert f"{entry['sha256']}  ./logs/{entry['log']}" in manifest


@pytest.mark.parametrize(("name", "step", "checkpoint"), [
    ("y1", 142000, 71), ("r34", 120000, 60), ("r50", 100000, 50), ("r100", 164000, 82)])
def test_the_step_that_was_released(name: str, step: int, checkpoint: int) -> None:
    run = published_run(name)
    assert run.released_step == step
    released = run.entry["released"]
    assert released["checkpoint"] == checkpoint
    for target, value in released["published"].items():
        assert released["logged"][target] == pytest.approx(value, abs=0.0002)  # published: four digits, some cut off


def test_a_published_run_is_read_back_whole(fixtures: Path) -> None:
    """Against the CSV read by the standard library."""
    with open(FOLDER / "r34.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    run = published_run("r34").run
    assert len(rows) == len(run.table) and run.targets == ["lfw", "cfp_ff", "cfp_fp", "agedb_30"]
    row = next(row for row in rows if row["step"] == "120000")
    assert float(row["agedb_30_accuracy"]) == .97700
    assert run.table.set_index("step").at[120000, "images"] == 120000 * 512
    assert csv_text(run) == (FOLDER / "r34.csv").read_text()


def test_nothing_but_figures_is_published() -> None:
    for path in FOLDER.glob("*.csv"):
        first, *rows = path.read_text().splitlines()
        assert re.fullmatch(r"[a-z0-9_,]+", first)
        assert all(re.fullmatch(r"[-\d.e,]+", row) for row in rows)


def test_recipes_of_the_published_runs() -> None:
    r100, y1, softmax = (published_run(name).recipe for name in ("r100", "y1", "moli-softmax"))
    assert r100.margins == (1.0, 0.3, 0.2) and r100.head == "the angle" and r100.images == 5822653
    assert y1.margins == (1.0, 0.5, 0.0) and y1.head == "the 2018 cosine form" and y1.wd == 4e-5
    assert (y1.batch, y1.devices, y1.embedding, y1.lr_steps) == (512, 4, 128, (100000, 140000, 160000))
    assert softmax.loss == "softmax" and softmax.margins is None and softmax.pretrained == ""


def test_unknown_names_list_the_known() -> None:
    with pytest.raises(InputError, match="unknown published run 'r18'; known: moli-arcface, .*y1"):
        published_run("r18")


def test_without_the_logs_nothing_is_written(tmp_path: Path) -> None:
    before = PROVENANCE.read_bytes()
    with pytest.raises(InputError, match="not found; give the folder"):
        main([str(tmp_path)])
    assert PROVENANCE.read_bytes() == before
