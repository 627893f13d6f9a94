"""Read a training log of any generation into one tidy table.

Understood: the original's logs of 2018 to 2021 (one batch or a range in brackets, Python 2 tuples), the same with a
time stamp before every line, its model-parallel, sub-center and partial-FC programs, our train.log and metrics.jsonl.
"""
import argparse
import json
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

from arcface_mxnet.logs.reader import LogReader, windows_frame
from arcface_mxnet.logs.run import TARGET_COLUMNS, Run, global_batch, tidy
from arcface_mxnet.runtime.errors import InputError, run_command
from arcface_mxnet.runtime.files import PathLike, atomic_open, read_json

import numpy as np
import pandas as pd


def parse(text: str, source: str = "log") -> Run:
    """Read the text of a log; `source` names it in messages."""
    reader = LogReader()
    reader.read(text)
    batch = global_batch(reader.settings, reader.facts)
    windows = windows_frame(reader, batch)
    points = {step: values for step, values in reader.points.items() if step > 0}
    facts = {key: value for key, value in reader.facts.items() if key not in ("pack_images", "rank")}
    return Run(source, reader.settings, facts, _ordered(tidy(windows, points, batch)),
               text.count("\n") + (not text.endswith("\n")), reader.unread)


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
    rows = text.splitlines()
    for number, row in enumerate(rows, 1):
        try:
            record = json.loads(row)
            kind, step = record["kind"], int(record["step"])
            if kind == "train":
                windows.append(record)
            elif kind == "validation":
                points.setdefault(step, {"images": record["images"], "epoch": record["epoch"]}).update(
                    {f"{record['target']}_{name}": record[name] for name in TARGET_COLUMNS})
            elif kind == "checkpoint" and "number" in record:
                points.setdefault(step, {})["saved"] = record["number"]
        except (ValueError, KeyError, TypeError):
            unread.append((number, row))
    names = ["step", "epoch", "images", "speed", "lr", "acc", "loss"]
    frame = pd.DataFrame(windows, columns=names).astype({name: float for name in names[2:]})
    return Run(source, {}, {}, _ordered(tidy(frame, points, None)), len(rows), unread)


def load(path: PathLike) -> Run:
    """The run at `path`: a run directory (settings.json with metrics.jsonl or train.log), a log, or a metrics.jsonl.

    Raises InputError when nothing is there or no line of it is a training log's.
    """
    place = Path(path)
    if place.is_dir():
        return _load_folder(place)
    try:
        text = place.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise InputError(f"{place}: no such log; give a folder that train.py wrote, or a log file") from None
    run = parse_metrics(text, str(place)) if place.suffix == ".jsonl" else parse(text, str(place))
    if not text.strip():
        raise InputError(f"{place}: empty; the run has printed no training line yet")
    if run.table.empty:
        raise InputError(f"{place}: not one line of a training log among its {run.lines}; is it the right file?")
    return run


def _load_folder(folder: Path) -> Run:
    metrics, log = folder / "metrics.jsonl", folder / "train.log"
    if not metrics.exists() and not log.exists():
        raise InputError(f"{folder}: neither metrics.jsonl nor train.log in it; give the --run-dir of a training run")
    printed = parse(log.read_text(encoding="utf-8", errors="replace"), str(folder)) if log.exists() else None
    run = load(metrics) if metrics.exists() else load(log)
    settings = dict(printed.settings) if printed else {}
    if (folder / "settings.json").exists():
        settings.update(read_json(folder / "settings.json"))
    facts = printed.facts if printed else {}
    return Run(str(folder), settings, facts, run.table, run.lines, run.unread)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Read a log, say what is in it, list what was not understood, and write its table."""
    parser = argparse.ArgumentParser(
        description=main.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example:\n  python logs/parse.py runs/demo --csv demo.csv")
    parser.add_argument("log", help="a run directory, a training log, or a metrics.jsonl")
    parser.add_argument("--csv", metavar="FILE", help="write the table here")
    arguments = parser.parse_args(argv)
    run = load(arguments.log)
    if arguments.csv:
        with atomic_open(arguments.csv, "w") as stream:
            run.table.to_csv(stream, index=False, lineterminator="\n")
    share = 100 * len(run.unread) / max(run.lines, 1)
    sys.stdout.write(f"{run.source}: {run.lines} lines, {len(run.unread)} not understood ({share:.3f} %)\n")
    for number, text in run.unread:
        sys.stdout.write(f"  line {number}: {text[:160]}\n")
    sys.stdout.write(f"steps {run.table['step'].iloc[0]} to {run.table['step'].iloc[-1]}, {len(run.windows)} training "
                     f"windows, {len(run.validations)} validations of {', '.join(run.targets) or 'nothing'}\n")
    return 0


if __name__ == "__main__":
    run_command(main)
