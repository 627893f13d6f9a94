"""A model's results as one self-contained HTML page and as Markdown: our figures, the paper's, their origin."""
import base64
import sys
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from arcface_mxnet.datasets.image_headers import PNG, NoImage, read_header
from arcface_mxnet.datasets.images import read_image
from arcface_mxnet.evaluation.command import parser
from arcface_mxnet.evaluation.features import angles_of
from arcface_mxnet.evaluation.metrics import roc
from arcface_mxnet.evaluation.pairs import PairResult
from arcface_mxnet.evaluation.paper import PAIRS
from arcface_mxnet.evaluation.plots import Curve
from arcface_mxnet.evaluation.results import (
    About,
    Entry,
    Row,
    amount,
    markdown,
    markdown_code,
    markdown_table,
    read_results,
)
from arcface_mxnet.runtime.arguments import Parser
from arcface_mxnet.runtime.errors import InputError, run_command
from arcface_mxnet.runtime.files import atomic_open
from arcface_mxnet.runtime.reading import inside, shown

import numpy as np

HASH_DIGITS = 12
LONGEST_LIST = 12
_DEEPEST = 16
_HIGHEST = 1e15  # of a figure in a table


@dataclass(frozen=True)
class Section:
    """One target of one result.json: its name, figures, provenance, table rows and pictures."""

    target: str
    figures: Mapping[str, Any]
    about: Mapping[str, Any]
    rows: Tuple[Row, ...]
    pictures: Tuple[Path, ...]

    @property
    def title(self) -> str:
        """Benchmark and target, the latter only once."""
        benchmark = str(self.about["benchmark"])
        return self.target if benchmark == self.target else f"{benchmark}: {self.target}"


def read_sections(folders: Sequence[str]) -> List[Section]:
    """Every target of every folder written with --out; raises InputError for a folder without results."""
    sections = []
    for folder in folders:
        place = Path(folder) if Path(folder).is_dir() else Path(folder).parent
        for target, entry in read_results(folder).items():
            about = entry.pop("about")
            try:
                rows = tuple(_row(row) for row in about.pop("rows"))
                names = about.pop("pictures")
                _check_about(about, names)
                _check_depth(entry)
            except (KeyError, TypeError, AttributeError):
                raise InputError(f"{folder}: target {shown(target)} lacks rows, pictures or what they come from, or "
                                 "they are of other types; evaluate again with --out") from None
            sections.append(Section(target, entry, about, rows, tuple(_picture(place, name) for name in names)))
    return sections


def _row(given: Mapping[str, Any]) -> Row:
    row = Row(**given)
    numbers = [value for value in (row.ours, row.paper) if value is not None]
    if not all(isinstance(text, str) for text in (row.what, row.source, row.unit)) or not all(
            isinstance(value, (int, float)) and abs(value) < _HIGHEST for value in numbers):
        raise TypeError
    return row


def _check_about(about: Mapping[str, Any], names: Any) -> None:
    """Raise TypeError or KeyError where what stands under "about" is not of the types that the commands write."""
    hashes = [item for kind in ("model", "data") for item in about[kind].items()]
    texts = [about["benchmark"], about["protocol"], *names, *(text for item in hashes for text in item)]
    if not isinstance(names, list) or not all(isinstance(text, str) for text in texts) or not isinstance(
            about.get("notes", {}), Mapping):
        raise TypeError


def _check_depth(value: Any, depth: int = 0) -> None:
    """Raise TypeError for figures nested deeper than any command writes them."""
    if depth > _DEEPEST:
        raise TypeError
    if isinstance(value, (Mapping, list)):
        for item in value.values() if isinstance(value, Mapping) else value:
            _check_depth(item, depth + 1)


def _picture(folder: Path, name: str) -> Path:
    """The PNG of that name beside a result.json; raises InputError where it is elsewhere, missing or none."""
    path = inside(folder, name)
    if path is None or Path(name).name != name:
        raise InputError(f"{folder}: its result names the picture {shown(name)}, which is not beside it; only pictures "
                         "that the commands wrote there are read: evaluate again with --out")
    if not path.exists():
        raise InputError(f"{folder}: {shown(name)} is missing beside result.json; evaluate again with --out")
    try:
        if read_header(read_image(path)).format != PNG:
            raise NoImage("is no PNG")
    except (NoImage, OSError) as error:
        raise InputError(f"{path}: {error}; evaluate again with --out") from None
    return path


