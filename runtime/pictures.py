"""How pictures are made: figures that need no display, one style, one palette, files that are whole and repeat.

Imported where something is drawn, since Matplotlib takes its time to load.
"""
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

from arcface_mxnet.runtime.files import PathLike, atomic_path

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

RED, BLUE, GREEN, ORANGE, GREY = "#c62828", "#1565c0", "#2e7d32", "#ef6c00", "#424242"
DPI = 110
STYLE: Dict[str, Any] = {
    "font.size": 9.0, "axes.titlesize": 10.0, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#E4E4E4",
    "grid.linewidth": 0.6, "axes.edgecolor": "#808080", "xtick.color": "#404040", "ytick.color": "#404040",
    "legend.frameon": False, "svg.hashsalt": "arcface", "svg.fonttype": "none"}


def canvas(columns: int = 1, rows: int = 1, size: Tuple[float, float] = (6.0, 4.4),
           **options: Any) -> Tuple[Figure, List[Any]]:
    """A figure of rows x columns panels, each `size` inches, and its axes in reading order.

    `options` go to Matplotlib's Figure. Text and lines take STYLE where they are drawn inside `style()`.
    """
    with style():
        figure = Figure(figsize=(size[0] * columns, size[1] * rows), dpi=DPI, **options)
        FigureCanvasAgg(figure)
        return figure, list(figure.subplots(rows, columns, squeeze=False).ravel())


def style() -> Any:
    """While entered, what is drawn and saved has STYLE; Matplotlib's own settings stay as they are."""
    return matplotlib.rc_context(STYLE)


def save(figure: Figure, base: PathLike, kinds: Sequence[str] = ("png", "svg"), dpi: int = DPI) -> List[Path]:
    """Write BASE.png and BASE.svg, each atomically; the same figure gives the same files. Returns their paths."""
    written = []
    with style():
        for kind in kinds:
            path = Path(f"{base}.{kind}")
            with atomic_path(path) as temporary:
                figure.savefig(temporary, format=kind, dpi=dpi, metadata={"Date": None} if kind == "svg" else None)
            written.append(path)
    return written
