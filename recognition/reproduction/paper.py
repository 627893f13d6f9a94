"""The paper's own numbers, read from paper.json (the one place where they are written down)."""
import functools
import json
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Union

from runtime.errors import unknown

PAPER = Path(__file__).with_name("paper.json")
Cell = Union[float, str, None]


class PaperRow(NamedTuple):
    """A row of a table: its number in the paper's table (None: a later text's), its name and its cells."""

    number: Optional[int]
    name: str
    values: List[Cell]


class PaperTable(NamedTuple):
    """A table as printed: unit of its numbers, column names, rows, where it is and what must be said about it."""

    name: str
    title: str
    unit: str
    columns: List[str]
    rows: List[PaperRow]
    source: str
    note: str

    def row(self, name: str) -> PaperRow:
        """The row of this name; raises InputError with the known names."""
        for row in self.rows:
            if row.name == name:
                return row
        raise unknown(f"row of {self.name}", name, [row.name for row in self.rows])


@functools.lru_cache(maxsize=1)
def _document() -> Dict[str, Any]:
    return json.loads(PAPER.read_text(encoding="utf-8"))


def table(name: str) -> PaperTable:
    """A table of the paper by name ("table2", "subcentre"); raises InputError for an unknown one."""
    tables = _document()["tables"]
    if name not in tables:
        raise unknown("table of the paper", name, list(tables))
    found = tables[name]
    rows = [PaperRow(row["row"], row["name"], row["values"]) for row in found["rows"]]
    return PaperTable(name, found["title"], found["unit"], found["columns"], rows, found["source"],
                      found.get("note", ""))


def figure(name: str) -> Dict[str, Any]:
    """The numbers of a figure: "title", "columns", "rows" ({"name", "values"}), "source"; InputError if unknown."""
    figures = _document()["figures"]
    if name not in figures:
        raise unknown("figure with numbers", name, list(figures))
    return figures[name]
