"""Is a run on the published course? Our run beside the published one that is most like it, aligned by images seen.

Exit status: 0 on the published course or above it on every verification set, 1 below it on one of them, 2 bad input,
3 nothing to compare yet. The last three validations of a set decide, by majority.
"""
import math
import sys
from dataclasses import dataclass, field
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from arcface_mxnet.logs.catalogue import PublishedRun, names, published_run
from arcface_mxnet.logs.parse import Run, add_run_flag, load
from arcface_mxnet.logs.recipe import Recipe, differences, distance, recipe
from arcface_mxnet.runtime.arguments import Parser
from arcface_mxnet.runtime.errors import notice, run_command
from arcface_mxnet.runtime.files import PathLike, write_json

import numpy as np
import pandas as pd

# The arithmetic of comparing two training courses: arrays in, numbers out. Courses are aligned by images seen.


FOLDS = 10  # a validation accuracy is the mean over the folds of the 10-fold protocol
NEIGHBOURS = 2  # validations to either side that say how much a course moves by itself
RECENT = 5  # validations that a forecast is made from
BELOW, INSIDE, ABOVE = "below", "inside", "above"


class Band(NamedTuple):
    """A published course at given places: its value there, and the range it moves in; NaN before it begins."""

    expected: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Forecast(NamedTuple):
    """An expected final accuracy with the lowest and highest that the recent validations give by themselves."""

    final: float
    low: float
    high: float


def band(images: np.ndarray, accuracy: np.ndarray, std: np.ndarray, at: np.ndarray) -> Band:
    """The published course where another run has seen `at` images.

    images, accuracy, std: (n,) rising images seen, accuracies and their deviations over the folds. at: (m,).
    expected: (m,) linear between neighbouring validations, the last one after the end, NaN before the first.
    low, high: (m,) the smallest and largest accuracy among the validations around it (NEIGHBOURS to either side),
    widened by one standard error of the mean over the folds, std / sqrt(10).
    """
    images, accuracy, at = (np.asarray(values, dtype=float) for values in (images, accuracy, at))
    error = np.nan_to_num(np.asarray(std, dtype=float)) / np.sqrt(FOLDS)
    expected = np.interp(at, images, accuracy, left=np.nan)
    after = np.searchsorted(images, at)  # the first validation at or past the place
    low, high = np.full(len(at), np.nan), np.full(len(at), np.nan)
    for index in np.flatnonzero(~np.isnan(expected)):
        first = min(after[index] - NEIGHBOURS, len(images) - NEIGHBOURS - 1)
        around = slice(max(first, 0), after[index] + NEIGHBOURS)
        low[index] = (accuracy[around] - error[around]).min()
        high[index] = (accuracy[around] + error[around]).max()
    return Band(expected, low, high)


def standing(value: float, low: float, high: float) -> str:
    """Where a value is against a band: "below", "inside" or "above"; "" where there is no band."""
    if np.isnan(low) or np.isnan(value):
        return ""
    return BELOW if value < low else ABOVE if value > high else INSIDE


def forecast(ours: np.ndarray, expected: np.ndarray, final: float, same_rate: Optional[np.ndarray] = None,
             pairs: int = 6000) -> Forecast:
    """Expected final accuracy of a run that keeps its distance to a published course.

    ours, expected: (n,) accuracies of our validations and of the published course at the same images, NaN where there
    is none; `final` the published final accuracy; same_rate: (n,) whether both were at the same rate (relative to
    their first), which are preferred where there are any; `pairs` bounds how near to 1 an accuracy of that many pairs
    can be told from it. The distance is the median, over the last RECENT validations, of the difference of log-odds:
    half the errors stay half the errors. All NaN where nothing can be compared.
    """
    both = ~(np.isnan(ours) | np.isnan(expected))
    if same_rate is not None and (both & same_rate).any():
        both &= same_rate
    gaps = (_log_odds(ours[both], pairs) - _log_odds(expected[both], pairs))[-RECENT:]
    if not len(gaps):
        return Forecast(float("nan"), float("nan"), float("nan"))
    end = _log_odds(np.array([final]), pairs)[0]
    return Forecast(*(float(1 / (1 + np.exp(-(end + gap)))) for gap in (np.median(gaps), gaps.min(), gaps.max())))