def html_report(title: str, sections: Sequence[Section]) -> str:
    """The page: all rows beside the paper's with protocol and hashes, then each benchmark's curves and details."""
    body = ["<nav>" + "".join(f"<a href=\"#{_anchor(section)}\">{escape(section.title)}</a>" for section in sections)
            + "</nav>"]
    header = ["figure", "ours", "paper", "difference", "source", "protocol", "data", "model"]
    rows = [[escape(row.what), f"<strong>{escape(amount(row.ours, row.unit))}</strong>",
             escape(amount(row.paper, row.unit)), _difference(row), escape(row.source or "-"),
             escape(section.about["protocol"]), _short(section.about["data"]),
             _short(section.about["model"])]
            for section in sections for row in section.rows]
    body.append(table(header, rows, numbers=(1, 2, 3)))
    for section in sections:
        body += [f"<h2 id=\"{_anchor(section)}\">{escape(section.title)}</h2>",
                 f"<p>{escape(section.about['protocol'])}</p>", pictures(section.pictures),
                 folded("All figures", pairs(flatten(section.figures))),
                 folded("Where they come from", pairs(_provenance(section)))]
    return page(title, body)


def markdown_report(title: str, sections: Sequence[Section]) -> str:
    """The same as Markdown: one table, then protocol, hashes and figures of each benchmark."""
    parts = [f"# {markdown(title)}\n", markdown_table([row for section in sections for row in section.rows])]
    for section in sections:
        parts.append(f"## {markdown(section.title)}\n\n{markdown(section.about['protocol'])}\n")
        parts.append("\n".join(f"- {markdown(name)}: {markdown_code(value)}" for name,
                               value in _provenance(section)) + "\n")
        parts.append("\n".join(f"- {markdown(name)}: {markdown(value)}" for name,
                               value in flatten(section.figures)) + "\n")
    return "\n".join(parts)


def flatten(figures: Mapping[str, Any], prefix: str = "") -> List[Tuple[str, str]]:
    """Nested figures as (dotted name, text); numbers to six digits, long lists by their ends."""
    lines: List[Tuple[str, str]] = []
    for name, value in figures.items():
        if isinstance(value, Mapping):
            lines += flatten(value, f"{prefix}{name}.")
        else:
            lines.append((f"{prefix}{name}", _text(value)))
    return lines


def build_parser() -> Parser:
    """The command line."""
    flags = parser("One HTML page and one Markdown file from folders written by the evaluation commands.",
                   "python evaluation/report.py --results results/pairs results/ytf --title y1 --out results/report")
    flags.add_argument("--results", required=True, nargs="+", metavar="DIR", help="folders that hold a result.json")
    flags.add_argument("--title", default="Evaluation", help="title of the page")
    flags.add_argument("--out", required=True, metavar="DIR", help="folder for report.html and report.md")
    return flags


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Make a report of result folders."""
    options = build_parser().parse_args(argv)
    sections = read_sections(options.results)
    for name, text in (("report.html", html_report(options.title, sections)),
                       ("report.md", markdown_report(options.title, sections))):
        with atomic_open(Path(options.out) / name, "w") as stream:
            stream.write(text)
        sys.stdout.write(f"{Path(options.out) / name}\n")


def _provenance(section: Section) -> List[Tuple[str, str]]:
    known: List[Tuple[str, str]] = []
    for kind in ("model", "data"):
        known += [(f"{kind} {name}", digest) for name, digest in section.about[kind].items()]
    return known + [(name, _text(value)) for name, value in section.about.get("notes", {}).items()]


def _short(hashes: Dict[str, str]) -> str:
    """The first digits of up to three hashes, as HTML."""
    shown = [code(digest[:HASH_DIGITS]) for digest in hashes.values() if digest]
    return " ".join(shown[:3]) + (" ..." if len(shown) > 3 else "") if shown else "-"


def _difference(row: Row) -> str:
    return "-" if row.ours is None or row.paper is None else f"{row.ours - row.paper:+.2f}"


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        if len(value) > LONGEST_LIST:
            return f"{_text(value[0])}, {_text(value[1])}, ... {_text(value[-1])} ({len(value)} values)"
        return ", ".join(_text(item) for item in value)
    return "-" if value is None else str(value)


def _anchor(section: Section) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in section.title)


# The look of a report: one HTML page that needs nothing beside itself, readable from a phone's width up.


STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --accent: #0b6e4f; }
@media (prefers-color-scheme: dark) { :root { --accent: #6fd3ae; } }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; padding: 1rem; max-width: 70rem; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.2; } h2 { margin-top: 2.5rem; border-bottom: 2px solid var(--accent); }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
td.number { text-align: right; white-space: nowrap; } th.number { text-align: right; }
thead th { white-space: nowrap; overflow-wrap: normal; }
code { font-size: .85em; background: var(--soft); padding: .1em .3em; border-radius: .2em; white-space: nowrap; }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); gap: 1rem; }
.pictures img { width: 100%; height: auto; background: #fff; border-radius: .4rem; }
details { margin: .8rem 0; } summary { cursor: pointer; }
nav a { margin-right: 1rem; display: inline-block; padding: .3rem 0; color: var(--accent); }
@media (min-width: 40.01rem) { table.cards td:first-child { min-width: 12rem; } }
@media (max-width: 40rem) {
  table.cards thead { display: none; }
  table.cards tr { display: block; border: 1px solid var(--line); border-radius: .4rem; margin-bottom: .8rem; }
  table.cards td { display: flex; justify-content: space-between; gap: 1rem; border: 0; text-align: right; }
  table.cards td::before { content: attr(data-label); font-weight: 600; text-align: left; white-space: nowrap; }
  table.cards td.number { white-space: normal; }
}
"""


