"""A reproduced table as Markdown, CSV and JSON: the paper's number, ours, the difference, or why there is none."""
import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping, Optional, Sequence

from arcface_mxnet.evaluation.paper import Cell, PaperTable
from arcface_mxnet.evaluation.results import plain
from arcface_mxnet.recognition.reproduction.provenance import Produced, provenance
from arcface_mxnet.runtime.files import PathLike, atomic_open, write_json

import numpy as np


@dataclass(frozen=True)
class Comparison:
    """One cell: `values` of ours, one a seed (empty: none), beside the paper's; `why` none, or what stands for it."""

    row: str
    column: str
    paper: Cell
    values: Sequence[float] = ()
    why: str = ""
    made_by: str = ""

    @property
    def ours(self) -> Optional[float]:
        """The mean over seeds, None where there is no value."""
        return float(np.mean(self.values)) if len(self.values) else None

    @property
    def spread(self) -> Optional[float]:
        """The standard deviation over seeds (n - 1), None below two of them."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else None

    @property
    def difference(self) -> Optional[float]:
        """Ours minus the paper's, where both are numbers."""
        return self.ours - self.paper if self.ours is not None and isinstance(self.paper, (int, float)) else None


def _shown(cell: Cell) -> str:
    return "-" if cell is None else f"{cell:g}" if isinstance(cell, (int, float)) else str(cell)


def _ours(cell: Comparison, digits: int) -> str:
    if cell.ours is None:
        return cell.why or "-"
    return f"{cell.ours:.{digits}f}" + (f" ± {cell.spread:.{digits}f}" if cell.spread is not None else "")


OTHER_KIND = ("Differences marked * are not of one kind: ours is a small network on built-in faces, the paper's its "
              "own networks on photographs.")


def markdown(table: PaperTable, cells: Sequence[Comparison], protocol: str, extra: Sequence[str] = (),
             comparable: bool = True) -> str:
    """The table with a line a row of the paper's; a cell that is not there says why."""
    columns = list(dict.fromkeys(cell.column for cell in cells))
    by_place = {(cell.row, cell.column): cell for cell in cells}
    digits, mark = (4 if table.unit == "rate" else 0 if table.unit == "count" else 2), "" if comparable else " *"
    source = f"Source: {table.source}, in {table.unit}. {table.note}".strip()
    lines = [f"### {table.name}: {table.title}", "", source, "",
             "| row | " + " | ".join(f"{column}: paper | ours | difference{mark}" for column in columns) + " |",
             "|---|" + "---|---|---|" * len(columns)]
    for row in dict.fromkeys(cell.row for cell in cells):
        shown = []
        for column in columns:
            cell = by_place[row, column]
            difference = "-" if cell.difference is None else f"{cell.difference:+.{digits}f}"
            shown.append(f"{_shown(cell.paper)} | {_ours(cell, digits)} | {difference}")
        lines.append(f"| {row} | " + " | ".join(shown) + " |")
    lines += ["", *([] if comparable else [OTHER_KIND, ""]), f"Protocol: {protocol}", ""]
    return "\n".join([*lines, *extra]) + "\n"


def write_table(folder: PathLike, table: PaperTable, cells: Sequence[Comparison], protocol: str,
                made_from: Mapping[str, Any], findings: Sequence[str] = (), comparable: bool = True) -> Produced:
    """Write NAME.md, NAME.csv and NAME.json; returns what was produced.

    `comparable`: whether ours and the paper's are figures of one kind; false for runs on the built-in faces.
    """
    base = Path(folder) / table.name
    with atomic_open(base.with_suffix(".md"), "w") as stream:
        stream.write(markdown(table, cells, protocol, [f"- {finding}" for finding in findings], comparable))
    with atomic_open(base.with_suffix(".csv"), "w") as stream:
        writer = csv.writer(stream)
        writer.writerow(["table", "row", "column", "unit", "paper", "ours", "spread", "seeds", "difference",
                         "comparable", "made by", "why not"])
        for cell in cells:
            writer.writerow([table.name, cell.row, cell.column, table.unit, cell.paper, cell.ours, cell.spread,
                             len(cell.values), cell.difference, comparable, cell.made_by, cell.why])
    document = {"name": table.name, "title": table.title, "unit": table.unit, "source": table.source,
                "protocol": protocol, "comparable": comparable, "made_from": made_from,
                "findings": list(findings), "provenance": provenance(),
                "cells": [{"row": cell.row, "column": cell.column, "paper": cell.paper, "ours": cell.ours,
                           "spread": cell.spread, "values": list(cell.values), "difference": cell.difference,
                           "made_by": cell.made_by, "why": cell.why} for cell in cells]}
    write_json(base.with_suffix(".json"), plain(document))
    return Produced(table.name, [base.with_suffix(kind) for kind in (".md", ".csv", ".json")], protocol)
