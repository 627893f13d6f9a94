"""What every benchmark leaves behind: result.json, a Markdown table beside the paper's figures, curves as CSV and PNG.

`result.json` maps each target (or number of distractors) to its figures; under "about" stands where they come from:
benchmark, protocol, model, data with their hashes, and the rows of the table.
"""
import csv
import math
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from arcface_mxnet.evaluation.metrics import ACCURACY_THRESHOLDS, best_thresholds, fold_histograms
from arcface_mxnet.evaluation.plots import Curve, draw_curves
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import PathLike, atomic_open, sha256, write_json
from arcface_mxnet.runtime.locks import claimed
from arcface_mxnet.runtime.text import read_json

import numpy as np

RESULT_FILE = "result.json"
TABLE_FILE = "result.md"
ZOO = "model zoo"
"""How a source begins that is a table of the model zoo, not of the paper."""
_HASH_FILES_UP_TO = 64


@dataclass(frozen=True)
class Row:
    """One line of a table beside the paper's: `ours` and `paper` in `unit` (None: not published, or on other data).

    `interval`: (low, high) of ours where one was requested. `source` says whether `paper` is the paper's or the model
    zoo's.
    """

    what: str
    ours: Optional[float]
    paper: Optional[float] = None
    source: str = ""
    unit: str = "%"
    interval: Optional[Sequence[float]] = None

    def cells(self) -> Dict[str, str]:
        """What a table says, by the names of its columns."""
        difference = "-" if self.ours is None or self.paper is None else f"{self.ours - self.paper:+.2f}"
        zoo = " (model zoo)" if self.paper is not None and self.source.startswith(ZOO) else ""
        between = "-" if self.interval is None else f"{self.interval[0]:.2f} to {self.interval[1]:.2f}"
        return {"ours": amount(self.ours, self.unit), "95 % interval": between,
                "paper": amount(self.paper, self.unit) + zoo, "difference": difference, "source": self.source or "-"}


def columns(rows: Sequence[Row]) -> List[str]:
    """The columns these rows fill: no interval where none was requested, nothing of the paper's where nothing is."""
    interval = ["95 % interval"] if any(row.interval is not None for row in rows) else []
    paper = ["paper", "difference"] if any(row.paper is not None for row in rows) else []
    return ["ours", *interval, *paper, *(["source"] if any(row.source for row in rows) else [])]


@dataclass(frozen=True)
class About:
    """Where figures come from; `data` and `model` map file names to SHA-256."""

    benchmark: str
    protocol: str
    model: Mapping[str, str]
    data: Mapping[str, str]
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """The figures of one target, its rows of the table, its curves and where it comes from."""

    figures: Mapping[str, Any]
    about: About
    rows: Sequence[Row] = ()
    curves: Sequence[Curve] = ()


def file_hashes(paths: Sequence[PathLike]) -> Dict[str, str]:
    """SHA-256 of each file by its name (with as many folders as tell files of one name apart).

    Of a long list (more than 64) only the first ones and the count.
    """
    places = list(dict.fromkeys(Path(path).absolute() for path in list(paths)[:_HASH_FILES_UP_TO]))
    known = {_shortest(place, places): sha256(place) for place in places}
    if len(paths) > _HASH_FILES_UP_TO:
        known[f"... and {len(paths) - _HASH_FILES_UP_TO} more files"] = ""
    return known


def _shortest(place: Path, places: Sequence[Path]) -> str:
    """The last parts of a path that no other of `places` ends with."""
    for length in range(1, len(place.parts)):
        tail = place.parts[-length:]
        if sum(other.parts[-length:] == tail for other in places) == 1:
            return "/".join(tail)
    return str(place)


def write_results(folder: PathLike, entries: Mapping[str, Entry]) -> Path:
    """Write result.json, result.md and, per target with curves, TARGET_FIGURE.csv and .png; returns result.json.

    result.json comes last, so that a folder that has it is complete. NaN and infinity are written as null. Raises
    InputError while another command writes there.
    """
    with claimed(folder):
        return _write_results(Path(folder), entries)


def _write_results(target_folder: Path, entries: Mapping[str, Entry]) -> Path:
    target_folder.mkdir(parents=True, exist_ok=True)
    document: Dict[str, Any] = {}
    for target, entry in entries.items():
        pictures = _write_curves(target_folder, target, entry.curves)
        about = {**asdict(entry.about), "rows": [asdict(row) for row in entry.rows], "pictures": pictures}
        document[target] = plain({**entry.figures, "about": about})
    with atomic_open(target_folder / TABLE_FILE, "w") as stream:
        stream.write(markdown_table([row for entry in entries.values() for row in entry.rows]))
    write_json(target_folder / RESULT_FILE, document)
    return target_folder / RESULT_FILE


