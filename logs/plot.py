"""Draw the curves of a run, over those of published ones: train accuracy, loss, rate, validation, XNorm, speed.

Writes PNG and SVG. --live redraws a running run into one HTML page that refreshes itself, until the run stops.
"""
import io
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, List, NamedTuple, Optional, Sequence, Tuple

from arcface_mxnet.logs import writer
from arcface_mxnet.logs.catalogue import names, published_run
from arcface_mxnet.logs.compare import closest, compare, report
from arcface_mxnet.logs.parse import Run, add_run_flag, load
from arcface_mxnet.logs.recipe import recipe
from arcface_mxnet.runtime import pages, pictures
from arcface_mxnet.runtime.arguments import Parser
from arcface_mxnet.runtime.errors import InputError, notice, run_command
from arcface_mxnet.runtime.files import atomic_open

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

# The figure of a training run: one panel a quantity, ours in colour over the published curves in grey tones.


OURS = "#0072B2"
OTHER_COLOURS = ("#555555", "#D55E00", "#009E73", "#CC79A7")
PANEL_WIDTH, PANEL_HEIGHT = 3.9, 2.8  # inches
POINTS = 400  # a curve has no more; the eye sees no difference and the SVG stays small
SMOOTHING_WINDOWS = 25  # at most so many training windows are averaged, and at most a thirtieth of a course
FEW = 40  # validations that are still marked one by one
HORIZON = 4.0  # the axis reaches this many times as far as the run, up to the end of the published one


@dataclass(frozen=True)
class Curves:
    """One run to draw: its name in the legend, its table, and the step that was released, if one was."""

    name: str
    run: Run
    released: Optional[int] = None


class _Line(NamedTuple):
    """How a run is drawn: its curves, colour, width, and whether it is ours."""

    curves: Curves
    color: str
    width: float
    ours: bool


Draw = Callable[[Axes, Sequence[_Line]], None]


