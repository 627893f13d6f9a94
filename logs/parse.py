"""Read a training log of any generation into one tidy table.

Understood: the original's logs of 2018 to 2021 (one batch or a range in brackets, Python 2 tuples), the same with a
time stamp before every line, its model-parallel, sub-center and partial-FC programs, our train.log and metrics.jsonl.
"""
import argparse
import json
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from arcface_mxnet.logs import format as lines
from arcface_mxnet.logs import original_format
from arcface_mxnet.logs.format import Line
from arcface_mxnet.logs.split_runs import Span, chosen, listed, printed, runs_of
from arcface_mxnet.runtime.arguments import Parser
from arcface_mxnet.runtime.errors import InputError, notice, run_command
from arcface_mxnet.runtime.files import PathLike, atomic_open
from arcface_mxnet.runtime.reading import escaped
from arcface_mxnet.runtime.text import HIGHEST, read_json, read_text

import numpy as np
import pandas as pd

# The lines of a training log, taken one after the other; what they add up to is in `arcface_mxnet.logs.parse`.


# Lines that say nothing about the run: a person's comment, Python's warnings with their source line, MXNet's own notes.
REMARK = re.compile(r"\s*$|\s*#|\S+\.py:\d+: \w*Warning: |\[\d\d:\d\d:\d\d\] \S+\.(?:cc|h|cu):\d+: ")
WARNING = re.compile(r"\S+\.py:\d+: \w*Warning: ")
LR_PRINT_INTERVAL = 1000

# The commonest kinds first: most lines are understood at the first or second try.
ORDER = (lines.testing_verification, lines.embedding_shape, lines.infer_time, lines.xnorm, lines.accuracy_flip,
         lines.lr_batch_epoch, lines.accuracy_highest, original_format.iter_batch, original_format.partial_fc)
PATTERNS: Tuple[Line, ...] = ORDER + tuple(line for line in lines.LINES + original_format.LINES if line not in ORDER)
# Lines whose value is a fact of the whole run: kind -> (value of the line, name of the fact).
FACTS = {"gpu_num": ("count", "gpus"), "num_classes": ("count", "num_classes"), "num_layers": ("count", "num_layers"),
         "image_count": ("count", "images_per_epoch"), "id2range": ("count", "identities"),
         "network_flops": ("flops", "flops"), "data_manifest": ("sha256", "data_manifest"),
         "lr_steps": ("steps", "lr_steps"), "stopped": ("reason", "stopped"), "prefix": ("path", "prefix"),
         "init_network": ("family", "family"), "rand_mirror": ("on", "rand_mirror"),
         "loading_recordio": ("path", "record")}

Window = Tuple[Optional[int], int, int, float, float, float]  # step if printed, epoch, batch, speed, acc, loss


