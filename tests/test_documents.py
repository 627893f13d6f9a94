"""The Python in README, docs and the notebook runs as it stands."""
import json
import re
from pathlib import Path

from arcface_mxnet.graph.checkpoint import save
from tests.evaluation.small_network import network

import pytest

ROOT = Path(__file__).parents[1]
_BLOCK = re.compile(r"^```python\n(.*?)^```", re.M | re.S)
PAGES = [path for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
         if _BLOCK.search(path.read_text(encoding="utf-8"))]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


def run(blocks, where):
    names = {"__name__": "__main__"}
    for block in blocks:
        exec(compile(block, where, "exec"), names)  # noqa: S102 what the page tells its reader to run
    return names


@pytest.fixture
def desk(tmp_path, monkeypatch, fixtures):
    """A folder with the files that the pages speak of."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    save(network(), "models/model", 0)
    photograph = (fixtures / "photographs" / "insightface_t1.jpg").read_bytes()
    for name in ("a.jpg", "b.jpg", "group.jpg", "people/ada/1.jpg", "people/bob/1.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(photograph)
    (tmp_path / "scrfd_500m_kps.onnx").symlink_to(fixtures / "scrfd" / "scrfd_500m_kps.onnx")


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_python_of_a_page_runs(page, desk, capsys):
    run(_BLOCK.findall(page.read_text(encoding="utf-8")), page.name)
    assert "cosine 1.000, 0.0 degrees" in capsys.readouterr().out  # the two photographs are one


def test_there_are_pages_and_a_notebook():
    assert {"README.md", "library.md"} <= {page.name for page in PAGES} and NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs_without_data(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert cells and all(not cell.get("outputs") for cell in notebook["cells"])
    run(cells, path.name)
    assert "degrees" in capsys.readouterr().out