def draw(ours: Curves, others: Sequence[Curves] = ()) -> Figure:
    """The figure of `ours` with `others` beneath. The x axis is images seen (steps where the batch is not known)."""
    drawn = [_Line(other, OTHER_COLOURS[index % len(OTHER_COLOURS)], 1.1, False) for index, other in enumerate(others)]
    drawn.append(_Line(ours, OURS, 1.8, True))
    panels = _panels(drawn)
    columns = min((3, 4), key=lambda count: -len(panels) % count)  # as few empty places as can be
    rows = -(-len(panels) // columns)
    figure, axes = pictures.canvas(columns, rows, (PANEL_WIDTH, PANEL_HEIGHT + 0.7 / rows), layout="constrained")
    with pictures.style():
        for panel, axis in zip(panels, axes):
            panel(axis, drawn)
            _finish(axis, drawn)
        for axis in axes[len(panels):]:
            axis.set_visible(False)
        _legend(figure, axes[0], drawn)
    return figure


def _panels(drawn: Sequence[_Line]) -> List[Draw]:
    targets = drawn[-1].curves.run.targets or list(
        dict.fromkeys(target for line in drawn for target in line.curves.run.targets))
    panels: List[Draw] = [_train_accuracy]
    if any(line.curves.run.table["loss"].notna().any() for line in drawn):
        panels.append(_loss)
    panels.append(_rate)
    panels += [_validation(target) for target in targets]
    if targets:
        panels.append(_xnorm(targets))
    return [*panels, _speed]


def _train_accuracy(axis: Axes, drawn: Sequence[_Line]) -> None:
    axis.set_title("Train accuracy under the margin")
    _dense(axis, drawn, "acc")
    axis.set_ylim(bottom=0)


def _loss(axis: Axes, drawn: Sequence[_Line]) -> None:
    axis.set_title("Cross-entropy")
    _dense(axis, drawn, "loss")


def _rate(axis: Axes, drawn: Sequence[_Line]) -> None:
    axis.set_title("Learning rate")
    for line in drawn:
        table = line.curves.run.table
        changed = (table["lr"] != table["lr"].shift()) | (table.index == table.index[-1])
        axis.step(_x(line.curves.run, table)[changed], table["lr"][changed], where="post", color=line.color,
                  linewidth=line.width, marker=_lone(table["lr"]), markersize=3)
    axis.set_yscale("log")


def _speed(axis: Axes, drawn: Sequence[_Line]) -> None:
    axis.set_title("Speed, images/s")
    top = 0.0
    for line in drawn:
        windows = line.curves.run.windows
        _curve(axis, line, _x(line.curves.run, windows), _rolling(windows["speed"]).median())
        top = max(top, float(windows["speed"].replace(np.inf, np.nan).quantile(0.98)))
    axis.set_ylim(0, 1.15 * top if top > 0 else 1)


def _validation(target: str) -> Draw:
    def panel(axis: Axes, drawn: Sequence[_Line]) -> None:
        axis.set_title(f"{target}, accuracy")
        lowest = []
        for line in drawn:
            points = _points(line, f"{target}_accuracy")
            if points.empty:
                continue
            x, values = _x(line.curves.run, points), points[f"{target}_accuracy"]
            error = points[f"{target}_std"] / np.sqrt(10)
            axis.fill_between(x, values - error, values + error, color=line.color, alpha=0.15, linewidth=0)
            axis.plot(x, values, color=line.color, linewidth=line.width, marker=_marker(line, points), markersize=2.5)
            released = points[points["step"] == line.curves.released]
            axis.plot(_x(line.curves.run, released), released[f"{target}_accuracy"], "D", color=line.color,
                      markersize=5, markerfacecolor="white", zorder=5)
            lowest.append(float(values.quantile(0.05)) if len(values) > 20 else float((values - error).min()))
        if lowest:
            _room(axis, min(lowest))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
    return panel


def _xnorm(targets: Sequence[str]) -> Draw:
    def panel(axis: Axes, drawn: Sequence[_Line]) -> None:
        axis.set_title("XNorm, mean and range over the sets")
        for line in drawn:
            points = line.curves.run.validations
            values = points[[f"{target}_xnorm" for target in targets if f"{target}_xnorm" in points]]
            x = _x(line.curves.run, points)
            axis.fill_between(x, values.min(axis=1), values.max(axis=1), color=line.color, alpha=0.09, linewidth=0)
            axis.plot(x, values.mean(axis=1), color=line.color, linewidth=line.width, marker=_marker(line, points),
                      markersize=2.5)
    return panel


def _marker(line: _Line, points: pd.DataFrame) -> Optional[str]:
    return "o" if line.ours and len(points) < FEW else None


def _points(line: _Line, column: str) -> pd.DataFrame:
    table = line.curves.run.table
    return table[table[column].notna()] if column in table else table.iloc[:0]


def _dense(axis: Axes, drawn: Sequence[_Line], column: str) -> None:
    """A training quantity: the windows faintly for ours, a running mean for all."""
    for line in drawn:
        windows = line.curves.run.windows
        x, values = _x(line.curves.run, windows), windows[column]
        if line.ours:
            few = len(windows) <= POINTS
            axis.plot(x, values, ".", color=line.color, markersize=4 if few else 1.5, alpha=0.3, rasterized=not few)
        _curve(axis, line, x, _rolling(values).mean())


def _rolling(values: pd.Series) -> Any:
    width = min(max(len(values) // 30, 1), SMOOTHING_WINDOWS)
    return values.rolling(width, min_periods=1, center=True)


def _curve(axis: Axes, line: _Line, x: pd.Series, values: pd.Series) -> None:
    every = max(len(x) // POINTS, 1)
    axis.plot(x.iloc[::every], values.iloc[::every], color=line.color, linewidth=line.width, marker=_lone(x),
              markersize=3)


def _lone(x: pd.Series) -> Optional[str]:
    return "o" if len(x) == 1 else None  # a single point has no line


def _x(run: Run, table: pd.DataFrame) -> pd.Series:
    return table["images"] if run.table["images"].notna().any() else table["step"]


def _room(axis: Axes, low: float) -> None:
    """Accuracies crowd below 1: show from the bulk of the lowest curve up, not the first steep rise."""
    high = axis.dataLim.y1
    span = max(high - low, 0.004)
    axis.set_ylim(low - 0.12 * span, min(high + 0.08 * span, 1.0 + 0.02 * span))


def _finish(axis: Axes, drawn: Sequence[_Line]) -> None:
    ours = drawn[-1].curves.run
    end = float(_x(ours, ours.table).iloc[-1])
    others = [float(_x(line.curves.run, line.curves.run.table).iloc[-1]) for line in drawn[:-1]]
    axis.set_xlim(0, max(end, min(max(others), HORIZON * end)) * 1.01 if others else end * 1.01)
    axis.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axis.xaxis.set_major_formatter(FuncFormatter(_count))
    axis.set_xlabel("images seen" if ours.table["images"].notna().any() else "steps", fontsize=8)


def _count(value: float, _: int) -> str:
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def _legend(figure: Figure, axis: Axes, drawn: Sequence[_Line]) -> None:
    handles: List[Any] = [axis.plot([], [], color=line.color, linewidth=line.width + 0.4)[0]
                          for line in reversed(drawn)]
    labels = [line.curves.name for line in reversed(drawn)]
    if any(line.curves.run.targets for line in drawn):
        handles.append(Patch(color=OTHER_COLOURS[0], alpha=0.15, linewidth=0))
        labels.append("one standard error")
    if any(line.curves.released for line in drawn):
        handles.append(axis.plot([], [], "D", color=OTHER_COLOURS[0], markerfacecolor="white", markersize=5)[0])
        labels.append("released model")
    figure.legend(handles, labels, loc="outside upper left", ncols=len(handles), fontsize=10)


NONE = "none"


def curves(source: str, others: Optional[Sequence[str]], number: Optional[int] = None) -> Tuple[Curves, List[Curves]]:
    """What is drawn: the run at `source` (a path, or the name of a published run), and the published runs over it.

    others: names of published runs; None: the closest one; ("none",): no other. number: which run of a log of several.
    """
    if source in names() and not Path(source).exists():
        ours = _published(source)
    else:
        ours = Curves(Path(source).name if Path(source).is_dir() else Path(source).stem, load(source, number))
        if ours.run.others:
            notice(ours.run.others)
    chosen = [closest(recipe(ours.run)).name] if others is None else [name for name in others if name != NONE]
    return ours, [_published(name) for name in chosen if name != source]


def _published(name: str) -> Curves:
    entry = published_run(name)
    return Curves(f"{name} (published)", entry.run, entry.released_step)


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(
        description=__doc__,
        epilog="examples:\n  python logs/plot.py runs/y1-arcface-emore --with y1,moli-arcface\n"
               "  python logs/plot.py runs/demo --with none\n  python logs/plot.py runs/demo --live\n"
               f"\npublished: {', '.join(names())}")
    parser.add_argument("run", help="a run directory, a training log, a metrics.jsonl, or the name of a published run")
    parser.add_argument("--with", dest="others", metavar="NAMES",
                        help="published runs to draw over, separated by commas, or none (default: the closest)")
    parser.add_argument("--out", metavar="PREFIX", help="write PREFIX.png and PREFIX.svg (default RUN/curves)")
    parser.add_argument("--live", action="store_true", help="keep RUN/live.html up to date until the run stops")
    parser.add_argument("--every", type=float, default=EVERY_SECONDS, metavar="SECONDS",
                        help=f"how often --live redraws (default {EVERY_SECONDS:g})")
    parser.add_argument("--tensorboard", metavar="DIR", help="also write the figures as TensorBoard event files")
    add_run_flag(parser)
    return parser


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Draw a run."""
    arguments = build_parser().parse_args(argv)
    others = None if arguments.others is None else arguments.others.split(",")
    for name in others or ():
        if name != NONE:
            published_run(name)  # a wrong name is said now, not taken for a run that has yet to begin
    if arguments.live:
        page = _folder(arguments.run) / "live.html"
        sys.stdout.write(f"{page}: redrawn every {arguments.every:g} s until the run stops\n")
        follow(lambda: curves(arguments.run, others, arguments.number), page, arguments.every)
        return 0
    ours, over = curves(arguments.run, others, arguments.number)
    if arguments.tensorboard:
        writer.write(ours.run, arguments.tensorboard)
        sys.stdout.write(f"{arguments.tensorboard}: TensorBoard event file\n")
    for path in pictures.save(draw(ours, over), arguments.out or _folder(arguments.run) / "curves"):
        sys.stdout.write(f"{path}\n")
    return 0


def _folder(source: str) -> Path:
    path = Path(source)
    if not path.exists():
        raise InputError(f"{source}: has no folder to write into; say where with --out PREFIX")
    return path if path.is_dir() else path.parent


# One HTML page that shows a running run and refreshes itself: its curves, and where it stands.


EVERY_SECONDS = 30.0
Source = Callable[[], Tuple[Curves, List[Curves]]]

def page(ours: Curves, others: List[Curves], every: float) -> str:
    """The page as text; it asks the browser to load it again every `every` seconds, unless the run has stopped."""
    stopped = ours.run.facts.get("stopped")
    last = ours.run.table.iloc[-1]
    state = f"step {int(last['step']):,}, epoch {int(last['epoch'])}, rate {last['lr']:g}, " \
            f"{ours.run.median_speed:,.1f} images/s"
    state += f"; stopped: {stopped}" if stopped else f"; drawn {time.strftime('%Y-%m-%d %H:%M:%S')}"
    stream = io.StringIO()
    with pictures.style():
        draw(ours, others).savefig(stream, format="svg", metadata={"Date": None})
    told = [report(compare(ours.run, published_run(name))) for name in _names(others)]
    drawn = stream.getvalue()
    return pages.render(
        "live.html", title=ours.name, state=state, refresh=None if stopped else max(round(every), 1),
        figure=pages.Markup(drawn[drawn.index("<svg"):]), alt=f"Curves of {ours.name}; {state}",
        report="\n\n".join(told) or "no published run beside it")


def follow(source: Source, path: Path, every: float = EVERY_SECONDS,
           pause: Callable[[float], None] = time.sleep) -> int:
    """Rewrite the page at `path` every `every` seconds until the run says that it stopped; returns how often it did.

    `source` reads the run anew. A run that has printed no training line yet is waited for.
    """
    drawn = 0
    while True:
        try:
            ours, others = source()
        except InputError:
            if not path.parent.exists():
                raise
            pause(every)
            continue
        with atomic_open(path, "w") as stream:
            stream.write(page(ours, others, every))
        drawn += 1
        if ours.run.facts.get("stopped"):
            return drawn
        pause(every)


def _names(others: List[Curves]) -> List[str]:
    return [name for name in names() if any(other.name.startswith(f"{name} ") for other in others)]


if __name__ == "__main__":
    run_command(main)