class LogReader:
    """Collects what the lines say, one after the other; steps are worked out at the end."""

    def __init__(self) -> None:
        self.settings: Dict[str, Any] = {}
        self.facts: Dict[str, Any] = {}
        self.unread: List[Tuple[int, str]] = []
        self.windows: List[Window] = []
        self.rates: List[Tuple[int, float]] = []  # from this window on, this rate
        self.points: Dict[int, Dict[str, float]] = {}
        self.anchors: List[Tuple[int, int, int]] = []  # a step that is known, its epoch and batch
        self.place: Optional[Tuple[int, int]] = None  # epoch and batch of the last lr-batch-epoch line
        self.rate_lines = 0
        self.saving: Optional[int] = None
        self.step = 0  # the last step that a line named
        self.cuts: List[Tuple[int, int]] = []  # what was logged before this window and after this step is void
        self.after_warning = False
        self.handlers: Dict[str, Callable[[Dict[str, Any]], None]] = {
            line.name: getattr(self, f"_{line.name}") for line in PATTERNS if hasattr(self, f"_{line.name}")}

    def read(self, rows: Sequence[str], first: int = 1) -> None:
        """Read the rows of one run as they were printed; `first` is the number of the first one in its file."""
        window = lines.epoch_batch.pattern.match
        for number, row in enumerate(rows, first):
            match = window(row)
            try:
                if match:
                    epoch, _, last, speed, acc, loss = match.groups()
                    self.windows.append((None, int(epoch), int(last), float(speed), float(acc or "nan"),
                                         float(loss or "nan")))
                elif not self._other(row):
                    self.unread.append((number, row))
            except ValueError:  # the shape of a line, but no numbers in it
                self.unread.append((number, row))

    def _other(self, text: str) -> bool:
        """Take any line but a training window; False if nobody knows it."""
        for line in PATTERNS:
            match = line.pattern.match(text)
            if match:
                values = line.values(match.groupdict())
                fact = FACTS.get(line.name)
                if fact:
                    self.facts[fact[1]] = values[fact[0]]
                handler = self.handlers.get(line.name)
                if handler:
                    handler(values)
                return True
        continued, self.after_warning = self.after_warning, bool(WARNING.match(text))
        return bool(REMARK.match(text)) or (continued and text.startswith("  "))

    def _called_with(self, values: Dict[str, Any]) -> None:
        self.settings.update(values["settings"])

    def _resuming(self, values: Dict[str, Any]) -> None:
        step = values["step"]
        self.cuts.append((len(self.windows), step))
        self.anchors.append((step, values["epoch"], values["batch"] - 1))
        self.rate_lines = step // LR_PRINT_INTERVAL
        for late in [other for other in self.points if other > step]:
            del self.points[late]

    def _loading_pretrained(self, values: Dict[str, Any]) -> None:
        self.facts["pretrained"] = f"{values['prefix']},{values['epoch']}"

    def _header_label(self, values: Dict[str, Any]) -> None:
        self.facts.setdefault("images_per_epoch", int(values["first"]) - 1)

    def _pack_shape(self, values: Dict[str, Any]) -> None:
        self.facts["pack_images"] = values["count"]

    def _ver(self, values: Dict[str, Any]) -> None:
        if "pack_images" in self.facts:
            self.facts.setdefault("packs", {})[values["target"]] = self.facts.pop("pack_images") // 2

    def _iter_batch(self, values: Dict[str, Any]) -> None:
        self.windows.append((None, values["epoch"], values["last"], values["speed"], np.nan, np.nan))

    def _partial_fc(self, values: Dict[str, Any]) -> None:
        if self.facts.setdefault("rank", values["rank"]) == values["rank"]:
            self.windows.append((values["step"], values["epoch"], 0, values["speed"], np.nan, values["loss"]))

    def _lr_batch_epoch(self, values: Dict[str, Any]) -> None:
        self._lr_change(values)
        self.rate_lines += 1
        self.place = (values["epoch"], values["batch"])
        self.anchors.append((self.rate_lines * LR_PRINT_INTERVAL, *self.place))

    def _lr_change(self, values: Dict[str, Any]) -> None:
        self.rates.append((len(self.windows), values["lr"]))

    def _point(self, step: int, **values: float) -> None:
        self.step = step
        self.points.setdefault(step, {}).update(values)

    def _xnorm(self, values: Dict[str, Any]) -> None:
        self._point(values["step"], **{f"{values['target']}_xnorm": values["xnorm"]})

    def _accuracy_flip(self, values: Dict[str, Any]) -> None:
        target = values["target"]
        self._point(values["step"], **{f"{target}_accuracy": values["accuracy"], f"{target}_std": values["std"]})

    def _margin(self, values: Dict[str, Any]) -> None:
        self._point(values["step"], cosine=values["before"], cosine_margin=values["after"])

    def _fc7_acc(self, values: Dict[str, Any]) -> None:
        self._point(values["step"], acc=values["acc"])

    def _celoss(self, values: Dict[str, Any]) -> None:
        self._point(values["step"], loss=values["loss"])

    def _saving(self, values: Dict[str, Any]) -> None:
        self._point(self.step, saved=values["number"])


