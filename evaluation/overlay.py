"""Curves of several runs in one picture, as in figures 8 (MegaFace) and 9 (IJB) of the paper.

Each run's curve is read from the CSV it wrote beside its picture; original and refined, or several models, go together.
"""
import csv
import sys
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from arcface_mxnet.evaluation.command import parser
from arcface_mxnet.evaluation.plots import Curve, draw_curves
from arcface_mxnet.runtime.arguments import Parser
from arcface_mxnet.runtime.errors import InputError, run_command
from arcface_mxnet.runtime.files import PathLike
from arcface_mxnet.runtime.text import TextStream

import numpy as np


class Window(NamedTuple):
    """The part of the plane that a figure of the paper shows: title, range of x and range of y (percent)."""

    title: str
    x: Tuple[float, float]
    y: Tuple[float, float]


FIGURES: Dict[str, Window] = {
    "8-cmc": Window("MegaFace, CMC with 1M distractors", (1, 1e6), (70, 100)),
    "8-roc": Window("MegaFace, ROC with 1M distractors", (1e-6, 1), (90, 100)),
    "9-ijbb": Window("IJB-B, 1:1 ROC", (1e-6, 1e-1), (30, 100)),
    "9-ijbc": Window("IJB-C, 1:1 ROC", (1e-6, 1e-1), (70, 100)),
    "whole": Window("", (-np.inf, np.inf), (-np.inf, np.inf)),
}
"""Axes as printed in the paper's figures; "whole" shows everything."""


def read_curves(path: PathLike, label: str) -> List[Curve]:
    """The curves of a CSV written by an evaluation command, named `label` (and their own name where there are more)."""
    try:
        rows = list(csv.reader(TextStream(path, "give LABEL=FILE.csv of a folder written with --out")))
        points: Dict[str, List[Tuple[float, float]]] = {}
        for name, x, y in rows[1:]:
            points.setdefault(name, []).append((float(x), float(y)))
        x_label, y_label = rows[0][1:]
    except (ValueError, IndexError, csv.Error):
        raise InputError(f"{path}: no curve of an evaluation command; give LABEL=FILE.csv") from None
    if not points:
        raise InputError(f"{path}: holds no point")
    kind = "steps" if x_label == "rank" else "line"
    return [Curve("overlay", label if len(points) == 1 else f"{label}, {name}", np.array([x for x, _ in values]),
                  np.array([y for _, y in values]), x_label, y_label, log_x=True, kind=kind)
            for name, values in points.items()]


def inside(curve: Curve, window: Window) -> Curve:
    """The curve without its points outside the window."""
    shown = (curve.x >= window.x[0]) & (curve.x <= window.x[1]) & (curve.y >= window.y[0]) & (curve.y <= window.y[1])
    if not shown.any():
        raise InputError(f"{curve.label}: nothing of it lies in {window.title}; use --figure whole")
    return Curve(curve.figure, curve.label, curve.x[shown], curve.y[shown], curve.x_label, curve.y_label, curve.log_x,
                 curve.kind)


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Draw the curves that the arguments name into one picture."""
    options = build_parser().parse_args(argv)
    window = FIGURES[options.figure]
    curves: List[Curve] = []
    for given in options.curves:
        label, equals, path = given.partition("=")
        if not equals:
            raise InputError(f"{given}: expected LABEL=FILE.csv")
        curves += [inside(curve, window) for curve in read_curves(path, label)]
    draw_curves(options.out, window.title or Path(options.out).stem, curves)
    sys.stdout.write(f"{options.out}\n")


def build_parser() -> Parser:
    """The command line."""
    flags = parser("Curves of several runs in one picture.",
                   "python evaluation/overlay.py --figure 8-roc --out figure8.png "
                   "\"ArcFace=results/a/1000000_roc.csv\" \"ArcFace, R=results/b/1000000_roc.csv\"")
    flags.add_argument("curves", nargs="+", metavar="LABEL=FILE.csv", help="curves, as written beside a result.json")
    flags.add_argument("--figure", default="whole", choices=sorted(FIGURES), help="the paper's axes (default whole)")
    flags.add_argument("--out", required=True, metavar="FILE.png", help="the picture")
    return flags


if __name__ == "__main__":
    run_command(main)