def final_accuracy(accuracy: np.ndarray) -> float:
    """What a finished course ended with: the median of its last three validations."""
    known = np.asarray(accuracy, dtype=float)
    return float(np.median(known[~np.isnan(known)][-3:]))


def _log_odds(accuracy: np.ndarray, pairs: int) -> np.ndarray:
    half = 0.5 / pairs
    kept = np.clip(accuracy, half, 1 - half)
    return np.log(kept / (1 - kept))


def aligned(images: np.ndarray, values: np.ndarray, at: np.ndarray, width: float) -> Tuple[np.ndarray, np.ndarray]:
    """Means of a dense course (say, train accuracy) over the `width` images before each place, and how many they are.

    images, values: (n,) with images rising; at: (m,). Returns means (m,), NaN where no value lies in the range, and
    counts (m,).
    """
    known = ~np.isnan(values)
    images, sums = images[known], np.concatenate([[0.0], np.cumsum(values[known])])
    stop, start = np.searchsorted(images, at, "right"), np.searchsorted(images, at - width, "right")
    counts = stop - start
    means = np.full(len(at), np.nan)
    np.divide(sums[stop] - sums[start], counts, out=means, where=counts > 0)
    return means, counts


ON_COURSE, BELOW_COURSE, NOTHING_TO_COMPARE = 0, 1, 3
SHOWN = 5
JUDGED = 3  # validations that decide where a run stands; a single one moves by chance
WINDOW_IMAGES = 200_000  # train accuracy is averaged over as many images
DRAWN_DATA = "demo"


@dataclass(frozen=True)
class Comparison:
    """A run against a published one.

    rows: a table with step, images, target, ours, expected, low, high, standing ("below", "inside", "above", or ""
    where the published course does not reach). forecasts: expected final accuracy of each set, by name. differing: a
    sentence for each setting in which they differ; notes: what else must be known to read the numbers.
    """

    source: str
    published: str
    rows: pd.DataFrame
    forecasts: Dict[str, Forecast]
    finals: Dict[str, float]
    speed: float
    published_speed: float
    train_accuracy: "tuple[float, float]"
    differing: List[str]
    notes: List[str] = field(default_factory=list)

    @property
    def standings(self) -> Dict[str, str]:
        """Where each set stands: the majority of its last JUDGED comparable validations, without one the last."""
        compared = self.rows[self.rows["standing"] != ""]
        return {str(target): _prevailing(rows["standing"].tolist()[-JUDGED:])
                for target, rows in compared.groupby("target", sort=False)}

    @property
    def status(self) -> int:
        """The exit status."""
        if not self.standings:
            return NOTHING_TO_COMPARE
        return BELOW_COURSE if BELOW in self.standings.values() else ON_COURSE

    def as_json(self) -> Dict[str, Any]:
        """Everything as plain values; numbers that are not known are null."""
        rows = self.rows.astype(object).where(self.rows.notna(), None).to_dict("records")
        forecasts = {target: {"published_final": self.finals[target], **values._asdict()}
                     for target, values in self.forecasts.items() if not math.isnan(values.final)}
        return {"run": self.source, "published": self.published, "status": self.status, "standings": self.standings,
                "forecasts": forecasts, "speed_ratio": _known(self.speed / self.published_speed),
                "train_accuracy": [_known(value) for value in self.train_accuracy], "differences": self.differing,
                "notes": self.notes, "validations": rows}


def closest(ours: Recipe) -> PublishedRun:
    """The published run with the same network, loss and data, or the most alike."""
    return min((published_run(name) for name in names()), key=lambda other: distance(ours, other.recipe))


