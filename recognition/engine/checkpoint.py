"""A run directory holds everything: settings, log, metrics, and checkpoints that a kill cannot spoil.

    settings.json                     the resolved Settings, and what was trained on
    train.log, metrics.jsonl          logs/writer.py
    last/last.json, last/<...>.params all that goes on from here: parameters, momentum, states, position
    best/model-*                      published form, highest mean accuracy so far, best.json with the figures
    model-symbol.json, model-NNNN.params  published form, by the checkpoint rule
"""
import contextlib
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Mapping, NamedTuple, Optional, Sequence, Tuple

from arcface_mxnet.graph.checkpoint import Checkpoint, save
from arcface_mxnet.graph.params_file import read_arrays, write_arrays
from arcface_mxnet.recognition.networks import build
from arcface_mxnet.recognition.settings import Settings
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import atomic_path, sha256, write_json
from arcface_mxnet.runtime.locks import claimed
from arcface_mxnet.runtime.text import read_json

import numpy as np

# When a published checkpoint is written and what it is called (docs/original.md, section 4.5).


NEVER, IMPROVED, ALWAYS, IMPROVED_ONE_FILE = range(4)


@dataclass(frozen=True)
class Record:
    """What the rule remembers from one validation to the next."""

    validations: int = 0
    best_last: float = 0.0
    best_sum: float = 0.0
    best_mean: float = -1.0


class Decision(NamedTuple):
    """The next record; the number to save under, or None; whether the mean over all sets is a new best."""

    record: Record
    save_as: Optional[int]
    best: bool


def decide(rule: int, record: Record, accuracies: Sequence[float]) -> Decision:
    """Apply a rule to the accuracies of one validation, in the order of the verification sets.

    The original looks at the last set only: above its best, save; equal to it, save when the sum of all is at least
    the best sum seen at a tie (which only ties update). Rule 0 never saves, 1 saves when that holds under the running
    number of the validation, 2 always saves, 3 when it holds, always under 1. `best` is ours: a higher mean over all
    sets. Without a verification set only rule 2 saves.
    """
    count = record.validations + 1
    record = dataclasses.replace(record, validations=count)
    if not accuracies:
        return Decision(record, count if rule == ALWAYS else None, False)
    last, total = accuracies[-1], sum(accuracies)
    improved = last > record.best_last
    if last == record.best_last and total >= record.best_sum:
        improved, record = True, dataclasses.replace(record, best_sum=total)
    record = dataclasses.replace(record, best_last=max(last, record.best_last))
    mean = total / len(accuracies)
    best = mean > record.best_mean
    record = dataclasses.replace(record, best_mean=max(mean, record.best_mean))
    number = {NEVER: None, IMPROVED: count if improved else None, ALWAYS: count,
              IMPROVED_ONE_FILE: 1 if improved else None}[rule]
    return Decision(record, number, best)


SETTINGS, LOG, METRICS, LAST = "settings.json", "train.log", "metrics.jsonl", "last/last.json"


WindowStep = Tuple[float, int, Optional[float]]
"""Images right, images, and loss of a step whose line is not printed yet."""


@dataclass(frozen=True)
class Position:
    """How far a run is: updates done, where the next batch stands, and the steps not printed yet."""

    step: int = 0
    epoch: int = 0
    batch: int = 0
    rules: Record = Record()
    window: Tuple[WindowStep, ...] = ()


