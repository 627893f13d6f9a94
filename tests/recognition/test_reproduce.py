"""reproduce.py: the paper's numbers in place, curves against independent derivations, tables, plans and the page."""
import csv
import json
import math
from pathlib import Path

from arcface_mxnet.evaluation import paper
from arcface_mxnet.recognition import reproduce
from arcface_mxnet.recognition.presets import LOSSES, NETWORKS
from arcface_mxnet.recognition.reproduction import figures
from arcface_mxnet.recognition.reproduction.figures import FIGURES, Order, draw
from arcface_mxnet.recognition.reproduction.paper_plan import paper_plan, require_files
from arcface_mxnet.recognition.reproduction.paper_runs import (
    SUBJECTS,
    TABLE2,
    TABLE3,
    PaperRecipe,
    PaperScale,
    paper_subjects,
)
from arcface_mxnet.recognition.reproduction.tables import TABLES, Comparison, write_table
from arcface_mxnet.runtime.errors import InputError

import numpy as np
import pytest


def test_every_table_and_figure_of_the_paper_has_its_numbers_or_its_picture():
    assert set(TABLES) == {f"table{n}" for n in range(1, 10)} | {"subcentre"}
    for name in TABLES:
        printed = paper.table(name)
        assert all(len(row.values) == len(printed.columns) for row in printed.rows) and printed.source
    assert {"fig1", "fig2", "fig3", "fig4a", "fig4b", "fig5", "fig6", "fig7", "fig10", "fig11", "fig12"} <= set(FIGURES)


@pytest.mark.parametrize("table, row, values", [
    ("table2", "ArcFace (0.5)", [99.53, 95.56, 95.15]), ("table2", "NS+Intra+Inter (s=20)", [99.31, 94.88, 93.76]),
    ("table3", "W-EC", [44.26, 14.29, 8.83, 46.85, None]),
    ("table4", "MS1MV2, R100, ArcFace (v3)", ["5.8M", 99.83, 98.02]),
    ("table6", "MS1MV2, R100, ArcFace, R", ["large", 98.35, 98.48]),
    ("table7", "MS1MV2, R100, ArcFace", [0.942, 0.956]),
    ("table8", "MS1MV2+Asian", [84.840, 80.540]), ("table9", "+Context", [88.65]),
    ("subcentre", "MS1MV0, K=3 to 1, drop > 75 deg (chosen)", [94.56, 95.92])])
def test_numbers_of_the_paper(table, row, values):
    assert paper.table(table).row(row).values == values


def test_rows_of_our_runs_are_rows_of_the_paper_and_presets():
    names = [row.name for row in paper.table("table2").rows]
    assert set(TABLE2) <= set(names) and set(TABLE3) == set(paper.table("table3").columns)
    for name, subjects in SUBJECTS.items():
        assert {subject.loss for subject in subjects} <= set(LOSSES)
        assert {network for network, _, _ in paper_subjects(name)} <= set(NETWORKS)


def test_target_logits_are_those_of_figure_4b():
    printed = paper.figure("fig4b")
    for loss, row in zip(figures.FIGURE_4B_LOSSES, printed["rows"]):
        np.testing.assert_allclose(figures.target_logits(loss, printed["columns"]), row["values"], atol=5.1e-5)


def test_figure_12_by_formula_and_by_the_exact_laws():
    rows = {row["name"]: row["values"] for row in paper.figure("fig12")["rows"]}
    identities = np.array(paper.figure("fig12")["columns"], float)
    for d in (128, 256, 512):
        np.testing.assert_allclose(figures.paper_formula(identities, d), rows[f"formula, d={d}"], atol=0.006)
        for law, name in ((figures.smallest_of_all_pairs, "smallest of all pairs"),
                          (figures.nearest_neighbour, "mean nearest neighbour")):
            ours = [law(n, d) for n in identities]
            np.testing.assert_allclose(ours, rows[f"exact {name}, d={d}"], atol=0.006)


def test_the_law_of_nearest_neighbours_against_drawn_points():
    rng = np.random.RandomState(0)
    points = rng.randn(2000, 24)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    cosine = points @ points.T
    np.fill_diagonal(cosine, -1)
    drawn = np.degrees(np.arccos(cosine.max(axis=1))).mean()
    assert figures.nearest_neighbour(2000, 24) == pytest.approx(drawn, abs=0.3)