def compare(run: Run, other: PublishedRun) -> Comparison:
    """Set `run` beside `other`."""
    mine = recipe(run)
    shared = [target for target in run.targets if target in other.run.targets]
    tables = [_rows(run, other.run, target) for target in shared]
    columns = ["step", "images", "target", "ours", "expected", "low", "high", "same_rate", "standing"]
    rows = pd.concat(tables).sort_values("step", kind="stable") if tables else pd.DataFrame(columns=columns)
    finals = {target: final_accuracy(other.run.table[f"{target}_accuracy"].to_numpy()) for target in shared}
    forecasts = {target: forecast(table["ours"].to_numpy(), table["expected"].to_numpy(), finals[target],
                                         table["same_rate"].to_numpy(dtype=bool), _pairs(other, target))
                 for target, table in zip(shared, tables)}
    return Comparison(run.source, other.name, rows.reset_index(drop=True), forecasts, finals, run.median_speed,
                      other.run.median_speed, _train_accuracy(run, other.run), differences(mine, other.recipe),
                      _notes(run, mine, other, shared))


def report(comparison: Comparison, shown: int = SHOWN) -> str:
    """The comparison in words and one table; of the validations the last `shown` steps."""
    parts = [f"{comparison.source} beside the published run {comparison.published}", *comparison.notes,
             *_validation_lines(comparison.rows, shown), *_standing_lines(comparison)]
    mine, theirs = comparison.train_accuracy
    if not math.isnan(mine + theirs):
        parts.append(f"Train accuracy under the margin: {mine:.4f}, the published one at as many images {theirs:.4f}.")
    ratio = comparison.speed / comparison.published_speed
    parts.append(f"Throughput: {comparison.speed:,.1f} images/s, {ratio:.3g} times the published "
                 f"{comparison.published_speed:,.1f} (medians).")
    parts += ["Settings that differ:", *(f"  {sentence}" for sentence in comparison.differing)] \
        if comparison.differing else ["No setting that both runs record differs."]
    return "\n".join(parts)


def _rows(run: Run, other: Run, target: str) -> pd.DataFrame:
    name = f"{target}_accuracy"
    mine, theirs = run.validations.dropna(subset=[name]), other.validations.dropna(subset=[name])
    at = mine["images"].to_numpy(dtype=float)
    corridor = band(theirs["images"].to_numpy(), theirs[name].to_numpy(), theirs[f"{target}_std"].to_numpy(), at)
    rate = theirs["lr"].to_numpy()[np.searchsorted(theirs["images"].to_numpy(), at).clip(max=len(theirs) - 1)]
    same = np.isclose(mine["lr"] / run.table["lr"].iloc[0], rate / other.table["lr"].iloc[0], rtol=0.01)
    values = mine[name].to_numpy(dtype=float)
    standings = [standing(*three) for three in zip(values, corridor.low, corridor.high)]
    return pd.DataFrame({"step": mine["step"].to_numpy(), "images": at, "target": target, "ours": values,
                         "expected": corridor.expected, "low": corridor.low, "high": corridor.high, "same_rate": same,
                         "standing": standings})


def _train_accuracy(run: Run, other: Run) -> "tuple[float, float]":
    windows = run.windows.dropna(subset=["images"])
    if windows.empty:
        return float("nan"), float("nan")
    end = windows["images"].to_numpy()[-1:]
    mine, theirs = (aligned(table["images"].to_numpy(), table["acc"].to_numpy(), end, WINDOW_IMAGES)[0][0]
                    for table in (windows, other.windows))
    return float(mine), float(theirs)


def _pairs(other: PublishedRun, target: str) -> int:
    return int(other.entry["facts"].get("packs", {}).get(target, 6000))


