"""One HTML page that shows a running run and refreshes itself: its curves, and where it stands."""
import html
import io
import time
from pathlib import Path
from typing import Callable, List, Tuple

from arcface_mxnet.logs.catalogue import names, published
from arcface_mxnet.logs.compare import compare, report
from arcface_mxnet.logs.figure import STYLE, Curves, draw
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import atomic_open

import matplotlib

EVERY_SECONDS = 30.0
Source = Callable[[], Tuple[Curves, List[Curves]]]

PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">{refresh}<title>{title}</title>
<style>body{{font:15px/1.45 system-ui,sans-serif;margin:1.5rem auto;max-width:84rem;padding:0 1rem;color:#222}}
h1{{font-size:1.3rem;margin:0}}p{{color:#555;margin:.2rem 0 1rem}}svg{{width:100%;height:auto}}
pre{{background:#f6f6f6;padding:.8rem;overflow:auto;font-size:12.5px;line-height:1.4}}</style></head>
<body><h1>{title}</h1><p>{state}</p>{figure}<pre>{report}</pre></body></html>
"""


def page(ours: Curves, others: List[Curves], every: float) -> str:
    """The page as text; it asks the browser to load it again every `every` seconds, unless the run has stopped."""
    stopped = ours.run.facts.get("stopped")
    last = ours.run.table.iloc[-1]
    state = f"step {int(last['step']):,}, epoch {int(last['epoch'])}, rate {last['lr']:g}, " \
            f"{ours.run.median_speed:,.1f} images/s"
    state += f"; stopped: {stopped}" if stopped else f"; drawn {time.strftime('%Y-%m-%d %H:%M:%S')}"
    stream = io.StringIO()
    with matplotlib.rc_context(STYLE):
        draw(ours, others).savefig(stream, format="svg", metadata={"Date": None})
    told = [report(compare(ours.run, published(name))) for name in _names(others)]
    return PAGE.format(refresh="" if stopped else f'<meta http-equiv="refresh" content="{max(round(every), 1)}">',
                       title=html.escape(ours.name), state=html.escape(state),
                       figure=stream.getvalue()[stream.getvalue().index("<svg"):],
                       report=html.escape("\n\n".join(told) or "no published run beside it"))


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