def test_decision_boundaries_lie_where_the_decision_turns():
    first = np.radians(np.array([5.0, 20.0, 35.0]))
    lines = figures.decision_boundaries(first)
    one, two = lines["CosFace"]
    np.testing.assert_allclose(np.cos(first) - 0.35, np.cos(one))
    np.testing.assert_allclose(np.cos(two[np.isfinite(two)]) - 0.35, np.cos(first[np.isfinite(two)]))
    np.testing.assert_allclose(lines["ArcFace"][0] - lines["ArcFace"][1], 1.0)
    np.testing.assert_allclose(lines["SphereFace"][0], 4 * first)


@pytest.mark.parametrize("name", ["fig1", "fig2", "fig4b", "fig5", "fig11"])
def test_drawn_figures_are_png_and_svg_and_equal_when_drawn_again(name, tmp_path):
    first = draw(name, Order(tmp_path / "a", tmp_path))
    second = draw(name, Order(tmp_path / "b", tmp_path))
    assert [path.suffix for path in first.files] == [".png", ".svg"]
    for one, two in zip(first.files, second.files):
        assert one.stat().st_size > 2000 and one.read_bytes() == two.read_bytes()


def test_a_table_says_ours_the_paper_the_difference_and_why_not(tmp_path):
    printed = paper.table("table9")
    cells = [Comparison("+MLP", "MAP", 86.40, (80.0, 82.0), made_by="x"),
             Comparison("+Context", "MAP", 88.65, (), "no set")]
    write_table(tmp_path, printed, cells, "our way", {"data": "abc"}, ["a finding"])
    text = (tmp_path / "table9.md").read_text()
    assert "| +MLP | 86.4 | 81.00 ± 1.41 | -5.40 |" in text and "no set" in text and "a finding" in text
    rows = list(csv.DictReader((tmp_path / "table9.csv").open()))
    assert float(rows[0]["difference"]) == pytest.approx(-5.4)
    assert rows[1]["why not"] == "no set" and rows[1]["ours"] == ""
    document = json.loads((tmp_path / "table9.json").read_text())
    assert document["cells"][0]["values"] == [80.0, 82.0] and document["provenance"]["commit"]


def test_figures_of_another_kind_are_ranked_and_never_subtracted(tmp_path):
    printed = paper.table("table9")
    cells = [Comparison("+MLP", "MAP", 86.40, (80.0, 82.0)), Comparison("+Context", "MAP", 88.65, (), "no set"),
             Comparison("+Ensemble", "MAP", 88.26, (70.0, 72.0)),
             Comparison("Other participant", "MAP", 87.66, (90.0,))]
    write_table(tmp_path, printed, cells, "our way", {}, comparable=False)
    text = (tmp_path / "table9.md").read_text()
    assert "| +MLP | 86.4 (3) | 81.00 ± 1.41 (2) |" in text and "| +Ensemble | 88.26 (1) | 71.00 ± 1.41 (3) |" in text
    assert "| +Context | 88.65 | no set |" in text and "difference" not in text
    assert all(row["difference"] == "" for row in csv.DictReader((tmp_path / "table9.csv").open()))
    assert all(cell["difference"] is None for cell in json.loads((tmp_path / "table9.json").read_text())["cells"])


def test_plan_names_runs_commands_and_missing_files(tmp_path):
    plan = paper_plan("table2", PaperScale(tmp_path), tmp_path / "work")
    assert len(plan.runs) == 22 and {recipe.steps for recipe, _ in plan.runs} == {32000}
    assert any("--network r50 --loss arcface --dataset webface" in command for command in plan.commands)
    folder = tmp_path / "faces_webface_112x112"
    assert str(folder / "train.rec") in plan.missing and str(folder / "agedb_30.bin") in plan.missing
    with pytest.raises(InputError, match="table2: 6 files are missing"):
        require_files(plan)
    folder.mkdir()
    for path in plan.missing:
        Path(path).touch()
    require_files(paper_plan("table2", PaperScale(tmp_path), tmp_path))


@pytest.mark.parametrize("what, runs", [
    ("table4", {("r100", "emore", "arcface")}), ("table7", {("r50", "vgg", "arcface"), ("r100", "emore", "arcface")}),
    ("table6", {("r50", "webface", "arcface"), ("r100", "emore", "arcface"), ("r100", "emore", "cosface")}),
    ("table8", {("r100", name, "arcface") for name in ("webface", "emore", "deepglint", "emore+asian")}),
    ("fig4a", {("r34", "emore", "arcface")})])
def test_runs_of_the_paper_are_those_its_rows_name(what, runs, tmp_path):
    plan = paper_plan(what, PaperScale(tmp_path), tmp_path)
    assert {(recipe.network, recipe.dataset, loss) for recipe, loss in plan.runs} == runs


