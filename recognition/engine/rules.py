"""When a published checkpoint is written and what it is called (facts, 4.5)."""
import dataclasses
from dataclasses import dataclass
from typing import NamedTuple, Optional, Sequence

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
