"""The tables of the paper: a register, those of losses (2, 3), and those that need sets we cannot ship."""
import csv
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from arcface_mxnet.datasets import catalog
from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.evaluation import paper
from arcface_mxnet.evaluation.paper import Cell, PaperTable
from arcface_mxnet.evaluation.results import plain
from arcface_mxnet.recognition.reproduction.demo_data import PAIRS, Size, base_set
from arcface_mxnet.recognition.reproduction.figures import Order
from arcface_mxnet.recognition.reproduction.paper_plan import paper_plan, require_files
from arcface_mxnet.recognition.reproduction.paper_runs import OWN_ROWS, PACKS, QUOTED, TABLE2, TABLE3
from arcface_mxnet.recognition.reproduction.provenance import Produced, provenance
from arcface_mxnet.recognition.reproduction.training_runs import (
    AnyRecipe,
    Recipe,
    Run,
    at_once,
    data_hash,
    measured,
    recipe_json,
    run_angles,
    told_runs,
    train_all,
)
from arcface_mxnet.runtime.files import PathLike, atomic_open, write_json

import numpy as np

Make = Callable[[Order], Produced]
TABLES: Dict[str, Make] = {}

STAND_IN = "built-in faces at 32x32 ({size}; packs of {pairs:,} pairs of other people), not the paper's sets"


WEIGHTS = ("; +Intra and +Inter are at the weight of the scale s, which gives the order of the angles in the paper's "
           "Table 3; the paper names no weight")
LEFT_OUT = "not run"


def table(name: str) -> Callable[[Make], Make]:
    """Make a function known as table NAME."""
    def add(make: Make) -> Make:
        TABLES[name] = make
        return make
    return add


def recipe_of(order: Order) -> Recipe:
    """The demo recipe with the requested steps, softmax before them included, engine and devices.

    A training set of another size than the built-in one is passed over as often, so its runs are longer or shorter.
    """
    share = order.size.total / Size().total
    steps, warm = (max(1, round(count * share)) for count in (order.steps or Recipe.steps, order.warm or Recipe.warm))
    return Recipe(steps=order.max_steps or steps, warm=min(order.max_steps or warm, warm), network=order.network,
                  engine=order.engine, devices=order.devices)


def basis(order: Order, name: str) -> Tuple[Path, AnyRecipe]:
    """Data and recipe of a table's runs at the requested scale; InputError where the paper's data is missing."""
    if order.scale == "demo":
        return base_set(order.work, order.size), recipe_of(order)
    plan = paper_plan(name, order.paper, order.work, order.seeds, order.losses)
    require_files(plan)
    recipe = plan.runs[0][0]
    return recipe.data, recipe


def all_runs(order: Order, losses: Sequence[str], name: str) -> Dict[str, List[Run]]:
    """Every loss trained and measured for every seed: {loss: runs}; finished ones are taken up."""
    data, recipe = basis(order, name)
    pairs = [(loss, seed) for seed in order.seeds for loss in losses]
    train_all([(loss, seed, data, recipe) for loss, seed in pairs], order.work, order.jobs, name)
    tasks = {(loss, seed): partial(measured, loss, seed, data, order.work, recipe) for loss, seed in pairs}
    found = at_once(tasks, order.jobs, f"accuracies of {name}")
    return {loss: [found[loss, seed] for seed in order.seeds] for loss in losses}


def made_from(order: Order, name: str, runs: Mapping[str, Sequence[Run]]) -> Dict[str, Any]:
    """What stands behind a table of runs: recipe, seeds, the hash of the data, the runs and their commits."""
    data, recipe = basis(order, name)
    return {"recipe": recipe_json(recipe), "seeds": list(order.seeds), "data": {data.name: data_hash(data)},
            **told_runs([run.folder for found in runs.values() for run in found])}


def trained_how(order: Order, name: str) -> str:
    """One line on how the runs of a table were trained."""
    _, recipe = basis(order, name)
    warm = f", from the same {recipe.warm} steps of softmax for each seed" if isinstance(recipe, Recipe) else ""
    engine = f" by --engine {recipe.engine}" if recipe.engine else ""
    return (f"network {recipe.network}, {recipe.steps} steps of {recipe.batch} a device{engine}{warm}; mean ± standard "
            f"deviation over seeds {', '.join(map(str, order.seeds))}")


