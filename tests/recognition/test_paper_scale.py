"""reproduce.py --scale paper from the data root to the tables, on a made-up root and a network of no weight."""
import dataclasses
import json

import pytest

from datasets.published_sets import TRAINING_SETS
from recognition import reproduce
from recognition.presets import NETWORKS
from recognition.reproduction.run_list import DROPS, SUBCENTRE, TABLE2, TABLE6, TABLE9
from runtime.errors import InputError
from tests.recognition.paper_root import write_paper_root

PAPER_NETWORKS = ("r34", "r50", "r100")


@pytest.fixture(scope="module")
def root(tmp_path_factory, tiny_faces):
    return write_paper_root(tmp_path_factory.mktemp("paper") / "data", tiny_faces)


@pytest.fixture
def small_world(monkeypatch):
    """The published sets hold the tiny faces, and the paper's networks are the demo's."""
    for name in ("webface", "emore", "vgg", "retina"):
        monkeypatch.setitem(TRAINING_SETS, name, dataclasses.replace(TRAINING_SETS[name], identities=12, images=96))
    for name in PAPER_NETWORKS:
        monkeypatch.setitem(NETWORKS, name, NETWORKS["demo"])


def made(what, root, tmp_path, *more):
    flags = ["--scale", "paper", "--data", str(root), "--out", str(tmp_path / "out"), "--work", str(tmp_path / "work"),
             "--page", str(tmp_path / "page.md"), "--gpus", "cpu", "--per-batch-size", "16", "--max-steps", "2"]
    assert reproduce.main([what, *flags, *more]) == 0
    return json.loads((tmp_path / "out" / f"{what}.json").read_text())


def filled(document):
    return {(cell["row"], cell["column"]) for cell in document["cells"] if cell["ours"] is not None}


def test_nothing_is_trained_while_a_file_is_missing(tmp_path, capsys):
    with pytest.raises(InputError, match="table7: 16 files are missing"):
        made("table7", tmp_path / "nowhere", tmp_path)
    printed = capsys.readouterr().out
    assert "[vgg, r50, loss*]: arcface; 180,000 steps" in printed and "missing: " in printed
    assert not (tmp_path / "work").exists()


def test_table2_at_the_papers_settings(root, small_world, tmp_path):
    document = made("table2", root, tmp_path, "--losses", "arcface,atriplet")
    assert filled(document) == {(row, column) for row, loss in TABLE2.items() if loss in ("arcface", "atriplet")
                                for column in ("LFW", "CFP-FP", "AgeDB-30")}
    assert document["comparable"] and document["made_from"]["data"]
    place = next((tmp_path / "work" / "runs").glob("r50-arcface-*/settings.json"))
    settings = json.loads(place.read_text())["settings"]
    assert settings["names"] == {"network": "r50", "loss": "arcface", "dataset": "webface", "recipe": "casia"}
    step = settings["step"]
    assert (step["lr"], step["wd"], step["mom"], tuple(step["lr_steps"])) == (0.1, 0.0005, 0.9, (20000, 28000))
    assert settings["loss"]["loss_m2"] == 0.5 and settings["loss"]["loss_s"] == 64.0


@pytest.mark.slow
@pytest.mark.parametrize("what, rows, columns", [
    ("table4", ["MS1MV2, R100, ArcFace (v3)"], ["LFW", "YTF"]),
    ("table5", ["MS1MV2, R100, ArcFace"], ["LFW", "CALFW", "CPLFW"]),
    ("table6", [row for row, subject in TABLE6.items() if subject.paper], ["Id", "Ver"]),
    ("table7", ["VGG2, R50, ArcFace", "MS1MV2, R100, ArcFace"], ["IJB-B", "IJB-C"]),
    ("table8", ["CASIA", "MS1MV2", "DeepGlint-Face", "MS1MV2+Asian"], ["Id at FPR 1e-3", "Ver at FPR 1e-9"]),
    ("table9", [*TABLE9, "+MLP", "+Ensemble"], ["MAP"]),
    ("subcentre", [row for row in [*SUBCENTRE, *DROPS]], ["IJB-B", "IJB-C"])])
def test_every_benchmark_from_the_data_root_to_the_table(what, rows, columns, root, small_world, tmp_path, monkeypatch):
    monkeypatch.setattr("recognition.losses.subcentre.np.radians", lambda degrees: 3.0)  # two steps leave all far off
    document = made(what, root, tmp_path)
    assert filled(document) == {(row, column) for row in rows for column in columns}


@pytest.mark.slow
@pytest.mark.parametrize("what", ["table3", "fig4a", "fig6", "fig7"])
def test_angles_at_paper_scale(what, root, small_world, tmp_path):
    assert made(what, root, tmp_path)["provenance"]["commit"]
