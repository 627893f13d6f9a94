"""MXNet stays in one folder, and graphs need nothing but NumPy."""
import ast
import subprocess
import sys
from pathlib import Path
from typing import Iterator, Tuple

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("runtime", "graph", "datasets", "evaluation", "logs", "recognition", "engines")
_WITHOUT_MXNET = """
import sys
class Absent:
    def find_spec(self, name, *rest):
        if name.split(".")[0] == "mxnet":
            raise ModuleNotFoundError("No module named 'mxnet'", name="mxnet")
sys.meta_path.insert(0, Absent())
"""


def _imports() -> Iterator[Tuple[Path, str]]:
    """(file, module) of every import of the product, those inside functions too."""
    for folder in PRODUCT:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    yield from ((path.relative_to(ROOT), alias.name) for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and node.module:
                    yield path.relative_to(ROOT), node.module


def test_one_folder_imports_mxnet():
    outside = {(str(path), module) for path, module in _imports()
               if module.split(".")[0] == "mxnet" and path.parts[:2] != ("engines", "mxnet")}
    assert not outside
    assert not {str(path) for path, module in _imports() if module == "arcface_mxnet.engines.mxnet.mx"
                and path.parts[:2] != ("engines", "mxnet")}


def test_graphs_stand_on_runtime_and_numpy():
    allowed = {"arcface_mxnet.graph", "arcface_mxnet.runtime"}
    ours = {".".join(module.split(".")[:2]) for path, module in _imports()
            if path.parts[0] == "graph" and module.startswith("arcface_mxnet")}
    assert ours <= allowed


def test_everything_else_loads_where_mxnet_is_not_installed():
    """But for the command that measures MXNet's own forms, and engines whose library is not installed either."""
    code = _WITHOUT_MXNET + """
import importlib, importlib.util, pkgutil, arcface_mxnet
from arcface_mxnet.engines.base import ENGINES
absent = [name for name in ENGINES if name != "mxnet" and importlib.util.find_spec(name) is None]
apart = ("arcface_mxnet.engines.mxnet", "arcface_mxnet.recognition.throughput",
         *(f"arcface_mxnet.engines.{name}" for name in absent))
for found in pkgutil.walk_packages(arcface_mxnet.__path__, "arcface_mxnet."):
    if not found.name.startswith(apart) and not found.name.endswith("__main__"):
        importlib.import_module(found.name)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_scores_without_mxnet_are_the_same_to_rounding():
    code = _WITHOUT_MXNET + """
import importlib.util, numpy as np
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "mxnet" else real(name, *rest)
from arcface_mxnet.evaluation.scoring import score_blocks
rows, columns = np.random.RandomState(0).randn(5, 16).astype("f4"), np.random.RandomState(1).randn(9, 16).astype("f4")
found = np.concatenate([scores.copy() for _, scores in score_blocks(rows, columns, [4, 9])], axis=1)
assert np.abs(found - rows.astype("f8") @ columns.astype("f8").T).max() < 1e-5
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