def test_plan_asks_for_the_benchmarks_and_takes_packs_from_the_root(tmp_path):
    missing = paper_plan("table5", PaperScale(tmp_path), tmp_path).missing
    assert str(tmp_path / "calfw.bin") in missing
    (tmp_path / "calfw.bin").touch()
    assert str(tmp_path / "calfw.bin") not in paper_plan("table5", PaperScale(tmp_path), tmp_path).missing
    assert str(tmp_path / "IJBC" / "meta") in paper_plan("table7", PaperScale(tmp_path), tmp_path).missing


def test_the_later_schedule_counts_the_images_of_the_set(tiny_faces, tmp_path):
    recipe = PaperRecipe("r50", "ms1mv0", tiny_faces)  # 96 images: 8, 14 and 18 epochs of 512
    assert recipe.schedule == (1, 2, 3) and recipe.steps == 3
    flags = recipe.flags("subcentre", tiny_faces, tmp_path, 0)
    assert (flags["dataset"], flags["lr_steps"], flags["max_steps"]) == ("own", (1, 2), 3)
    casia = PaperRecipe("r50", "webface", tiny_faces)
    assert "max_steps" not in casia.flags("arcface", tiny_faces, tmp_path, 0)
    assert PaperRecipe("r50", "webface", tiny_faces, limit=7, batch=4).flags("arcface", tiny_faces, tmp_path, 0)[
        "max_steps"] == 7


def test_command_makes_a_figure_and_the_page_names_it(tmp_path, capsys):
    flags = ["--out", str(tmp_path / "out"), "--work", str(tmp_path / "work"), "--page", str(tmp_path / "page.md")]
    assert reproduce.main(["fig4b", *flags]) == 0
    assert "fig4b.png" in capsys.readouterr().out
    page = (tmp_path / "page.md").read_text()
    assert "![fig4b](out/fig4b.png)" in page and "largest difference" in page
    document = json.loads((tmp_path / "out" / "fig4b.json").read_text())
    assert max(document["figures"]["largest difference to the paper's formulas"].values()) < 5.1e-5


@pytest.mark.parametrize("flags, message", [
    (["table99"], "unknown table or figure 'table99'.*fig12"), (["fig5", "--seeds", "a"], "--seeds a"),
    (["table6", "--rows", "Softmax|Sofmax"], "unknown row 'Sofmax'"),
    (["fig5", "--scale", "huge"], "unknown --scale 'huge'; known: demo, paper"), (["log"], "log: say which"),
    (["log", "nobody"], "nobody")])
def test_bad_requests_are_one_line(flags, message, tmp_path):
    with pytest.raises(InputError, match=message):
        reproduce.main([*flags, "--out", str(tmp_path)])


def test_paper_scale_prints_the_plan_before_it_stops(tmp_path, capsys):
    with pytest.raises(InputError, match="files are missing"):
        reproduce.main(["table3", "--scale", "paper", "--data", str(tmp_path), "--out", str(tmp_path / "o"),
                        "--identities", "2000"])
    assert not (tmp_path / "o" / "2000x40").exists()  # the published sets have their own size
    printed = capsys.readouterr().out
    assert "table3 at paper scale: 5 runs" in printed and "[webface, r50, loss*]: nsoftmax, arcface" in printed
    assert "missing: " in printed


def test_fig4_stands_for_its_parts():
    assert reproduce.chosen("fig4") == ["fig4a", "fig4b"]
    assert reproduce.chosen("fig12") == ["fig12"] and "table1" in reproduce.chosen("all")


def test_angles_of_the_toy_are_measured_on_constructed_points():
    from arcface_mxnet.recognition.reproduction.toy import Trained, angles_to_centres
    degrees = np.radians([10.0, 350.0, 90.0, 90.0])
    embeddings = 3 * np.stack([np.cos(degrees), np.sin(degrees)], axis=1)
    centres = np.array([[2.0, 0.0], [0.0, 0.5]])
    found = angles_to_centres(Trained(embeddings, np.array([0, 0, 1, 1]), centres, 1.0))
    assert found["mean angle to own centre"] == pytest.approx(5.0)
    assert found["smallest angle between centres"] == pytest.approx(90.0)


def test_the_formula_is_the_small_angle_limit_of_the_smallest_of_all_pairs():
    assert figures.paper_formula(np.array([1e4]), 4)[0] == pytest.approx(figures.smallest_of_all_pairs(1e4, 4),
                                                                        rel=2e-3)
    assert math.isclose(figures.paper_formula(np.array([1e4]), 4)[0], 0.233, abs_tol=5e-4)
