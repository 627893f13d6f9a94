"""Pages that mkdocs makes: one for each module from its docstrings, and the root documents."""
import ast
import re
from pathlib import Path
from typing import Any, Dict, List

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "arcface_mxnet"
FOLDERS = ("recognition", "datasets", "evaluation", "graph", "engines", "logs", "runtime")
DOCUMENTS = {"contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
INDEX = "reference/index.md"


def _modules(folder: str) -> List[str]:
    """Dotted names below the package of the modules of a folder, packages first."""
    paths = sorted((path for path in (ROOT / folder).rglob("*.py") if (path.parent / "__init__.py").exists()),
                   key=lambda path: (path.parent, path.name != "__init__.py", path.name))
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]
    return [name[:-len(".__init__")] if name.endswith(".__init__") else name for name in names
            if not name.endswith(".__main__")]


def _summary(module: str) -> str:
    """The first line of a module's docstring."""
    path = ROOT / Path(*module.split("."))
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return (ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or "").split("\n")[0]


def _page(module: str) -> str:
    return f"reference/{module.replace('.', '/')}.md" if module not in FOLDERS else f"reference/{module}/index.md"


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages."""
    lines = ["# Reference", "", "Every module, with the docstrings of what is public in it."]
    for folder in FOLDERS:
        lines += ["", f"## {folder}", "", "| module | |", "|---|---|"]
        for module in _modules(folder):
            page = _page(module)
            text = f"# {module}\n\n::: {PACKAGE}.{module}\n"
            files.append(File.generated(config, page, content=text))
            lines.append(f"| [{module}]({page[len('reference/'):]}) | {_summary(module).replace('|', chr(92) + '|')} |")
    files.append(File.generated(config, INDEX, content="\n".join(lines) + "\n"))
    for page, name in DOCUMENTS.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=re.sub(r"\]\(docs/", "](", text)))
    return files


def on_config(config: Any) -> Any:
    """Put the generated pages into the navigation."""
    reference: List[Any] = [INDEX]
    for folder in FOLDERS:
        pages: List[Dict[str, str]] = [{module.partition(".")[2] or module: _page(module)}
                                       for module in _modules(folder)]
        reference.append({folder: pages})
    for place, entry in enumerate(config.nav):
        if entry == {"Reference": "reference/"}:
            config.nav[place] = {"Reference": reference}
    return config
