"""Draw the curves of a run, over those of published ones: train accuracy, loss, rate, validation, XNorm, speed.

Writes PNG and SVG. --live redraws a running run into one HTML page that refreshes itself, until the run stops.
"""
import argparse
import sys
from pathlib import Path
from typing import List, Optional, Sequence, Tuple

from arcface_mxnet.logs import event_files, live
from arcface_mxnet.logs.catalogue import names, published
from arcface_mxnet.logs.compare import closest
from arcface_mxnet.logs.figure import Curves, draw, save
from arcface_mxnet.logs.parse import load
from arcface_mxnet.logs.recipe import recipe
from arcface_mxnet.runtime.errors import InputError, run_command

NONE = "none"


def curves(source: str, others: Optional[Sequence[str]]) -> Tuple[Curves, List[Curves]]:
    """What is drawn: the run at `source` (a path, or the name of a published run), and the published runs over it.

    others: names of published runs; None: the closest one; ("none",): no other.
    """
    if source in names() and not Path(source).exists():
        ours = _published(source)
    else:
        ours = Curves(Path(source).name if Path(source).is_dir() else Path(source).stem, load(source))
    chosen = [closest(recipe(ours.run)).name] if others is None else [name for name in others if name != NONE]
    return ours, [_published(name) for name in chosen if name != source]


def _published(name: str) -> Curves:
    entry = published(name)
    return Curves(f"{name} (published)", entry.run, entry.released_step)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Draw a run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n  python logs/plot.py runs/y1-arcface-emore --with y1,moli-arcface\n"
               "  python logs/plot.py runs/demo --with none\n  python logs/plot.py runs/demo --live\n"
               f"\npublished: {', '.join(names())}")
    parser.add_argument("run", help="a run directory, a training log, a metrics.jsonl, or the name of a published run")
    parser.add_argument("--with", dest="others", metavar="NAMES",
                        help="published runs to draw over, separated by commas, or none (default: the closest)")
    parser.add_argument("--out", metavar="PREFIX", help="write PREFIX.png and PREFIX.svg (default RUN/curves)")
    parser.add_argument("--live", action="store_true", help="keep RUN/live.html up to date until the run stops")
    parser.add_argument("--every", type=float, default=live.EVERY_SECONDS, metavar="SECONDS",
                        help=f"how often --live redraws (default {live.EVERY_SECONDS:g})")
    parser.add_argument("--tensorboard", metavar="DIR", help="also write the figures as TensorBoard event files")
    arguments = parser.parse_args(argv)
    others = None if arguments.others is None else arguments.others.split(",")
    for name in others or ():
        if name != NONE:
            published(name)  # a wrong name is said now, not taken for a run that has yet to begin
    if arguments.live:
        page = _folder(arguments.run) / "live.html"
        sys.stdout.write(f"{page}: redrawn every {arguments.every:g} s until the run stops\n")
        live.follow(lambda: curves(arguments.run, others), page, arguments.every)
        return 0
    ours, over = curves(arguments.run, others)
    if arguments.tensorboard:
        event_files.write(ours.run, arguments.tensorboard)
        sys.stdout.write(f"{arguments.tensorboard}: TensorBoard event file\n")
    for path in save(draw(ours, over), arguments.out or _folder(arguments.run) / "curves"):
        sys.stdout.write(f"{path}\n")
    return 0


def _folder(source: str) -> Path:
    path = Path(source)
    if not path.exists():
        raise InputError(f"{source}: has no folder to write into; say where with --out PREFIX")
    return path if path.is_dir() else path.parent


if __name__ == "__main__":
    run_command(main)
