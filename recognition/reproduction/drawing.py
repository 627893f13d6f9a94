"""How pictures are made: one canvas, one set of colours of meaning, PNG and SVG side by side."""
from pathlib import Path
from typing import Any, List, Tuple

from arcface_mxnet.runtime.files import PathLike, atomic_path

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

GENUINE, IMPOSTOR = "#c62828", "#1565c0"  # red positive, blue negative pairs, as in figures 6 and 7
LOSS_COLOURS = {
    "softmax": "#424242", "sphereface": "#6a1b9a", "sphereface135": "#ab47bc", "arcface": "#c62828",
    "cosface": "#1565c0", "cm1": "#2e7d32", "cm2": "#ef6c00",
}
matplotlib.rcParams["svg.hashsalt"] = "arcface"  # equal pictures are equal files


def canvas(columns: int = 1, rows: int = 1, size: Tuple[float, float] = (6.0, 4.4)) -> Tuple[Figure, List[Any]]:
    """A figure of rows x columns panels, each `size` inches, and its axes in reading order; needs no display."""
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), dpi=110)
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(rows, columns, squeeze=False).ravel())


def save(figure: Figure, folder: PathLike, name: str) -> List[Path]:
    """Write NAME.png and NAME.svg into a folder, atomically; returns their paths."""
    figure.tight_layout()
    written = []
    for kind in ("png", "svg"):
        path = Path(folder) / f"{name}.{kind}"
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format=kind, metadata={"Date": None} if kind == "svg" else None)
        written.append(path)
    return written
