"""reproduce.py at demo scale, every table and figure that needs runs: few people, two steps, from pictures to files."""
import json
import subprocess

from arcface_mxnet.recognition import reproduce
from arcface_mxnet.recognition.reproduction import demo_benchmarks, demo_data, head_memory, provenance
from arcface_mxnet.recognition.reproduction.demo_benchmarks import KINDS
from arcface_mxnet.recognition.reproduction.demo_pictures import Kind
from arcface_mxnet.recognition.reproduction.provenance import ROOT, commit
from arcface_mxnet.recognition.reproduction.tables import LEFT_OUT

import pytest

PEOPLE = {"probes": 12, "distractors": 30, "calfw": 20, "cplfw": 20, "ytf": 20, "ijb": 10, "iqiyi": 9}
ROWS = {"table4": "SphereFace|CosFace", "table5": "VGGFace2", "table6": "CASIA, R50, ArcFace|CASIA, R50, ArcFace, R",
        "table7": "ResNet50", "table8": "MS1MV2+Asian",
        "subcentre": "MS1MV0, K=3|MS1MV0, K=3 to 1, drop > 75 deg (chosen)"}
LOSSES = {"table2": "arcface,softmax", "table3": "nsoftmax,atriplet"}
COLUMNS = {"table2": ["AgeDB-30", "CFP-FP", "LFW"], "table4": ["LFW", "YTF"], "table5": ["CALFW", "CPLFW", "LFW"],
           "table6": ["Id", "Ver"], "table7": ["IJB-B", "IJB-C"], "table8": ["Id at FPR 1e-3", "Ver at FPR 1e-9"],
           "table9": ["MAP"], "subcentre": ["IJB-B", "IJB-C"]}


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Runs and pictures are kept from one table to the next, as they are for a user."""
    return tmp_path_factory.mktemp("demo") / "work"


@pytest.fixture
def few_people(monkeypatch):
    """Small packs, and every benchmark with a few people in its own shots."""
    for name, people in PEOPLE.items():
        kind = KINDS[name]
        monkeypatch.setitem(KINDS, name, Kind(kind.purpose, kind.first, people, kind.shots))
    for module, name, value in ((demo_benchmarks, "MISTAKEN", 3), (demo_benchmarks, "MISLABELLED", 3),
                                (demo_benchmarks, "IQIYI_PERSONS", 6), (demo_data, "PAIRS", 40)):
        monkeypatch.setattr(module, name, value)


def made(what, work, out):
    flags = ["--out", str(out), "--work", str(work), "--page", str(out / "page.md"), "--seeds", "0",
             "--max-steps", "2", "--identities", "30", "--images-per-identity", "8"]
    if what == "fig3":
        flags += ["--toy-images", "30"]
    rows = ["--rows", ROWS[what]] if what in ROWS else ["--losses", LOSSES[what]] if what in LOSSES else []
    assert reproduce.main([what, *flags, *rows]) == 0
    return json.loads((out / "30x8" / f"{what}.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("what", sorted(COLUMNS))
def test_every_table_at_demo_scale(what, few_people, near_images, work, tmp_path):
    pytest.importorskip("mxnet")  # Table 9's classifier is MXNet's
    document = made(what, work, tmp_path)
    filled = {cell["column"] for cell in document["cells"] if cell["values"]}
    assert sorted(filled) == COLUMNS[what] and not document["comparable"]
    assert all(0 <= value <= 100 for cell in document["cells"] for value in cell["values"])
    page = (tmp_path / "page.md").read_text()
    assert "52 statements of the paper: 0 holds" in page  # results of another size are none of the built-in one's
    again = page.index("## The statements again: 30 people x 8 images\n\nOf the 0 statements that have figures of both")
    assert ("| ArcFace (0.5) is above Softmax |" in page[again:]) == (what == "table2")


@pytest.mark.slow
@pytest.mark.parametrize("what", ["table1", "fig3", "fig10", "fig12"])
def test_what_is_not_a_run_of_ours_at_demo_scale(what, few_people, work, tmp_path, monkeypatch):
    pytest.importorskip("mxnet")  # the toy of figure 3 and the heads of figure 10 are MXNet's
    monkeypatch.setattr(head_memory, "IDENTITIES", (500,))
    monkeypatch.setattr(head_memory, "DOMINANT", (500,))
    document = made(what, work, tmp_path)
    if what == "table1":
        own = {cell["column"]: cell["ours"] for cell in document["cells"] if cell["ours"] is not None}
        assert own == {"identities": 30, "images / videos": 240}
    elif what == "fig3":
        assert set(document["figures"]) == {"Softmax", "ArcFace"}
        assert all(0 <= one["nearest centre right"] <= 1 for one in document["figures"].values())
    elif what == "fig10":
        assert {"plain", "sharded", "sampled"} < set(document["figures"])
        assert all(points[0]["GB"] > 0 and points[0]["images/s"] > 0 for points in document["figures"].values())
    else:
        assert len(document["figures"]["degrees"]) == 9


@pytest.mark.slow
def test_angles_of_some_losses_at_demo_scale(few_people, work, tmp_path):
    cells = made("table3", work, tmp_path)["cells"]
    filled = {column: {cell["row"] for cell in cells if cell["column"] == column and cell["values"]}
              for column in ("NS", "Triplet-L", "ArcFace", "Intra-L")}
    without_centres = {"Intra1 (CASIA)", "Inter1 (CASIA)", "Intra2 (LFW)", "Inter2 (LFW)"}
    assert filled == {"NS": {"W-EC", "W-Inter", *without_centres}, "Triplet-L": without_centres, "ArcFace": set(),
                      "Intra-L": set()}
    assert {cell["why"] for cell in cells if cell["column"] == "ArcFace"} == {LEFT_OUT}


@pytest.mark.slow
@pytest.mark.parametrize("what", ["fig4a", "fig6", "fig7", "fig8", "fig9"])
def test_every_figure_of_runs_at_demo_scale(what, few_people, work, tmp_path):
    assert made(what, work, tmp_path)["made_from"]["runs"]


def test_the_root_holds_the_benchmarks():
    assert (ROOT / "benchmarks" / "head.py").is_file()  # figure 10 runs it


def test_another_projects_commit_is_not_ours(tmp_path, monkeypatch):
    """Installed, the package lies in a virtual environment, and that perhaps in somebody's repository."""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "theirs"]):
        subprocess.run([*git, *words], check=True)
    monkeypatch.setattr(provenance, "ROOT", tmp_path.resolve())
    assert len(commit()) == 40
    inside = tmp_path / "venv"
    inside.mkdir()
    monkeypatch.setattr(provenance, "ROOT", inside.resolve())
    assert commit() == "unknown"