class RunDirectory:
    """Reads and writes one run directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._held = contextlib.ExitStack()

    def claim(self) -> None:
        """Hold the directory until `release` or the end of the process; InputError naming who holds it already."""
        self._held.enter_context(claimed(self.folder))

    def release(self) -> None:
        """Let others write the directory."""
        self._held.close()

    def create(self, settings: Settings, facts: Mapping[str, Any]) -> None:
        """Start a new run; raises InputError where one already stands."""
        if (self.folder / SETTINGS).exists():
            raise InputError(f"--run-dir {self.folder}: already holds a run; add --resume to continue it, "
                             "or choose another folder")
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / SETTINGS, {"settings": settings.as_json(), **facts})

    def settings(self) -> Tuple[Settings, Dict[str, Any]]:
        """The settings the run was started with, and the facts beside them."""
        path = self.folder / SETTINGS
        if not path.exists():
            raise InputError(f"--resume: {path} not found; give the --run-dir of a run that was started")
        facts = read_json(path)
        if not isinstance(facts, dict):
            raise InputError(f"{path}: not the settings of a run; restore it from a copy")
        return Settings.from_json(facts.pop("settings", {}), str(path)), facts

    def save_last(self, position: Position, arrays: Mapping[str, np.ndarray]) -> None:
        """Write a restart point; the one before it stays good until this one is whole."""
        target = self.folder / "last" / f"step-{position.step:08d}.params"
        with atomic_path(target) as temporary:
            write_arrays(temporary, arrays)
        write_json(self.folder / LAST,
                   {"arrays": target.name, "sha256": sha256(target), **dataclasses.asdict(position)})
        for older in target.parent.iterdir():  # earlier points, and what a kill in the middle of a write left
            if older.name.lstrip(".").startswith("step-") and older.name != target.name:
                older.unlink()

    def load_last(self) -> Tuple[Position, Dict[str, np.ndarray]]:
        """The restart point, or step 0 with no arrays where none was written yet; InputError if it is damaged."""
        pointer = self.folder / LAST
        if not pointer.exists():
            return Position(), {}
        stored = read_json(pointer)
        try:
            path, digest = pointer.parent / stored.pop("arrays"), stored.pop("sha256")
            position = Position(**{**stored, "rules": Record(**stored["rules"]),
                                   "window": tuple((float(right), int(images), loss if loss is None else float(loss))
                                                   for right, images, loss in stored.get("window", ()))})
            if not all(type(count) is int and count >= 0 for count in (position.step, position.epoch, position.batch)):
                raise TypeError
        except (AttributeError, KeyError, TypeError, ValueError):
            raise InputError(f"{pointer}: not a restart point; restore it from a copy, or start from a published "
                             "checkpoint with --pretrained in a new --run-dir") from None
        if not path.is_file() or sha256(path) != digest:
            raise InputError(f"{path}: missing or not the bytes that were saved; start from a published checkpoint "
                             "with --pretrained in a new --run-dir")
        return position, read_arrays(path, allow_nonfinite=True)  # its bytes are those that were saved

    def last_step(self) -> int:
        """The step of the restart point, 0 where there is none."""
        pointer = self.folder / LAST
        stored = read_json(pointer) if pointer.exists() else {"step": 0}
        if not isinstance(stored, dict) or type(stored.get("step")) is not int:
            raise InputError(f"{pointer}: not a restart point; restore it from a copy")
        return stored["step"]

    def save_published(self, checkpoint: Checkpoint, number: int) -> Path:
        """Write model-symbol.json and model-NNNN.params; returns the path of the parameters."""
        save(checkpoint, str(self.folder / "model"), number)
        return self.folder / f"model-{number:04d}.params"

    def save_best(self, checkpoint: Checkpoint, figures: Mapping[str, Any]) -> None:
        """Write the best checkpoint so far in published form, and the figures that make it so."""
        save(checkpoint, str(self.folder / "best" / "model"), 0)
        write_json(self.folder / "best" / "best.json", dict(figures))


def network_of(folder: Path) -> Tuple[Settings, Checkpoint, Optional[np.ndarray]]:
    """Settings, embedding network and class centres (C, E) of a run's last restart point."""
    run = RunDirectory(folder)
    settings, _ = run.settings()
    _, arrays = run.load_last()
    parts = {kind: {name[4:]: array for name, array in arrays.items() if name.startswith(kind)}
             for kind in ("arg:", "aux:")}
    centres = parts["arg:"].get("fc7_weight")
    symbol = build(settings.network)
    wanted = set(symbol.list_arguments())
    checkpoint = Checkpoint(symbol, {name: array for name, array in parts["arg:"].items() if name in wanted},
                            parts["aux:"])
    return settings, checkpoint, centres
