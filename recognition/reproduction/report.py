"""docs/reproduction.md from what lies in the results folder: nothing on it is typed in."""
import re
import statistics
from pathlib import Path
from typing import Any, List, Mapping, Sequence, Tuple

from arcface_mxnet.recognition.reproduction.demo_data import Size
from arcface_mxnet.recognition.reproduction.findings import NOT_RUN, Tables, Verdict, read_tables, summary, verdicts
from arcface_mxnet.runtime.files import PathLike, atomic_open
from arcface_mxnet.runtime.text import read_json

HEADING = """# The paper again

This page is written by `python recognition/reproduce.py page` from the results beside it (`{folder}/*.json`); every
figure and table names what produced it. One of them again: `python recognition/reproduce.py table2`; all:
`python recognition/reproduce.py all`. At paper scale: `--scale paper --data DIR`, which says first what it needs: files
(here or missing), disk, and hours of training, estimated from published speeds or with `--measure` from steps on your
devices. `--dry-run` says it, checks the files and trains nothing. `--engine torch --gpus 0,1,2,3` trains each run by
torchrun on four GPUs. Results from another number of drawn people (`--identities 2000`) have a folder and a section of
their own.

At demo scale every run is a small network on drawn faces of nobody, and every benchmark a stand-in of the paper's: the
figures show how the methods stand to one another here, not how well they do on photographs. The paper's own numbers are
in `evaluation/paper.json`. What a model does on photographs of LFW:
`python recognition/reproduce.py photographs --model PREFIX,EPOCH --data DIR`.
"""


PHOTOGRAPHS = "photographs"
"""The result that has a section of its own."""


def _order(path: Path) -> Any:
    kind, number, rest = re.fullmatch(r"([a-z]+)(\d*)(.*)", path.stem).groups()  # type: ignore[union-attr]
    return kind == "fig", int(number or 99), rest


def _figures(value: Any, depth: int = 0) -> List[str]:
    """Nested figures as indented lines."""
    if not isinstance(value, dict):
        return []
    lines = []
    for key, item in value.items():
        if isinstance(item, dict):
            lines += [f"{'  ' * depth}- {key}:", *_figures(item, depth + 1)]
        elif not (isinstance(item, list) and item and isinstance(item[0], dict)):
            shown = f"{item:.4g}" if isinstance(item, float) else str(item)
            lines.append(f"{'  ' * depth}- {key}: {shown}")
        else:
            lines += [f"{'  ' * depth}- {key}:"]
            lines += [f"{'  ' * (depth + 1)}- " + ", ".join(f"{name} {number:.4g}" for name, number in point.items())
                      for point in item]
    return lines


def _made(document: Mapping[str, Any]) -> str:
    """Training sets with their hashes, the commits and the time of the runs, where a result names them."""
    source = document.get("made_from", {})
    data = source.get("data", {})
    sets = [f"{name} {digest}" for name, digest in data.items()] if isinstance(data, dict) else [str(data)]
    commits = sorted({commit[:12] for commit in source.get("runs", {}).values()})
    return ((f"; data {', '.join(sets)}" if sets else "") + (f"; runs of {', '.join(commits)}" if commits else "")
            + _took(list(source.get("seconds", {}).values()), source.get("processors", [])))


def _took(seconds: Sequence[float], processors: Sequence[str]) -> str:
    if not seconds:
        return ""
    count = f"{len(seconds)} run{'' if len(seconds) == 1 else 's'}"
    return (f"; {count}, a median of {statistics.median(seconds):.0f} s of training each, {sum(seconds) / 60:.0f} min "
            "in all" + (f", on {' and '.join(processors)}" if processors else ""))


def _section(folder: Path, place: Path) -> List[str]:
    """A result below `folder` as the page shows it, beside which the folder lies."""
    document = read_json(place)
    made = document.get("provenance", {})
    foot = f"*commit {made.get('commit', 'unknown')[:12]}, `{made.get('command', '')}`{_made(document)}*"
    table = place.with_suffix(".md")
    beside = place.parent.relative_to(folder.parent).as_posix()
    pictures = [f"![{document['name']}]({beside}/{name})" for name in document.get("files", ())
                if name.endswith(".png")]
    if table.exists():
        return [table.read_text(encoding="utf-8"), *[line for picture in pictures for line in (picture, "")], foot, ""]
    return [f"### {document['name']}", "", *pictures, "", document["protocol"], "", *_figures(document["figures"]), "",
            foot, ""]


def _other_sizes(folder: Path) -> List[Tuple[Size, Path]]:
    """The folders of results from training sets of other sizes, small ones first."""
    named = [(re.fullmatch(r"(\d+)x(\d+)", path.name), path) for path in folder.glob("*x*") if path.is_dir()]
    return sorted((Size(int(match[1]), int(match[2])), path) for match, path in named if match)


def _statements_again(size: Size, before: Sequence[Verdict], tables: Tables) -> List[str]:
    """The verdicts of the tables of another size, and how many are as they were `before`, statement by statement."""
    found = verdicts(tables)
    both = [(one.verdict, other.verdict) for one, other in zip(before, found)
            if NOT_RUN not in (one.verdict, other.verdict)]
    alike = sum(one == other for one, other in both)
    return [f"## The statements again: {size}", "",
            f"Of the {len(both)} statements that have figures of both sizes, {alike} have the same verdict.", "",
            *summary([one for one in found if one.verdict != NOT_RUN], tables), ""]


def write_page(results: PathLike, page: PathLike) -> Path:
    """Write the page of all results in a folder (tables first, in the paper's order); returns its path."""
    folder, target = Path(results), Path(page)
    places = sorted(folder.glob("*.json"), key=_order)
    tables, others = read_tables(folder), _other_sizes(folder)
    found = verdicts(tables)
    lines = [HEADING.format(folder=folder.name), "## The paper's statements", "", *summary(found, tables), ""]
    for size, other in others:
        lines += _statements_again(size, found, read_tables(other))
    for place in places:
        if place.stem == PHOTOGRAPHS:
            lines += _section(folder, place)
    lines += ["## Tables and figures", ""]
    for place in places:
        if place.stem != PHOTOGRAPHS:
            lines += _section(folder, place)
    for size, other in others:
        lines += [f"## Tables and figures: {size}", ""]
        for place in sorted(other.glob("*.json"), key=_order):
            lines += _section(folder, place)
    with atomic_open(target, "w") as stream:
        stream.write("\n".join(lines))
    return target
