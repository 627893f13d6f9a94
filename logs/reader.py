"""The lines of a training log, taken one after the other; what they add up to is in `arcface_mxnet.logs.parse`."""
import re
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from arcface_mxnet.logs import foreign
from arcface_mxnet.logs import format as lines
from arcface_mxnet.logs.line import Line

import numpy as np
import pandas as pd

STAMP = re.compile(r"\[?\d{4}[-/]\d\d[-/]\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d+)?\]?(?: -|:)?[ \t]{0,2}")
# Lines that say nothing about the run: a person's comment, Python's warnings with their source line, MXNet's own notes.
REMARK = re.compile(r"\s*$|\s*#|\S+\.py:\d+: \w*Warning: |\[\d\d:\d\d:\d\d\] \S+\.(?:cc|h|cu):\d+: ")
WARNING = re.compile(r"\S+\.py:\d+: \w*Warning: ")
LR_PRINT_INTERVAL = 1000

# The commonest kinds first: most lines are understood at the first or second try.
ORDER = (lines.testing_verification, lines.embedding_shape, lines.infer_time, lines.xnorm, lines.accuracy_flip,
         lines.lr_batch_epoch, lines.accuracy_highest, foreign.iter_batch, foreign.partial_fc)
PATTERNS: Tuple[Line, ...] = ORDER + tuple(line for line in lines.LINES + foreign.LINES if line not in ORDER)
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

    def read(self, text: str) -> None:
        """Read the whole text of a log."""
        window = lines.epoch_batch.pattern.match
        for number, row in enumerate(text.split("\n"), 1):
            row = row.rstrip("\r")
            if "\r" in row:
                row = row.rsplit("\r", 1)[-1]  # a progress bar before the line
            stamp = STAMP.match(row) if row[:1] in "[12" else None
            if stamp:
                row = row[stamp.end():]
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
        if self.windows:
            self.cuts.append((len(self.windows), 0))  # another run in the same file, unless it says that it resumes
            self.rate_lines = 0

    def _resuming(self, values: Dict[str, Any]) -> None:
        if self.cuts and self.cuts[-1] == (len(self.windows), 0):
            self.cuts.pop()
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
