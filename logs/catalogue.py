"""The published runs as they lie in logs/published/: figures as CSV, and where they come from."""
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional

from arcface_mxnet.logs.parse import Run
from arcface_mxnet.logs.recipe import Recipe
from arcface_mxnet.runtime.errors import unknown
from arcface_mxnet.runtime.text import read_json

import pandas as pd

FOLDER = Path(__file__).parent / "published"
PROVENANCE = FOLDER / "provenance.json"


@dataclass(frozen=True)
class PublishedRun:
    """One published run: its course, its recipe, and its entry in provenance.json."""

    name: str
    run: Run
    recipe: Recipe
    entry: Mapping[str, Any]

    @property
    def title(self) -> str:
        """What it is, in a few words."""
        return str(self.entry["title"])

    @property
    def released_step(self) -> Optional[int]:
        """The step that became the released model, None where none was."""
        return self.entry["released"]["step"] if self.entry["released"] else None


def names() -> List[str]:
    """The names of the published runs, in a fixed order."""
    return sorted(_entries())


def published_run(name: str) -> PublishedRun:
    """The published run of this name; raises InputError listing the known ones."""
    entries = _entries()
    if name not in entries:
        raise unknown("published run", name, list(entries))
    entry = entries[name]
    table = pd.read_csv(FOLDER / f"{name}.csv")
    table.insert(2, "images", table["step"] * float(entry["recipe"]["batch"]))
    if "loss" not in table:
        table["loss"] = float("nan")
    return PublishedRun(name, Run(name, entry["settings"], entry["facts"], table), _recipe(entry["recipe"]), entry)


@functools.lru_cache(maxsize=1)
def _entries() -> Dict[str, Any]:
    return dict(read_json(PROVENANCE))


def _recipe(values: Mapping[str, Any]) -> Recipe:
    typed: Dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    return Recipe(**typed)
