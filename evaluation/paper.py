"""The paper's own numbers, read from paper.json: the one place where they are written down, by table and row.

The tables of the conference paper are "table1" to "table9"; "subcentre" and "table8_pami" are of the later text, "zoo"
and "ijb_notebooks" of the original's repository, "networks" of the text itself. Nothing else in the house types
them in again.
"""
import functools
import json
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Union

from arcface_mxnet.runtime.errors import unknown

PAPER = Path(__file__).with_name("paper.json")
Cell = Union[float, str, None]


class Published(NamedTuple):
    """One published figure: `value` in the unit of its table (None: not published), and where it is printed."""

    value: Optional[float]
    source: str


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
    label: str
    note: str

    def row(self, name: str) -> PaperRow:
        """The row of this name; raises InputError with the known names."""
        for row in self.rows:
            if row.name == name:
                return row
        raise unknown(f"row of {self.name}", name, [row.name for row in self.rows])

    def figure(self, row: str, column: str) -> Published:
        """The number in a cell; raises InputError for an unknown row or column."""
        if column not in self.columns:
            raise unknown(f"column of {self.name}", column, self.columns)
        value = self.row(row).values[self.columns.index(column)]
        return Published(float(value) if isinstance(value, (int, float)) else None, f"{self.label}, {row}")


@functools.lru_cache(maxsize=1)
def _document() -> Dict[str, Any]:
    return json.loads(PAPER.read_text(encoding="utf-8"))


def table(name: str) -> PaperTable:
    """A table by name ("table2", "subcentre", "zoo"); raises InputError for an unknown one."""
    tables = _document()["tables"]
    if name not in tables:
        raise unknown("table of the paper", name, list(tables))
    found = tables[name]
    rows = [PaperRow(row["row"], row["name"], row["values"]) for row in found["rows"]]
    return PaperTable(name, found["title"], found["unit"], found["columns"], rows, found["source"], found["label"],
                      found.get("note", ""))


def figure(name: str) -> Dict[str, Any]:
    """The numbers of a figure: "title", "columns", "rows" ({"name", "values"}), "source"; InputError if unknown."""
    figures = _document()["figures"]
    if name not in figures:
        raise unknown("figure with numbers", name, list(figures))
    return figures[name]
