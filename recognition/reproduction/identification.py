"""Figure 8, CMC and ROC among distractors before and after cleaning; figure 9, ROC of 1:1 verification of templates.

At paper scale the curves are those that the evaluation of Tables 6 and 7 left in the runs' folders; what is not
trained or measured yet is, and the tables take it up.
"""
from pathlib import Path
from typing import Any, Dict, List, NamedTuple

from arcface_mxnet.evaluation.megaface import __main__ as megaface
from arcface_mxnet.evaluation.overlay import FIGURES as WINDOWS
from arcface_mxnet.evaluation.overlay import Window, read_curves
from arcface_mxnet.evaluation.plots import Curve
from arcface_mxnet.recognition.reproduction import benchmark_tables, paper_benchmarks, stand_ins
from arcface_mxnet.recognition.reproduction.benchmark_tables import embed_of, made_of, measured_run, subject_run
from arcface_mxnet.recognition.reproduction.drawing import canvas, save
from arcface_mxnet.recognition.reproduction.figures import Order, figure
from arcface_mxnet.recognition.reproduction.provenance import Produced
from arcface_mxnet.recognition.reproduction.run_list import FIGURE8, FIGURE9, TABLE6, TABLE7
from arcface_mxnet.runtime.errors import InputError

import numpy as np

COLOURS = ("#2e7d32", "#c62828", "#1565c0")
STAND_IN_FARS = (1e-3, 1e-2, 1e-1)


class Shown(NamedTuple):
    """The curves of a model (percent), the figures to write down, and from which FAR the curves are known."""

    curves: List[Curve]
    figures: Dict[str, float]
    smallest: float


def left_by(table: str, run: Path, path: Path) -> Curve:
    """The one curve in a CSV that the evaluation of a table left; raises InputError where it is gone."""
    if not path.exists():
        raise InputError(f"{path}: not found; delete {run}/{table}-*.json to have the run evaluated again")
    return read_curves(path, path.stem)[0]


def identified(order: Order, row: str) -> Shown:
    """CMC and ROC of a row of Table 6."""
    run = subject_run(TABLE6[row], order.seeds[0], order)
    if order.scale == "paper":
        found = measured_run(run, order, "table6", benchmark_tables.identified, row)
        files = paper_benchmarks.identification_curves(Path(order.data), run / "table6", row)
        return Shown([left_by("table6", run, path) for path in files],
                     {"rank-1 %": found["Id"], f"TAR at {paper_benchmarks.MEGAFACE_FAR:g} %": found["Ver"]}, 1e-6)
    result = stand_ins.megaface(embed_of(run), order.work, row.endswith(", R"))
    return Shown(megaface.curves(result),
                 {"rank-1 %": 100 * result.rank1,
                  f"TAR at {stand_ins.MEGAFACE_FAR:g} %": 100 * result.tar[stand_ins.MEGAFACE_FAR]}, 1e-5)


def compared(order: Order, row: str, title: str) -> Shown:
    """ROC of a row of Table 7 on IJB-B or IJB-C; the figures are shares."""
    run = subject_run(TABLE7[row], order.seeds[0], order)
    if order.scale == "paper":
        found = measured_run(run, order, "table7", benchmark_tables.templates, row)
        return Shown([left_by("table7", run, paper_benchmarks.template_curve(run / "table7", title))],
                     {f"TAR at {paper_benchmarks.IJB_FAR:g}": found[title]}, 1e-6)
    result = stand_ins.template_pairs(embed_of(run), order.work, title)
    curve = Curve("roc", row, result.curve.far, 100 * result.curve.tar, "", "")
    return Shown([curve], {f"TAR at {far:g}": float(np.interp(far, result.curve.far, result.curve.tar))
                           for far in STAND_IN_FARS}, 1 / result.impostor)


def lower_end(order: Order, window: Window, curves: List[Curve]) -> float:
    """Lower end of the vertical axis, percent: at paper scale as printed, or below curves that lie lower; else 0."""
    if order.scale == "demo":
        return 0.0
    seen = [curve.y[(curve.x >= window.x[0]) & (curve.x <= window.x[1])] for curve in curves]
    return min(window.y[0], float(np.floor(min((part.min() for part in seen if part.size), default=0.0))))


def mark(order: Order) -> str:
    """What is written behind a name at demo scale."""
    return " (stand-in)" if order.scale == "demo" else ""


def told(order: Order, table: str, stand_in: str) -> str:
    """One line on how the curves were had."""
    return stand_in if order.scale == "demo" else (f"the curves that the evaluation commands left for {table}, in the "
                                                   f"runs' folders; seed {order.seeds[0]}")


@figure("fig8")
def fig8(order: Order) -> Produced:
    """CMC and ROC among distractors: each model before (dashed) and after (solid) the authors' cleaning."""
    picture, panels = canvas(2, 1, (5.6, 4.4))
    shown = {label: identified(order, row) for label, row in FIGURE8.items()}
    for number, (label, one) in enumerate(shown.items()):
        style = "-" if FIGURE8[label].endswith(", R") else "--"
        for axes, curve, steps in zip(panels, one.curves, ("steps-post", "default")):
            axes.plot(curve.x, curve.y, style, drawstyle=steps, color=COLOURS[number // 2],
                      label=f"{label}{mark(order)}")
    least = max(one.smallest for one in shown.values())
    ranges = ((1, 1e6 if order.scale == "paper" else 1e3), (least, 1))
    labels = (("Rank", "Identification Rate (%)"), ("False Positive Rate", "True Positive Rate (%)"))
    for place, (axes, name) in enumerate(zip(panels, ("CMC", "ROC"))):
        low = lower_end(order, WINDOWS[f"8-{name.lower()}"], [one.curves[place] for one in shown.values()])
        axes.set(xscale="log", title=name, xlabel=labels[place][0], ylabel=labels[place][1], xlim=ranges[place],
                 ylim=(low, 100))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=6, loc="lower right")
    return Produced("fig8", save(picture, order.out, "fig8"), told(order, "Table 6", stand_ins.ABOUT["MegaFace"]),
                    {label: one.figures for label, one in shown.items()},
                    made_of(order, list(dict.fromkeys(TABLE6[row] for row in FIGURE8.values()))))


@figure("fig9")
def fig9(order: Order) -> Produced:
    """ROC of 1:1 verification of templates, one panel a benchmark."""
    picture, panels = canvas(2, 1, (5.2, 4.2))
    figures: Dict[str, Any] = {}
    for axes, (title, folder) in zip(panels, paper_benchmarks.TEMPLATE_SETS.items()):
        shown = {row: compared(order, row, title) for row in FIGURE9}
        for (row, one), colour in zip(shown.items(), COLOURS[1:]):
            axes.plot(one.curves[0].x, one.curves[0].y / 100, color=colour, label=f"{row}{mark(order)}")
            figures[f"{title}, {row}"] = one.figures
        low = lower_end(order, WINDOWS[f"9-{folder.lower()}"], [one.curves[0] for one in shown.values()])
        axes.set(xscale="log", xlabel="False Positive Rate", ylabel="True Positive Rate", ylim=(low / 100, 1),
                 xlim=(max(one.smallest for one in shown.values()), 0.1), title=f"ROC on {title}{mark(order)}")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, loc="lower right")
    return Produced("fig9", save(picture, order.out, "fig9"), told(order, "Table 7", stand_ins.ABOUT["IJB"]), figures,
                    made_of(order, [TABLE7[row] for row in FIGURE9]))
