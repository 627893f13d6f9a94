"""The look of a report: one HTML page that needs nothing beside itself, readable from a phone's width up."""
import base64
from html import escape
from pathlib import Path
from typing import List, Sequence, Tuple

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
        data = base64.b64encode(path.read_bytes()).decode("ascii")
        images.append(f"<img alt=\"{escape(path.stem)}\" src=\"data:image/png;base64,{data}\">")
    return f"<div class=\"pictures\">{''.join(images)}</div>" if images else ""


def folded(summary: str, content: str) -> str:
    """Content behind a line that opens it."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def code(text: str) -> str:
    """Short machine text."""
    return f"<code>{escape(text)}</code>"