def page(title: str, body: Sequence[str]) -> str:
    """The whole document."""
    return ("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
            "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
            f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n"
            + "\n".join(body) + "\n</body>\n</html>\n")


def table(header: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """A table whose rows become cards on a narrow screen; columns in `numbers` are set to the right."""
    def kind(column: int) -> str:
        return " class=\"number\"" if column in numbers else ""

    head = "".join(f"<th{kind(column)}>{escape(name)}</th>" for column, name in enumerate(header))
    lines = ["<tr>" + "".join(f"<td{kind(column)} data-label=\"{escape(header[column])}\"><span>{cell}</span></td>"
                              for column, cell in enumerate(row)) + "</tr>" for row in rows]
    return f"<table class=\"cards\"><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def pairs(entries: Sequence[Tuple[str, str]]) -> str:
    """Names and values, two columns at every width."""
    return "<table>" + "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>"
                               for name, value in entries) + "</table>"


def pictures(paths: Sequence[Path]) -> str:
    """PNG files inside the page."""
    images: List[str] = []
    for path in paths:
        data = base64.b64encode(read_image(path)).decode("ascii")
        images.append(f"<img alt=\"{escape(path.stem)}\" src=\"data:image/png;base64,{data}\">")
    return f"<div class=\"pictures\">{''.join(images)}</div>" if images else ""


def folded(summary: str, content: str) -> str:
    """Content behind a line that opens it."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def code(text: str) -> str:
    """Short machine text."""
    return f"<code>{escape(text)}</code>"


# A pair result as an entry of result.json: the row beside the paper's, the ROC and the histogram of angles.


ANGLE_STEP_DEGREES = 2


def pair_entry(target: str, result: PairResult, about: About, extra: Dict[str, Any]) -> Entry:
    """Figures, table row and curves of one target; `extra` joins the figures (bootstrap interval, McNemar)."""
    value, source = PAIRS.get(target, (None, ""))
    row = Row(f"{target} accuracy", 100 * result.accuracy, value, source)
    return Entry({**result.figures(), **extra}, about, [row], roc_curves(result) + angle_curves(result))


def roc_curves(result: PairResult) -> List[Curve]:
    """TAR over FAR, each axis 0..1, FAR logarithmic; none where one class is missing."""
    if np.isnan(result.auc):
        return []
    curve = roc(-result.distances, result.same)
    return [Curve("roc", f"AUC {result.auc:.5f}", curve.far, curve.tar, "FAR", "TAR", log_x=True, kind="steps")]


def angle_curves(result: PairResult) -> List[Curve]:
    """Histograms of the angle (degrees) between the two images of genuine and of impostor pairs."""
    edges = np.arange(0, 181, ANGLE_STEP_DEGREES, dtype=float)
    angles = angles_of(result.distances)
    return [Curve("angles", f"{name} ({len(chosen)})", edges, np.append(np.histogram(chosen, edges)[0], 0),
                  "angle between the two images, degrees", "pairs", kind="bars")
            for name, chosen in (("genuine", angles[result.same]), ("impostor", angles[~result.same])) if len(chosen)]


if __name__ == "__main__":
    run_command(main)
