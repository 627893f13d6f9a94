"""reproduce.py --scale paper from the data root to the tables, on a made-up root and a network of no weight."""
import csv
import dataclasses
import json

from arcface_mxnet.datasets.catalog import TRAINING_SETS
from arcface_mxnet.recognition import reproduce
from arcface_mxnet.recognition.presets import NETWORKS
from arcface_mxnet.recognition.reproduction import paper_benchmarks, result_figures
from arcface_mxnet.recognition.reproduction.paper_runs import FIGURE8, FIGURE9, TABLE2, TABLE6, TABLE9
from arcface_mxnet.runtime.errors import InputError
from tests.recognition.paper_root import write_paper_root

import numpy as np
import pytest

PAPER_NETWORKS = ("r34", "r50", "r100")


@pytest.fixture(scope="module")
def root(tmp_path_factory, tiny_faces):
    return write_paper_root(tmp_path_factory.mktemp("paper") / "data", tiny_faces)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Runs are kept from one table or figure to the next, as they are for a user."""
    return tmp_path_factory.mktemp("kept") / "work"


@pytest.fixture
def small_world(monkeypatch):
    """The published sets hold the tiny faces, and the paper's networks are the demo's."""
    for name in ("webface", "emore", "vgg", "retina"):
        monkeypatch.setitem(TRAINING_SETS, name, dataclasses.replace(TRAINING_SETS[name], identities=12, images=96))
    for name in PAPER_NETWORKS:
        monkeypatch.setitem(NETWORKS, name, NETWORKS["demo"])


def made(what, root, tmp_path, *more, work=None):
    work = work or tmp_path / "work"
    flags = ["--scale", "paper", "--data", str(root), "--out", str(tmp_path / "out"), "--work", str(work),
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
    optimizer = settings["optimizer"]
    assert (optimizer["lr"], optimizer["wd"], optimizer["mom"]) == (0.1, 0.0005, 0.9)
    assert settings["schedule"]["lr_steps"] == [20000, 28000]
    assert settings["loss"]["loss_m2"] == 0.5 and settings["loss"]["loss_s"] == 64.0


@pytest.mark.slow
@pytest.mark.parametrize("what", ["table3", "table5"])
def test_pytorch_trains_and_embeds_at_paper_scale(what, root, small_world, tmp_path):
    pytest.importorskip("torch")
    assert filled(made(what, root, tmp_path, "--engine", "torch"))
    for place in (tmp_path / "work" / "runs").glob("*/settings.json"):
        settings = json.loads(place.read_text())
        assert settings["settings"]["parallelism"]["engine"] == "torch" and settings["torch"]
    for place in (tmp_path / "work" / "runs").glob("*/table5/lfw/result.json"):
        assert "engine torch" in place.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("what, rows, columns", [
    ("table4", ["MS1MV2, R100, ArcFace (v3)"], ["LFW", "YTF"]),
    ("table5", ["MS1MV2, R100, ArcFace"], ["LFW", "CALFW", "CPLFW"]),
    ("table6", [row for row, subject in TABLE6.items() if subject.paper], ["Id", "Ver"]),
    ("table7", ["VGG2, R50, ArcFace", "MS1MV2, R100, ArcFace"], ["IJB-B", "IJB-C"]),
    ("table8", ["CASIA", "MS1MV2", "DeepGlint-Face", "MS1MV2+Asian"], ["Id at FPR 1e-3", "Ver at FPR 1e-9"]),
    ("table9", [*TABLE9, "+MLP", "+Ensemble"], ["MAP"]),
    ("subcentre", ["MS1MV0, K=1", "MS1MV0, K=10", "MS1MV3, K=3", "Celeb500K, K=3", "MS1MV0, NR",
                   "MS1MV0, K=3 to 1, drop > 75 deg (chosen)", "MS1MV3, K=3 to 1 (removes 4.18 % of images)"],
     ["IJB-B", "IJB-C"])])
def test_every_benchmark_from_the_data_root_to_the_table(what, rows, columns, root, small_world, near_images, tmp_path,
                                                         kept):
    """All rows, but of the sub-centre table some: every set, 1, 3 and 10 centres, noise resistance, two drop steps."""
    document = made(what, root, tmp_path, *(["--rows", "|".join(rows)] if what == "subcentre" else []), work=kept)
    assert filled(document) == {(row, column) for row in rows for column in columns}


@pytest.mark.slow
@pytest.mark.parametrize("what", ["table3", "fig4a", "fig6", "fig7"])
def test_angles_at_paper_scale(what, root, small_world, tmp_path, kept):
    assert made(what, root, tmp_path, work=kept)["provenance"]["commit"]


@pytest.fixture
def drawn(monkeypatch):
    """{panel: {label: (x, y)}} of the picture that was saved last."""
    panels = {}
    whole = result_figures.save

    def save(picture, folder, name):
        for axes in picture.axes:
            panels[axes.get_title()] = {line.get_label(): line.get_xydata().T for line in axes.get_lines()}
        return whole(picture, folder, name)

    monkeypatch.setattr(result_figures, "save", save)
    return panels


def refuse(words):
    raise AssertionError(f"evaluated or trained again: {words}")


def cells(document):
    return {(cell["row"], cell["column"]): cell["ours"] for cell in document["cells"] if cell["ours"] is not None}


def points(path):
    with open(path, newline="") as stream:
        return np.array([[float(x), float(y)] for _, x, y in list(csv.reader(stream))[1:]]).T


@pytest.mark.slow
def test_figure_8_draws_what_table_6_left(root, small_world, tmp_path, monkeypatch, drawn):
    table = cells(made("table6", root, tmp_path, "--rows", "|".join(FIGURE8.values())))
    monkeypatch.setattr(paper_benchmarks.megaface, "main", refuse)
    monkeypatch.setattr("arcface_mxnet.recognition.reproduction.training_runs.make_trainer", refuse)
    document = made("fig8", root, tmp_path)
    assert (tmp_path / "out" / "fig8.png").exists() and (tmp_path / "out" / "fig8.svg").exists()
    assert set(drawn["CMC"]) == set(drawn["ROC"]) == set(document["figures"]) == set(FIGURE8)
    for label, row in FIGURE8.items():
        part = "refined" if row.endswith(", R") else "all"
        network, loss = ("r50" if row.startswith("CASIA") else "r100"), ("cosface" if "CosFace" in row else "arcface")
        folder, = (tmp_path / "work" / "runs").glob(f"{network}-{loss}-*/table6/{part}")
        for panel in ("CMC", "ROC"):
            path, = folder.glob(f"*_{panel.lower()}.csv")
            np.testing.assert_allclose(drawn[panel][label], points(path))
        assert drawn["CMC"][label][1, 0] == pytest.approx(table[row, "Id"])
        assert document["figures"][label] == {"rank-1 %": table[row, "Id"], "TAR at 1e-06 %": table[row, "Ver"]}
    assert len({tuple(line[1]) for line in drawn["CMC"].values()}) > 1
    assert document["made_from"]["runs"] and "stand-in" not in document["protocol"]


@pytest.mark.slow
def test_table_7_takes_up_what_figure_9_measured(root, small_world, tmp_path, monkeypatch, drawn):
    document = made("fig9", root, tmp_path)
    monkeypatch.setattr(paper_benchmarks.ijb, "main", refuse)
    monkeypatch.setattr("arcface_mxnet.recognition.reproduction.training_runs.make_trainer", refuse)
    table = cells(made("table7", root, tmp_path))
    for title, target in (("IJB-B", "ijbb"), ("IJB-C", "ijbc")):
        panel = drawn[f"ROC on {title}"]
        assert set(panel) == set(FIGURE9)
        for row, network in zip(FIGURE9, ("r50", "r100")):
            path, = (tmp_path / "work" / "runs").glob(f"{network}-arcface-*/table7/{target}/*_roc.csv")
            np.testing.assert_allclose(panel[row] * [[1], [100]], points(path))
            assert document["figures"][f"{title}, {row}"]["TAR at 0.0001"] == table[row, title]


def test_a_curve_that_is_gone_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone_roc.csv: not found; delete .*table6-.*json"):
        result_figures.left_by("table6", tmp_path, tmp_path / "gone_roc.csv")


@pytest.mark.parametrize("what, needed", [("fig8", "megaface_noises.txt"), ("fig9", "IJBC/loose_crop")])
def test_the_plan_of_figures_8_and_9_names_their_files(what, needed, tmp_path, capsys):
    with pytest.raises(InputError, match=f"{what}: .* files are missing"):
        made(what, tmp_path / "nowhere", tmp_path)
    assert f"missing: {tmp_path / 'nowhere' / needed}" in capsys.readouterr().out