def _notes(run: Run, mine: Recipe, other: PublishedRun, shared: Sequence[str]) -> List[str]:
    notes = [f"Published: {other.title}; {other.entry['origin']}."]
    if other.released_step:
        notes.append(f"Its step {other.released_step:,} became the released model.")
    if mine.dataset == DRAWN_DATA:
        notes.append("This run is on the built-in drawn faces: its verification sets share names with the published "
                     "ones, not images, so accuracies say nothing about each other.")
    if run.validations.empty:
        notes.append("The run has no validation yet.")
    elif run.table["images"].isna().all():
        notes.append("The log does not say the batch size, so nothing can be aligned by images seen.")
    elif not shared:
        notes.append(f"No verification set in common: here {', '.join(run.targets)}, published "
                     f"{', '.join(other.run.targets)}.")
    else:
        notes += _reach(run, other)
    broken = run.windows.loc[run.windows["loss"].isin([np.inf]) | run.windows["acc"].isna(), "step"]
    if len(broken) and run.windows["acc"].notna().any():
        notes.append(f"From step {int(broken.iloc[0]):,} on, loss or accuracy is not a finite number.")
    return notes


def _reach(run: Run, other: PublishedRun) -> List[str]:
    seen, last = run.table["images"].iloc[-1], other.run.table["images"].iloc[-1]
    first = other.run.validations["images"].iloc[0]
    if seen < first:
        return [f"It has seen {seen:,.0f} images; the published run validated first after {first:,.0f}."]
    if seen > last:
        return [f"It has seen {seen:,.0f} images, more than the published {last:,.0f}: from there on it is held "
                "against the published end."]
    return []


def _validation_lines(rows: pd.DataFrame, shown: int) -> List[str]:
    if rows.empty:
        return []
    steps = rows["step"].unique()
    lines = [f"{'step':>9}{'images':>14}  {'set':<10}{'ours':>8}{'published':>11}{'range':>18}  standing"]
    for row in rows[rows["step"].isin(steps[-shown:])].itertuples():
        reached = bool(row.standing)
        expected = f"{row.expected:>11.4f}{f'{row.low:.4f} to {row.high:.4f}':>18}" if reached else " " * 29
        rate = "" if row.same_rate or not reached else " (another rate)"
        lines.append(f"{row.step:>9,}{row.images:>14,.0f}  {row.target:<10}{row.ours:>8.4f}{expected}  "
                     f"{row.standing or 'not comparable'}{rate}")
    earlier = len(steps) - min(shown, len(steps))
    return lines + ([f"({earlier} earlier validations not shown)"] if earlier else [])


def _standing_lines(comparison: Comparison) -> List[str]:
    told = []
    for target, where in comparison.standings.items():
        final, low, high = comparison.forecasts[target]
        told.append(f"{target}: {where} the published course; if it goes on like that it ends at {final:.4f} "
                    f"({low:.4f} to {high:.4f}), the published run ended at {comparison.finals[target]:.4f}.")
    return told


def _prevailing(standings: List[str]) -> str:
    best = max(standings.count(where) for where in standings)
    return next(where for where in reversed(standings) if standings.count(where) == best)


def _known(value: float) -> Optional[float]:
    return float(value) if math.isfinite(value) else None


def against(path: PathLike, name: Optional[str] = None, number: Optional[int] = None) -> Comparison:
    """The run at `path` (a run directory or a log, of several runs number `number`) beside the published run `name`.

    Without a name it is the published run that is most like it.
    """
    run = load(path, number)
    if run.others:
        notice(run.others)
    return compare(run, published_run(name) if name else closest(recipe(run)))


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(
        description=__doc__,
        epilog=f"example:\n  python logs/compare.py runs/y1-arcface-emore --with y1\n\npublished: {', '.join(names())}")
    parser.add_argument("run", help="a run directory, a training log, or a metrics.jsonl")
    parser.add_argument("--with", dest="name", metavar="NAME", help="the published run (default: the closest)")
    parser.add_argument("--last", type=int, default=SHOWN, metavar="N", help=f"validations to show (default {SHOWN})")
    parser.add_argument("--out", metavar="FILE", help="write everything as JSON here")
    add_run_flag(parser)
    return parser


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Compare a run with a published one."""
    arguments = build_parser().parse_args(argv)
    comparison = against(arguments.run, arguments.name, arguments.number)
    sys.stdout.write(report(comparison, arguments.last) + "\n")
    if arguments.out:
        write_json(arguments.out, comparison.as_json())
    return comparison.status


if __name__ == "__main__":
    run_command(main)
