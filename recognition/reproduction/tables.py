"""The tables of the paper: a register, those of losses (2, 3), and those that need sets we cannot ship."""
import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from arcface_mxnet.datasets import catalog
from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.evaluation import paper
from arcface_mxnet.evaluation.paper import Cell, PaperTable
from arcface_mxnet.evaluation.results import plain
from arcface_mxnet.recognition.reproduction.demo_data import small_faces
from arcface_mxnet.recognition.reproduction.figures import Order
from arcface_mxnet.recognition.reproduction.paper_runs import PACKS, QUOTED, TABLE2, TABLE3, paper_plan, require_files
from arcface_mxnet.recognition.reproduction.provenance import Produced, provenance
from arcface_mxnet.recognition.reproduction.training_runs import (
    AnyRecipe,
    Recipe,
    Run,
    data_hash,
    made_by,
    measured,
    recipe_json,
)
from arcface_mxnet.runtime.files import PathLike, atomic_open, write_json
from arcface_mxnet.runtime.progress import progress

import numpy as np

Make = Callable[[Order], Produced]
TABLES: Dict[str, Make] = {}

STAND_IN = "built-in faces at 32x32 (200 people x 40 images; packs of 600 pairs of other people), not the paper's sets"


LEFT_OUT = "not run: the command was given --losses without it"


def table(name: str) -> Callable[[Make], Make]:
    """Make a function known as table NAME."""
    def add(make: Make) -> Make:
        TABLES[name] = make
        return make
    return add


def recipe_of(order: Order) -> Recipe:
    """The demo recipe with the requested steps."""
    return Recipe(steps=order.max_steps or Recipe().steps, network=order.network)


def basis(order: Order, name: str) -> Tuple[Path, AnyRecipe]:
    """Data and recipe of a table's runs at the requested scale; InputError where the paper's data is missing."""
    if order.scale == "demo":
        return small_faces(order.work), recipe_of(order)
    plan = paper_plan(name, order.paper, order.work, order.seeds, order.losses)
    require_files(plan)
    recipe = plan.runs[0][0]
    return recipe.data, recipe


def all_runs(order: Order, losses: Sequence[str], name: str) -> Dict[str, List[Run]]:
    """Every loss trained and measured for every seed: {loss: runs}; finished ones are taken up."""
    data, recipe = basis(order, name)
    pairs = [(loss, seed) for seed in order.seeds for loss in losses]
    runs: Dict[str, List[Run]] = {loss: [] for loss in losses}
    for loss, seed in progress(pairs, len(pairs), f"runs of {name}", "runs"):
        runs[loss].append(measured(loss, seed, data, order.work, recipe))
    return runs


def made_from(order: Order, name: str, runs: Mapping[str, Sequence[Run]]) -> Dict[str, Any]:
    """What stands behind a table of runs: recipe, seeds, the hash of the data, the runs and their commits."""
    data, recipe = basis(order, name)
    return {"recipe": recipe_json(recipe), "seeds": list(order.seeds), "data": {data.name: data_hash(data)},
            "runs": {run.folder.name: made_by(run.folder) for found in runs.values() for run in found}}


def trained_how(order: Order, name: str) -> str:
    """One line on how the runs of a table were trained."""
    _, recipe = basis(order, name)
    warm = f", from the same {recipe.warm} steps of softmax for each seed" if isinstance(recipe, Recipe) else ""
    return (f"network {recipe.network}, {recipe.steps} steps of {recipe.batch} a device{warm}; mean ± standard "
            f"deviation over seeds {', '.join(map(str, order.seeds))}")


def protocol_of(order: Order, name: str) -> str:
    """One line on how the runs of a table were trained and measured."""
    what = STAND_IN if order.scale == "demo" else "the paper's sets"
    return f"{what}; accuracy by 10 folds, flip sum; {trained_how(order, name)}"


def told_gap(name: str, gaps: Sequence[float], unit: str, expected: float) -> str:
    """One line on paired differences over seeds: mean, spread, and whether they have the sign that the paper's has."""
    spread = f" ± {np.std(gaps, ddof=1):.2f}" if len(gaps) > 1 else ""
    agree = sum(gap * expected > 0 for gap in gaps)
    verdict = ("as in the paper" if agree == len(gaps) else "on average as in the paper, but not in every seed"
               if np.mean(gaps) * expected > 0 else "the built-in faces do not show the paper's effect")
    return (f"{name}: {np.mean(gaps):+.2f}{spread} {unit}, {'above' if expected > 0 else 'below'} 0 in {agree} of "
            f"{len(gaps)} seeds: {verdict}")


