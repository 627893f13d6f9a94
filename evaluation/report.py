"""A model's results as one self-contained HTML page and as Markdown: our figures, the paper's, their origin."""
import sys
from dataclasses import dataclass
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
    columns,
    markdown,
    markdown_code,
    markdown_table,
    read_results,
)
from arcface_mxnet.runtime import pages
from arcface_mxnet.runtime.arguments import Parser
from arcface_mxnet.runtime.errors import InputError, run_command
from arcface_mxnet.runtime.files import atomic_open
from arcface_mxnet.runtime.locks import claimed
from arcface_mxnet.runtime.reading import inside, shown

import numpy as np

HASH_DIGITS = 12
LONGEST_LIST = 12
_NUMBERS = ("ours", "95 % interval", "paper", "difference")
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
    between = () if row.interval is None else row.interval
    numbers = [value for value in (row.ours, row.paper, *between) if value is not None]
    if len(between) not in (0, 2) or None in between:
        raise TypeError
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
    rows = [{"figure": row.what, **row.cells(), "protocol": section.about["protocol"],
             "data": _short(section.about["data"]), "model": _short(section.about["model"])}
            for section in sections for row in section.rows]
    names = ["figure", *columns([row for section in sections for row in section.rows]), "protocol", "data", "model"]
    return pages.render(
        "report.html", title=title, rows=rows,
        columns=[{"name": name, "number": name in _NUMBERS} for name in names],
        sections=[{"title": section.title, "anchor": _anchor(section), "protocol": section.about["protocol"],
                   "pictures": [_shown(section, path) for path in section.pictures],
                   "figures": flatten(section.figures), "provenance": _provenance(section)} for section in sections])


def _shown(section: Section, path: Path) -> Dict[str, str]:
    """A picture inside the page; its text says what is drawn, with the figures of the table."""
    figures = "; ".join(f"{row.what} {row.cells()['ours']}" for row in section.rows)
    return {"url": pages.data_url(read_image(path), "image/png"),
            "alt": f"{path.stem.replace('_', ' ')}{': ' if figures else ''}{figures}"}


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
    pages = {"report.html": html_report(options.title, sections), "report.md": markdown_report(options.title, sections)}
    with claimed(options.out):
        for name, text in pages.items():
            with atomic_open(Path(options.out) / name, "w") as stream:
                stream.write(text)
            sys.stdout.write(f"{Path(options.out) / name}\n")


def _provenance(section: Section) -> List[Tuple[str, str]]:
    known: List[Tuple[str, str]] = []
    for kind in ("model", "data"):
        known += [(f"{kind} {name}", digest) for name, digest in section.about[kind].items()]
    return known + [(name, _text(value)) for name, value in section.about.get("notes", {}).items()]


def _short(hashes: Mapping[str, str]) -> List[str]:
    """The first digits of up to three hashes."""
    found = [digest[:HASH_DIGITS] for digest in hashes.values() if digest]
    return found[:3] + (["..."] if len(found) > 3 else [])


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


# A pair result as an entry of result.json: the row beside the paper's, the ROC and the histogram of angles.


ANGLE_STEP_DEGREES = 2


def pair_entry(target: str, result: PairResult, about: About, extra: Mapping[str, Any], published: bool) -> Entry:
    """Figures, table row and curves of one target; `extra` joins the figures (bootstrap interval, McNemar).

    The paper's figure stands beside ours only where the pairs are the `published` ones.
    """
    value, source = PAIRS.get(target, (None, "")) if published else (None, "")
    low_high = extra.get("interval_95")
    interval = None if low_high is None else [100 * float(bound) for bound in low_high]
    row = Row(f"{target} accuracy", 100 * result.accuracy, value, source, interval=interval)
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
