"""Which way calls and imports run: commands are called by nobody but a user, and what stands on top by nobody below."""
import ast
import functools
from pathlib import Path
from typing import Iterator, Tuple

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = tuple(sorted(link.name for link in (ROOT / "src" / "arcface_mxnet").iterdir() if link.is_dir()))
TOP = "arcface_mxnet.recognition.reproduction"


def modules(*folders: str) -> Iterator[Tuple[str, ast.AST]]:
    """The modules of some folders: relative path and tree."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), parsed(path)


@functools.lru_cache(maxsize=None)  # three tests read them all
def parsed(path: Path) -> ast.AST:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.AST) -> Iterator[str]:
    """Dotted names of what a module imports, each name of a `from` with its module before it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{name.name}" for name in node.names)


def test_nobody_calls_a_command_with_a_command_line():
    found = [f"{path}:{node.lineno}" for path, tree in modules(*PACKAGES, "benchmarks") for node in ast.walk(tree)
             if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], (ast.List, ast.ListComp))
             and getattr(node.func, "attr", getattr(node.func, "id", "")) == "main"]
    assert not found, f"call the function below the command: {found}"


def test_reproduction_stands_on_top_and_benchmarks_apart():
    found = [f"{path}: {name}" for path, tree in modules(*PACKAGES, "benchmarks") for name in imported(tree)
             if name.startswith(TOP) and path != "recognition/reproduce.py"
             and not path.startswith("recognition/reproduction/")]
    found += [f"{path}: {name}" for path, tree in modules(*PACKAGES) for name in imported(tree)
              if name.split(".")[0] == "benchmarks"]
    assert not found, found


def test_what_is_below_does_not_import_what_is_above():
    above = {"runtime": ("datasets", "evaluation", "recognition", "logs"), "evaluation": ("recognition",),
             "graph": ("datasets", "evaluation", "recognition", "logs"),
             "datasets": ("evaluation", "recognition", "logs"), "engines": ("evaluation", "recognition", "logs"),
             "logs": ("recognition", "evaluation", "datasets")}
    found = [f"{path}: {name}" for folder, others in above.items() for path, tree in modules(folder)
             for name in imported(tree) if name.startswith(tuple(f"arcface_mxnet.{other}." for other in others))]
    assert not found, found