def stand_in(order: Order) -> str:
    """What stands for the paper's sets at demo scale."""
    return STAND_IN.format(size=order.size, pairs=PAIRS)


def protocol_of(order: Order, name: str) -> str:
    """One line on how the runs of a table were trained and measured."""
    what = stand_in(order) if order.scale == "demo" else "the paper's sets"
    return f"{what}; accuracy by 10 folds, flip sum; {trained_how(order, name)}"


def _requested(order: Order, presets: Mapping[str, str]) -> Tuple[str, ...]:
    """The loss presets of a table that were requested."""
    return tuple(loss for loss in presets.values() if not order.losses or loss in order.losses)


@table("table2")
def table2(order: Order) -> Produced:
    """Losses side by side on three verification packs."""
    printed = paper.table("table2")
    runs = all_runs(order, _requested(order, {**TABLE2, **OWN_ROWS}), "table2")
    cells = []
    for row in printed.rows:
        for column, published in zip(printed.columns, row.values):
            loss = TABLE2.get(row.name)
            values = [run.accuracies[PACKS[column]] for run in runs.get(loss or "", [])]
            why = "" if values else LEFT_OUT if loss else QUOTED
            cells.append(Comparison(row.name, column, published, values, why, loss or ""))
    for name, loss in OWN_ROWS.items():
        cells += [Comparison(name, column, None, [run.accuracies[PACKS[column]] for run in runs.get(loss, [])],
                             "" if loss in runs else LEFT_OUT, loss) for column in printed.columns]
    return write_table(order.out, printed, cells, protocol_of(order, "table2") + WEIGHTS,
                       made_from(order, "table2", runs), comparable=order.scale == "paper")


ANGLE_ROWS = {"W-EC": ("train", "w_ec"), "W-Inter": ("train", "w_inter"), "Intra1 (CASIA)": ("train", "intra"),
              "Inter1 (CASIA)": ("train", "inter"), "Intra2 (LFW)": ("lfw", "intra"), "Inter2 (LFW)": ("lfw", "inter")}


@table("table3")
def table3(order: Order) -> Produced:
    """Angle statistics under five losses."""
    printed = paper.table("table3")
    runs = all_runs(order, _requested(order, TABLE3), "table3")
    data, recipe = basis(order, "table3")
    measured_angles = at_once({run.folder: partial(run_angles, run.folder, data, recipe) for found in runs.values()
                               for run in found}, order.jobs, "angles of table3")
    cells = []
    for row in printed.rows:
        where, what = ANGLE_ROWS[row.name]
        for column, published in zip(printed.columns, row.values):
            loss = TABLE3[column]
            angles = [measured_angles[run.folder][where][what] for run in runs.get(loss, [])]
            values = [angle for angle in angles if angle is not None]
            why = "" if values else "a triplet loss has no class centres W" if loss in runs else LEFT_OUT
            cells.append(Comparison(row.name, column, published, values, why, loss))
    protocol = protocol_of(order, "table3") + ("; angles of all images of the training set (rows of CASIA) and of the "
                                               "genuine pairs of the lfw pack, one identity a pair (rows of LFW)")
    return write_table(order.out, printed, cells, protocol, made_from(order, "table3", runs),
                       comparable=order.scale == "paper", methods=COLUMNS)


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
    built_in = base_set(order.work, order.size)
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


ROWS, COLUMNS = "rows", "columns"
OTHER_KIND = ("Ours is a small network on built-in faces, the paper's its own networks on photographs: what can be "
              "compared is the order of the methods. Ranks count from the largest value, among {among} that both have.")


def _ranks(cells: Sequence[Comparison], methods: str) -> Dict[Tuple[str, str], Tuple[int, int]]:
    """(row, column) -> rank of the paper's value and of ours among the methods that both have a number for."""
    ranks = {}
    for cell in cells:
        beside = [other for other in cells if other.difference is not None
                  and (other.column == cell.column if methods == ROWS else other.row == cell.row)]
        if cell.difference is not None:
            ranks[cell.row, cell.column] = (1 + sum(other.paper > cell.paper for other in beside),  # type: ignore
                                            1 + sum(other.ours > cell.ours for other in beside))  # type: ignore
    return ranks