def read_results(path: PathLike) -> Dict[str, Any]:
    """Read a result.json (or the one in a folder); raises InputError when it is none of ours."""
    source = Path(path) / RESULT_FILE if Path(path).is_dir() else Path(path)
    document = read_json(source, "give a folder written with --out")
    if not isinstance(document, dict) or not all(isinstance(entry, dict) and "about" in entry
                                                 for entry in document.values()):
        raise InputError(f"{source}: not a result of an evaluation command; give a folder written with --out")
    return document


def markdown_table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table: ours, and what `columns` adds."""
    names = columns(rows)
    lines = [f"| | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for row in rows:
        cells = row.cells()
        lines.append(f"| {' | '.join(markdown(text) for text in (row.what, *(cells[name] for name in names)))} |")
    return "\n".join(lines) + "\n"


def markdown(text: str) -> str:
    """Text as Markdown shows it literally, on one line: names and notes come from files, and may hold markup."""
    plain = " ".join(text.split())
    for sign, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        plain = plain.replace(sign, entity)
    return re.sub(r"([\\`*|\[\]])", r"\\\1", plain)


def markdown_code(text: str) -> str:
    """Text as a code span of Markdown, on one line; a backtick, which would end it, is shown as an apostrophe."""
    return "`" + " ".join(text.split()).replace("`", "'") + "`" if text.strip() else "-"


def amount(value: Optional[float], unit: str) -> str:
    """A figure with two decimals and its unit, or a dash where there is none."""
    return "-" if value is None or math.isnan(value) else f"{value:.2f} {unit}"


def plain(value: Any) -> Any:
    """The same as Python's own types, for JSON: arrays become lists, numbers that are not finite become None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _write_curves(folder: Path, target: str, curves: Sequence[Curve]) -> List[str]:
    """One CSV and one PNG per figure; returns the names of the pictures."""
    figures: Dict[str, List[Curve]] = {}
    for curve in curves:
        figures.setdefault(curve.figure, []).append(curve)
    pictures = []
    for name, group in figures.items():
        stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", f"{target}_{name}")
        with atomic_open(folder / f"{stem}.csv", "w") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(["curve", group[0].x_label, group[0].y_label])
            for curve in group:
                writer.writerows([curve.label, f"{x:.9g}", f"{y:.9g}"] for x, y in zip(curve.x, curve.y))
        draw_curves(folder / f"{stem}.png", f"{target}: {name}", group)
        pictures.append(f"{stem}.png")
    return pictures


# How sure a figure is: a bootstrap interval of the k-fold accuracy and McNemar's test between two models.


_REPLICATES_AT_ONCE = 128


@dataclass(frozen=True)
class McNemar:
    """Pairs that only one of two models decides rightly, and the exact two-sided p-value of "neither is better"."""

    only_first: int
    only_second: int
    p_value: float


def bootstrap_accuracy(distances: np.ndarray, same: np.ndarray, folds: int = 10, replicates: int = 1000,
                       level: float = 0.95, seed: int = 0) -> Tuple[float, float]:
    """Percentile interval of the k-fold accuracy when pairs are drawn again, with replacement, inside each fold.

    The whole protocol runs on every replicate, thresholds included: a pair matters only through the threshold that
    first accepts it, so that a replicate is one multinomial draw of each fold's histogram. Pairs that share a person
    are not independent; the interval is therefore a lower bound of the true spread. Raises InputError as
    `kfold_accuracy` does.
    """
    if replicates < 1 or not 0 < level < 1:
        raise InputError(f"--bootstrap {replicates}: at least 1 replicate, and a level between 0 and 1")
    genuine, impostor = fold_histograms(distances, same, folds, ACCURACY_THRESHOLDS)
    counts = np.concatenate([genuine, impostor], axis=1)
    sizes = counts.sum(axis=1)
    rng = np.random.default_rng(seed)
    means = []
    for start in range(0, replicates, _REPLICATES_AT_ONCE):
        block = min(_REPLICATES_AT_ONCE, replicates - start)
        drawn = np.stack([rng.multinomial(size, row / size, block) for size, row in zip(sizes, counts)], axis=1)
        right = best_thresholds(drawn[..., :genuine.shape[1]], drawn[..., genuine.shape[1]:])[1]
        means.append(np.mean(right / sizes, axis=1))
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mcnemar(first_correct: np.ndarray, second_correct: np.ndarray) -> McNemar:
    """McNemar's exact test on (P,) booleans: which decisions of two models on the same pairs are right.

    Under the hypothesis of equal models each pair that only one decides rightly falls to either with probability 1/2.
    """
    if first_correct.shape != second_correct.shape or first_correct.ndim != 1:
        raise InputError(f"McNemar's test needs the decisions of two models on the same pairs, "
                         f"found {first_correct.shape} and {second_correct.shape}")
    from scipy.stats import binomtest  # takes half a second to load, for two networks compared alone

    only_first = int(np.sum(first_correct & ~second_correct))
    only_second = int(np.sum(~first_correct & second_correct))
    differing = only_first + only_second
    p_value = float(binomtest(only_first, differing, 0.5).pvalue) if differing else 1.0
    return McNemar(only_first, only_second, p_value)