def batches_per_epoch(anchors: Sequence[Tuple[int, int, int]], images: Optional[int], batch: Optional[int],
                      longest: int) -> int:
    """Steps an epoch, from the places where a log says both the step and (epoch, batch).

    step = epoch * batches_per_epoch + batch + 1 holds at every anchor. Where no anchor lies past the first epoch, or
    they disagree, it is the size of the set divided by the batch, rounded down; without these, the longest epoch seen.
    """
    found = [(step - batch_index - 1) / epoch for step, epoch, batch_index in anchors if epoch > 0]
    if found and min(found) == max(found) and found[0].is_integer():
        return int(found[0])
    if images and batch:
        return max(images // batch, 1)
    return longest + 1


def windows_frame(reader: LogReader, batch: Optional[int]) -> pd.DataFrame:
    """The training windows with their steps and rates, without what a resumption made void."""
    columns = list(zip(*reader.windows)) or [()] * 6
    printed = np.array([np.nan if step is None else step for step in columns[0]], dtype=float)
    epoch, last = (np.array(columns[index], dtype=np.int64) for index in (1, 2))
    length = batches_per_epoch(reader.anchors, reader.facts.get("images_per_epoch"), batch, int(max(last, default=0)))
    reader.facts["batches_per_epoch"] = length
    step = np.where(np.isnan(printed), epoch * length + last + 1, printed)
    rate = np.full(len(step), np.nan)
    rate[:] = reader.settings.get("lr", np.nan)
    for place, value in reader.rates:
        rate[place:] = value
    keep = np.ones(len(step), dtype=bool)
    for place, done in reader.cuts:
        keep[:place] &= step[:place] <= done
        _restore_rate(rate, reader.rates, place, np.flatnonzero(keep[:place]))
    frame = pd.DataFrame({"step": step.astype(np.int64), "epoch": epoch, "speed": columns[3], "lr": rate,
                          "acc": columns[4], "loss": columns[5]})
    return frame[keep].astype({"speed": float, "acc": float, "loss": float})


def _restore_rate(rate: np.ndarray, rates: Sequence[Tuple[int, float]], place: int, kept: np.ndarray) -> None:
    """A resumed run goes on at the rate of its last valid window, not at that of the part that was lost."""
    following = [where for where, _ in rates if where > place] or [len(rate)]
    if len(kept) and place not in [where for where, _ in rates]:
        rate[place:following[0]] = rate[kept[-1]]


# A training run as data: its settings and one tidy table over its steps.


TRAIN_COLUMNS = ("step", "epoch", "images", "speed", "lr", "acc", "loss")
TARGET_COLUMNS = ("accuracy", "std", "xnorm")


@dataclass(frozen=True)
class Run:
    """One run, whatever its log looked like.

    `table` has one row a step that was logged, in rising order, and the columns
      step      updates done, counted from 1;   epoch  counted from 0;   images  seen so far (NaN: batch size unknown)
      speed     images per second;   lr  learning rate;   acc  fraction right under the margin;   loss  cross-entropy
      <target>_accuracy, <target>_std, <target>_xnorm   for each verification set, on the steps of its validations
      cosine, cosine_margin   mean target cosine before and after the margin (2018 logs)
      saved     number of the checkpoint written at this step
    with NaN where a line does not say. `settings` are the run's flags under the names it printed them by; `facts` what
    else its lines say (num_classes, images_per_epoch, batches_per_epoch, flops, pretrained ...). `unread` lists the
    lines that were not understood, as (line number from 1, text). `runs` are all runs of the file, `number` which of
    them this is, from 1; `lines` counts this run's.
    """

    source: str
    settings: Dict[str, Any]
    facts: Dict[str, Any]
    table: pd.DataFrame
    lines: int = 0
    unread: List[Tuple[int, str]] = field(default_factory=list)
    runs: Sequence[Span] = ()
    number: int = 1

    @property
    def others(self) -> str:
        """A sentence on the other runs of the file, empty where there is one."""
        if len(self.runs) < 2:
            return ""
        return (f"{self.source} holds {len(self.runs)} runs: {listed(self.runs)}; run {self.number} is read, "
                "--run N chooses another")

    @property
    def targets(self) -> List[str]:
        """The verification sets, in the order they were validated."""
        return [name[:-len("_accuracy")] for name in self.table.columns if name.endswith("_accuracy")]

    @property
    def validations(self) -> pd.DataFrame:
        """The rows that hold a validation."""
        columns = [f"{target}_accuracy" for target in self.targets]
        return self.table[self.table[columns].notna().any(axis=1)] if columns else self.table.iloc[:0]

    @property
    def windows(self) -> pd.DataFrame:
        """The rows that hold a training window (a Speedometer line)."""
        return self.table[self.table["speed"].notna()]

    @property
    def batch_size(self) -> Optional[int]:
        """Images a step over all devices, None when the log does not say."""
        return global_batch(self.settings, self.facts)

    @property
    def median_speed(self) -> float:
        """Median images per second over the training windows; NaN without any."""
        return float(self.windows["speed"].median())


def global_batch(settings: Dict[str, Any], facts: Dict[str, Any]) -> Optional[int]:
    """Images a step over all devices: `batch_size`, or `per_batch_size` times the number of devices."""
    if settings.get("batch_size"):
        return int(settings["batch_size"])
    if settings.get("per_batch_size"):
        return int(settings["per_batch_size"]) * max(int(facts.get("gpus") or settings.get("ctx_num") or 1), 1)
    return None


def tidy(windows: pd.DataFrame, points: Dict[int, Dict[str, float]], batch: Optional[int]) -> pd.DataFrame:
    """The table of `Run` from training windows (columns step, epoch, speed, lr, acc, loss) and values at single steps.

    `points` maps a step to further columns. A step that has both is one row. A row that has only point values lies
    inside the window that follows it and has its epoch, but the rate that led there is that of the window before.
    """
    windows = windows.drop_duplicates("step", keep="last")
    table = windows.set_index("step")
    if points:
        at_steps = pd.DataFrame.from_dict(points, orient="index")
        at_steps.index.name = "step"
        known = at_steps.columns.intersection(table.columns)
        table = table.join(at_steps.drop(columns=known), how="outer")
        for name in known:
            table[name] = table[name].combine_first(at_steps[name])
    table = table.sort_index()
    table["epoch"] = table["epoch"].bfill().ffill()
    table["lr"] = table["lr"].ffill().bfill()
    table = table.reset_index()
    if "images" not in table:
        table["images"] = table["step"] * float(batch) if batch else np.nan
    rest = [name for name in table.columns if name not in TRAIN_COLUMNS]
    return table[[*TRAIN_COLUMNS, *rest]].astype({"step": "int64"})


def parse(text: str, source: str = "log", run: Optional[int] = None) -> Run:
    """Read the text of a log; `source` names it in messages.

    Where the text holds several runs one of them is read, number `run` from 1 or the last: nothing of another is in
    its table. Raises InputError for a number that is not there.
    """
    rows = [printed(row) for row in text.split("\n")]
    if rows[-1] == "":
        rows.pop()
    runs = runs_of(rows)
    number = chosen(runs, run, source)
    span = runs[number - 1]
    reader = LogReader()
    reader.read(rows[span.first - 1:span.last], span.first)
    batch = global_batch(reader.settings, reader.facts)
    windows = windows_frame(reader, batch)
    points = {step: values for step, values in reader.points.items() if step > 0}
    facts = {key: value for key, value in reader.facts.items() if key not in ("pack_images", "rank")}
    return Run(source, reader.settings, facts, _ordered(tidy(windows, points, batch)),
               span.last - span.first + 1, reader.unread, runs, number)


def _ordered(table: pd.DataFrame) -> pd.DataFrame:
    """Columns of each verification set in the order accuracy, std, xnorm; `saved` last."""
    targets = [name.rsplit("_", 1)[0] for name in table.columns if name.endswith(("_accuracy", "_xnorm"))]
    grouped = [f"{target}_{kind}" for target in dict.fromkeys(targets) for kind in TARGET_COLUMNS]
    for name in grouped:
        if name not in table:
            table[name] = np.nan
    other = [name for name in table.columns if name not in grouped and name != "saved"]
    return table[other + grouped + ["saved"] * ("saved" in table)]


def parse_metrics(text: str, source: str = "metrics.jsonl") -> Run:
    """Read the text of a metrics.jsonl; records of a kind that is not known count as read."""
    windows: List[Dict[str, Any]] = []
    points: Dict[int, Dict[str, float]] = {}
    unread: List[Tuple[int, str]] = []
    names = ["step", "epoch", "images", "speed", "lr", "acc", "loss"]
    rows = text.splitlines()
    for number, row in enumerate(rows, 1):
        try:
            record = json.loads(row)
            kind, step = record["kind"], _whole(record["step"])
            if kind == "train":
                windows.append({name: _whole(record[name]) if name in names[:3] else
                                float("nan" if record.get(name) is None else record[name]) for name in names})
            elif kind == "validation":
                figures = {f"{record['target']}_{name}": float(record[name]) for name in TARGET_COLUMNS}
                points.setdefault(step,
                                  {"images": _whole(record["images"]),
                                   "epoch": _whole(record["epoch"])}).update(figures)
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            unread.append((number, row))
    frame = pd.DataFrame(windows, columns=names).astype({name: float for name in names[2:]})
    return Run(source, {}, {}, _ordered(tidy(frame, points, None)), len(rows), unread)


def load(path: PathLike, run: Optional[int] = None) -> Run:
    """The run at `path`: a run directory (settings.json with metrics.jsonl or train.log), a log, or a metrics.jsonl.

    A log of several runs gives number `run` (from 1), or the last. Raises InputError when nothing is there, there is
    no such run, or no line of it is a training log's.
    """
    place = Path(path)
    if place.is_dir():
        return _load_folder(place)
    text = _log_text(place)
    found = parse_metrics(text, str(place)) if place.suffix == ".jsonl" else parse(text, str(place), run)
    if not text.strip():
        raise InputError(f"{place}: empty; the run has printed no training line yet")
    if found.table.empty:
        raise InputError(f"{place}: not one line of a training log among its {found.lines}; is it the right file?")
    return found


def _whole(value: Any) -> int:
    """A count of a metrics record; raises ValueError where it is none that int64 holds."""
    if not isinstance(value, (int, float)) or not 0 <= value <= HIGHEST or value != int(value):
        raise ValueError
    return int(value)


def _log_text(path: Path) -> str:
    """The text of a log; where no line feed ends a line, carriage returns do, which else are those of progress bars."""
    text = read_text(path, "give a folder that train.py wrote, or a log file", errors="replace", newlines=False)
    return text if "\n" in text else text.replace("\r", "\n")


def _load_folder(folder: Path) -> Run:
    metrics, log = folder / "metrics.jsonl", folder / "train.log"
    if not metrics.exists() and not log.exists():
        raise InputError(f"{folder}: neither metrics.jsonl nor train.log in it; give the --run-dir of a training run")
    printed = parse(_log_text(log), str(folder)) if log.exists() else None
    run = load(metrics) if metrics.exists() else load(log)
    settings = dict(printed.settings) if printed else {}
    if (folder / "settings.json").exists():
        stored = read_json(folder / "settings.json")
        if not isinstance(stored, dict):
            raise InputError(f"{folder / 'settings.json'}: no settings of a run; restore it from a copy")
        settings.update(stored)
    facts = printed.facts if printed else {}
    return Run(str(folder), settings, facts, run.table, run.lines, run.unread)


def add_run_flag(parser: argparse.ArgumentParser) -> None:
    """--run."""
    parser.add_argument("--run", dest="number", type=int, metavar="N",
                        help="which run of a log that holds several (default: the last)")


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(
        description=main.__doc__,
        epilog="example:\n  python logs/parse.py runs/demo --csv demo.csv")
    parser.add_argument("log", help="a run directory, a training log, or a metrics.jsonl")
    parser.add_argument("--csv", metavar="FILE", help="write the table here")
    add_run_flag(parser)
    return parser


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Read a log, say what is in it, list what was not understood, and write its table."""
    arguments = build_parser().parse_args(argv)
    run = load(arguments.log, arguments.number)
    if run.others:
        notice(run.others)
    if arguments.csv:
        with atomic_open(arguments.csv, "w") as stream:
            run.table.to_csv(stream, index=False, lineterminator="\n")
    share = 100 * len(run.unread) / max(run.lines, 1)
    sys.stdout.write(f"{run.source}: {run.lines} lines, {len(run.unread)} not understood ({share:.3f} %)\n")
    for number, text in run.unread:
        sys.stdout.write(f"  line {number}: {escaped(text, 160)}\n")
    sys.stdout.write(f"steps {run.table['step'].iloc[0]} to {run.table['step'].iloc[-1]}, {len(run.windows)} training "
                     f"windows, {len(run.validations)} validations of {', '.join(run.targets) or 'nothing'}\n")
    return 0


if __name__ == "__main__":
    run_command(main)
