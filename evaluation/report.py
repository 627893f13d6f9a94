"""A model's results as one self-contained HTML page and as Markdown: our figures, the paper's, their origin."""
import sys
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from arcface_mxnet.evaluation.command import parser
from arcface_mxnet.evaluation.report_page import code, folded, page, pairs, pictures, table
from arcface_mxnet.evaluation.results import Row, amount, markdown_table, read_results
from arcface_mxnet.runtime.errors import InputError, run_command
from arcface_mxnet.runtime.files import atomic_open

HASH_DIGITS = 12
LONGEST_LIST = 12


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
                rows = tuple(Row(**row) for row in about.pop("rows"))
                shown = tuple(place / name for name in about.pop("pictures"))
            except (KeyError, TypeError):
                raise InputError(f"{folder}: target {target} lacks rows or pictures; "
                                 "evaluate again with --out") from None
            missing = [path.name for path in shown if not path.is_file()]
            if missing:
                raise InputError(f"{place}: {missing[0]} is missing beside result.json; evaluate again with --out")
            sections.append(Section(target, entry, about, rows, shown))
    return sections


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
    parts = [f"# {title}\n", markdown_table([row for section in sections for row in section.rows])]
    for section in sections:
        parts.append(f"## {section.title}\n\n{section.about['protocol']}\n")
        parts.append("\n".join(f"- {name}: `{value}`" for name, value in _provenance(section)) + "\n")
        parts.append("\n".join(f"- {name}: {value}" for name, value in flatten(section.figures)) + "\n")
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


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Make a report of result folders."""
    flags = parser("One HTML page and one Markdown file from folders written by the evaluation commands.",
                   "python evaluation/report.py --results results/pairs results/ytf --title y1 --out results/report")
    flags.add_argument("--results", required=True, nargs="+", metavar="DIR", help="folders that hold a result.json")
    flags.add_argument("--title", default="Evaluation", help="title of the page")
    flags.add_argument("--out", required=True, metavar="DIR", help="folder for report.html and report.md")
    options = flags.parse_args(argv)
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


if __name__ == "__main__":
    run_command(main)