def ahead(better: Sequence[Run], worse: Sequence[Run], names: Sequence[str]) -> List[str]:
    """Whether one loss is ahead of another on each pack, by the paired differences over seeds."""
    return [told_gap(f"{names[0]} minus {names[1]} on {column}",
                     [a.accuracies[pack] - b.accuracies[pack] for a, b in zip(better, worse)], "%", 1.0)
            for column, pack in PACKS.items()]


@table("table2")
def table2(order: Order) -> Produced:
    """Losses side by side on three verification packs."""
    printed = paper.table("table2")
    chosen = tuple(loss for loss in TABLE2.values() if not order.losses or loss in order.losses)
    runs = all_runs(order, chosen, "table2")
    cells = []
    for row in printed.rows:
        for column, published in zip(printed.columns, row.values):
            loss = TABLE2.get(row.name)
            values = [run.accuracies[PACKS[column]] for run in runs.get(loss or "", [])]
            why = "" if values else LEFT_OUT if loss else QUOTED
            cells.append(Comparison(row.name, column, published, values, why, loss or ""))
    both = "arcface" in runs and "nsoftmax" in runs
    return write_table(order.out, printed, cells, protocol_of(order, "table2"), made_from(order, "table2", runs),
                       ahead(runs["arcface"], runs["nsoftmax"], ("ArcFace", "norm-softmax")) if both else (),
                       order.scale == "paper")


ANGLE_ROWS = {"W-EC": ("train", "w_ec"), "W-Inter": ("train", "w_inter"), "Intra1 (CASIA)": ("train", "intra"),
              "Inter1 (CASIA)": ("train", "inter"), "Intra2 (LFW)": ("lfw", "intra"), "Inter2 (LFW)": ("lfw", "inter")}


@table("table3")
def table3(order: Order) -> Produced:
    """Angle statistics under five losses."""
    printed = paper.table("table3")
    runs = all_runs(order, tuple(TABLE3.values()), "table3")
    cells = []
    for row in printed.rows:
        where, what = ANGLE_ROWS[row.name]
        for column, published in zip(printed.columns, row.values):
            angles = [run.angles[where][what] for run in runs[TABLE3[column]]]
            values = [angle for angle in angles if angle is not None]
            cells.append(Comparison(row.name, column, published, values,
                                    "" if values else "a triplet loss has no class centres W", TABLE3[column]))
    protocol = protocol_of(order, "table3") + ("; angles of all images of the training set (rows of CASIA) and of the "
                                               "genuine pairs of the lfw pack, one identity a pair (rows of LFW)")
    return write_table(order.out, printed, cells, protocol, made_from(order, "table3", runs), effects(runs),
                       order.scale == "paper")


def effects(runs: Dict[str, List[Run]]) -> List[str]:
    """The paper's three observations on Table 3, by our runs: what fell, by how much, in how many seeds."""
    def change(name: str, what: str, of: str, against: str) -> str:
        gaps = [a.angles["train"][what] - b.angles["train"][what]  # type: ignore[operator]
                for a, b in zip(runs[of], runs[against])]
        return told_gap(name, gaps, "degrees", -1.0)
    return [change("Intra1, NS+Intra minus NS (classes get compact)", "intra", "ns_intra", "nsoftmax"),
            change("Inter1, NS+Intra minus NS (centres are pulled together)", "inter", "ns_intra", "nsoftmax"),
            change("W-EC, ArcFace minus NS (W and class centres nearly coincide)", "w_ec", "arcface", "nsoftmax")]


@table("table1")
def table1(order: Order) -> Produced:
    """Datasets: the paper's counts, and those of the sets that are in the data folders here."""
    printed = paper.table("table1")
    published = {"CASIA": "webface", "VGGFace2": "vgg", "MS1MV2": "emore", "Asian-DeepGlint": "asian"}
    cells = []
    for row in printed.rows:
        folder = Path(order.data) / catalog.training_set(published[row.name]).folder \
            if row.name in published else None
        there = folder is not None and (folder / "train.rec").exists()
        counts = [float(count) for count in _counts(folder)] if there and folder is not None else []
        for number, column in enumerate(printed.columns[:2]):
            absent = f"{folder} is not here" if folder else "no record set of it is published"
            why = "" if counts else absent
            cells.append(Comparison(row.name, column, row.values[number], counts[number:number + 1], why))
    built_in = small_faces(order.work)
    counted = dict(zip(("identities", "images / videos"), map(float, _counts(built_in))))
    cells += [Comparison("built-in faces (ours)", column, None, [counted[column]]) for column in counted]
    return write_table(order.out, printed, cells, "identities and images counted in the record sets of the data folder",
                       {"data": {built_in.name: data_hash(built_in)}})


def _counts(folder: Path) -> List[int]:
    records = RecordSet.open(folder)
    return [int(records.identities), int(records.images)]


# A reproduced table as Markdown, CSV and JSON: the paper's number, ours, the difference, or why there is none.


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
