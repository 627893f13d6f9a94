"""Curves to pictures: the one place of evaluation that draws."""
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Sequence

from arcface_mxnet.runtime.files import PathLike

import numpy as np

_SMALLEST_LOG_X = 1e-9


@dataclass(frozen=True)
class Curve:
    """One line of a picture: equal `figure` means the same picture and the same CSV file.

    `kind` is "line", "bars" (x: left edges) or "steps"; `log_x` draws a logarithmic horizontal axis.
    """

    figure: str
    label: str
    x: np.ndarray
    y: np.ndarray
    x_label: str
    y_label: str
    log_x: bool = False
    kind: str = "line"


def literal(text: str) -> str:
    """Text that a picture shows as it is: a $ would begin a formula, and a foreign file's be none."""
    return text.replace("$", r"\$")


def draw_curves(path: PathLike, title: str, curves: Sequence[Curve]) -> None:
    """Draw curves of one figure (their axis labels are the first one's) into a PNG, atomically; needs no display."""
    from arcface_mxnet.runtime import pictures  # Matplotlib loads only where something is drawn

    curves = [replace(curve, label=literal(curve.label), x_label=literal(curve.x_label), y_label=literal(curve.y_label))
              for curve in curves]
    figure, (axes,) = pictures.canvas(size=(6.4, 4.4))
    with pictures.style():
        _draw(axes, title, curves)
    figure.tight_layout()
    pictures.save(figure, Path(path).with_suffix(""), ("png",))


def _draw(axes: Any, title: str, curves: Sequence[Curve]) -> None:
    for curve in curves:
        x, y = np.asarray(curve.x, float), np.asarray(curve.y, float)
        if curve.kind == "bars":
            axes.stairs(y[:-1] if len(x) == len(y) else y, x, fill=True, alpha=0.45, label=curve.label)
        else:
            shown = (x > _SMALLEST_LOG_X) if curve.log_x else np.ones(len(x), bool)
            style = "steps-post" if curve.kind == "steps" else "default"
            axes.plot(x[shown], y[shown], drawstyle=style, linewidth=1.6, label=curve.label)
    first = curves[0]
    if first.log_x:
        axes.set_xscale("log")
    axes.set(title=literal(title), xlabel=first.x_label, ylabel=first.y_label)
    axes.legend(fontsize=8, loc="upper right" if first.kind == "bars" else "lower right")
