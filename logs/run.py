"""A training run as data: its settings and one tidy table over its steps."""
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import pandas as pd

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
    lines that were not understood, as (line number from 1, text).
    """

    source: str
    settings: Dict[str, Any]
    facts: Dict[str, Any]
    table: pd.DataFrame
    lines: int = 0
    unread: List[Tuple[int, str]] = field(default_factory=list)

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