def markdown(table: PaperTable, cells: Sequence[Comparison], protocol: str, extra: Sequence[str] = (),
             comparable: bool = True, methods: str = ROWS) -> str:
    """The table with a line a row of the paper's; a cell that is not there says why.

    Figures of one kind stand with their difference, others with the rank that each value has among the `methods`.
    """
    columns = list(dict.fromkeys(cell.column for cell in cells))
    by_place = {(cell.row, cell.column): cell for cell in cells}
    ranks = {} if comparable else _ranks(cells, methods)
    digits = 4 if table.unit == "rate" else 0 if table.unit == "count" else 2
    heads = "paper | ours | difference" if comparable else "paper (rank) | ours (rank)"
    source = f"Source: {table.source}, in {table.unit}. {table.note}".strip()
    lines = [f"### {table.name}: {table.title}", "", source, "",
             "| row | " + " | ".join(f"{column}: {heads}" for column in columns) + " |",
             "|---|" + ("---|---|---|" if comparable else "---|---|") * len(columns)]
    for row in dict.fromkeys(cell.row for cell in cells):
        shown = []
        for column in columns:
            cell = by_place[row, column]
            if comparable:
                difference = "-" if cell.difference is None else f"{cell.difference:+.{digits}f}"
                shown.append(f"{_shown(cell.paper)} | {_ours(cell, digits)} | {difference}")
            else:
                theirs, ours = (f" ({rank})" for rank in ranks[row, column]) if (row, column) in ranks else ("", "")
                shown.append(f"{_shown(cell.paper)}{theirs} | {_ours(cell, digits)}{ours}")
        lines.append(f"| {row} | " + " | ".join(shown) + " |")
    among = "the rows" if methods == ROWS else "the columns"
    lines += ["", *([] if comparable else [OTHER_KIND.format(among=among), ""]), f"Protocol: {protocol}", ""]
    return "\n".join([*lines, *extra]) + "\n"


def write_table(folder: PathLike, table: PaperTable, cells: Sequence[Comparison], protocol: str,
                made_from: Mapping[str, Any], findings: Sequence[str] = (), comparable: bool = True,
                methods: str = ROWS) -> Produced:
    """Write NAME.md, NAME.csv and NAME.json; returns what was produced.

    `comparable`: whether ours and the paper's are figures of one kind; false for runs on the built-in faces, whose
    methods (ROWS or COLUMNS of the table) are ranked instead.
    """
    base = Path(folder) / table.name
    with atomic_open(base.with_suffix(".md"), "w") as stream:
        stream.write(markdown(table, cells, protocol, [f"- {finding}" for finding in findings], comparable,
                              methods))
    with atomic_open(base.with_suffix(".csv"), "w") as stream:
        writer = csv.writer(stream)
        writer.writerow(["table", "row", "column", "unit", "paper", "ours", "spread", "seeds", "difference",
                         "comparable", "made by", "why not"])
        for cell in cells:
            writer.writerow([table.name, cell.row, cell.column, table.unit, cell.paper, cell.ours, cell.spread,
                             len(cell.values), cell.difference if comparable else None, comparable, cell.made_by,
                             cell.why])
    document = {"name": table.name, "title": table.title, "unit": table.unit, "source": table.source,
                "protocol": protocol, "comparable": comparable, "made_from": made_from,
                "findings": list(findings), "provenance": provenance(),
                "cells": [{"row": cell.row, "column": cell.column, "paper": cell.paper, "ours": cell.ours,
                           "spread": cell.spread, "values": list(cell.values),
                           "difference": cell.difference if comparable else None, "made_by": cell.made_by,
                           "why": cell.why} for cell in cells]}
    write_json(base.with_suffix(".json"), plain(document))
    return Produced(table.name, [base.with_suffix(kind) for kind in (".md", ".csv", ".json")], protocol)
