"""The paper's statements as tests: what decides each, its paired difference over seeds, an interval, a verdict.

A statement is decided by the figures of our tables (`NAME.json`, one value a seed in each cell), never by a run of its
own. All runs of a seed start from the same network and see the same images in the same order, so differences are taken
seed by seed and their mean has a t interval with one degree of freedom less than there are seeds.
"""
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from arcface_mxnet.runtime.files import PathLike
from arcface_mxnet.runtime.text import read_json

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
MOST_SEEDS = 1000
HOLDS, FAILS, UNDECIDED, NOT_RUN = "holds", "does not hold", "undecided", "not run"
_PACKS = ("LFW", "CFP-FP", "AgeDB-30")

Tables = Mapping[str, Mapping[str, Any]]


class _Absent(Exception):
    """A figure that a statement needs is in no table."""


@dataclass(frozen=True)
class Statement:
    """One statement of the paper, in our words, and the figure that decides it.

    `gaps(tables)` gives one difference a seed, (seeds,), positive where the statement is right; in `unit`. With a
    `margin` the statement says that two things are alike, or one no better: it holds when the whole interval lies
    within (`both`) or above -margin.
    """

    name: str
    says: str
    where: str
    statistic: str
    unit: str
    gaps: Callable[[Tables], np.ndarray]
    margin: Optional[float] = None
    both: bool = False


@dataclass(frozen=True)
class Verdict:
    """A statement with its mean difference, the ends of its interval, and what follows; NaN where nothing was run."""

    statement: Statement
    gaps: Tuple[float, ...]
    mean: float
    low: float
    high: float
    verdict: str
    seeds_needed: Optional[int] = None

    @property
    def line(self) -> str:
        """The verdict as a row of the page's table."""
        one = self.statement
        if self.verdict == NOT_RUN:
            return f"| {one.says} | {one.where} | {one.statistic} | - | {NOT_RUN} |"
        count = len(self.gaps)
        if count == 1:
            return (f"| {one.says} | {one.where} | {one.statistic} | {self.mean:+.2f} {one.unit}, 1 seed | "
                    f"{self.verdict}, one seed has no interval |")
        shown = f"{self.mean:+.2f} ({self.low:+.2f} to {self.high:+.2f}) {one.unit}"
        more = ""
        if self.verdict == UNDECIDED:
            more = f", {self.seeds_needed} seeds would decide" if self.seeds_needed else ", no number of seeds in sight"
        return (f"| {one.says} | {one.where} | {one.statistic} | {shown}, {count} seeds | "
                f"{self.verdict}{more} |")


def interval(gaps: Sequence[float], confidence: float = CONFIDENCE) -> Tuple[float, float, float]:
    """Mean of paired differences and the ends of its two-sided t interval; infinite ends for fewer than two."""
    values = np.asarray(gaps, np.float64)
    mean = float(values.mean())
    if len(values) < 2:
        return mean, -math.inf, math.inf
    half = float(stats.t.ppf(0.5 + confidence / 2, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    return mean, mean - half, mean + half


def seeds_needed(gaps: Sequence[float], limits: Sequence[float] = (0.0,)) -> Optional[int]:
    """The fewest seeds whose interval would clear the nearest of `limits`, should mean and spread stay as they are.

    None where the mean lies on a limit or more than MOST_SEEDS would be needed.
    """
    values = np.asarray(gaps, np.float64)
    distance = min(abs(float(values.mean()) - limit) for limit in limits)
    spread = float(values.std(ddof=1)) if len(values) > 1 else math.nan
    counts = np.arange(max(len(values), 2), MOST_SEEDS + 1)
    clear = counts[stats.t.ppf(0.5 + CONFIDENCE / 2, counts - 1) * spread / np.sqrt(counts) < distance]
    return int(clear[0]) if len(clear) else None


def judge(statement: Statement, tables: Tables) -> Verdict:
    """What our tables say of one statement."""
    try:
        gaps = statement.gaps(tables).tolist()
    except _Absent:
        return Verdict(statement, (), math.nan, math.nan, math.nan, NOT_RUN)
    mean, low, high = interval(gaps)
    limits = (0.0,) if statement.margin is None else (-statement.margin, statement.margin)[:1 + statement.both]
    above = low > limits[0] if statement.margin is None else low >= limits[0]
    within = high <= statement.margin if statement.both and statement.margin is not None else True
    beyond = high < limits[0] or statement.both and low > limits[-1]
    verdict = HOLDS if above and within else FAILS if beyond else UNDECIDED
    needed = seeds_needed(gaps, limits) if verdict == UNDECIDED else None
    return Verdict(statement, tuple(gaps), mean, low, high, verdict, needed)


def cell(tables: Tables, table: str, row: str, column: str) -> np.ndarray:
    """Our values of one cell, one a seed, (seeds,)."""
    for found in tables.get(table, {}).get("cells", ()):
        if (found["row"], found["column"]) == (row, column) and found["values"]:
            return np.asarray(found["values"], np.float64)
    raise _Absent


def _minus(table: str, better: str, worse: str, columns: Sequence[str]) -> Callable[[Tables], np.ndarray]:
    """Row `better` minus row `worse`, the mean over columns."""
    def gaps(tables: Tables) -> np.ndarray:
        return np.mean([cell(tables, table, better, column) - cell(tables, table, worse, column)
                        for column in columns], axis=0)
    return gaps


def _angle(what: str, of: str, against: str, sign: float) -> Callable[[Tables], np.ndarray]:
    """Table 3: how far an angle statistic of loss `of` lies from that of `against`, times `sign`."""
    def gaps(tables: Tables) -> np.ndarray:
        return sign * (cell(tables, "table3", what, of) - cell(tables, "table3", what, against))
    return gaps


def _best_margin(tables: Tables) -> np.ndarray:
    """Mean accuracy at m = 0.5 minus that of the best other margin, chosen by its mean over seeds."""
    at = {m: np.mean([cell(tables, "table2", f"ArcFace ({m})", column) for column in _PACKS], axis=0)
          for m in ("0.4", "0.45", "0.5", "0.55")}
    other = max((values for m, values in at.items() if m != "0.5"), key=lambda values: float(values.mean()))
    return at["0.5"] - other


def _ahead(name: str, better: str, worse: str) -> List[Statement]:
    """One loss above another in Table 2, over the three packs and on each."""
    made = [Statement(f"table2 {name}", f"{better} is above {worse}", "section 3.2, Table 2",
                      "mean accuracy over LFW, CFP-FP and AgeDB-30", "%", _minus("table2", better, worse, _PACKS))]
    made += [Statement(f"table2 {name} {pack}", f"{better} is above {worse} on {pack}", "section 3.2, Table 2",
                       f"accuracy on {pack}", "%", _minus("table2", better, worse, (pack,))) for pack in _PACKS]
    return made


def _megaface(row: str, against: str) -> List[Statement]:
    return [Statement(f"table6 {row} {against} {column}", f"{row} is above {against}, {meant}", "section 3.3, Table 6",
                      meant, "%", _minus("table6", row, against, (column,)))
            for column, meant in (("Id", "rank-1 identification"), ("Ver", "verification"))]


ALIKE = 0.5  # % accuracy: rows of the paper's Table 2 that it calls alike differ by no more
_ARCFACE, _NS = "ArcFace (0.5)", "Norm-Softmax (NS), s=64"
_CASIA, _MS1M = "CASIA, R50, ArcFace", "MS1MV2, R100, ArcFace"
_NOISY = "MS1MV0, K="

STATEMENTS: Tuple[Statement, ...] = (
    *_ahead("norm-softmax", _ARCFACE, _NS),
    *_ahead("CosFace", _ARCFACE, "CosFace (0.35)"),
    *_ahead("SphereFace", _ARCFACE, "SphereFace (1.35)"),
    *_ahead("softmax", _ARCFACE, "Softmax"),
    Statement("best margin", "m = 0.5 is at or near the best of 0.4, 0.45, 0.5, 0.55", "section 3.2, Table 2",
              "mean accuracy at 0.5 minus the best other", "%", _best_margin, ALIKE),
    Statement("triplet margin", "a margin on centres is above a margin in triplets", "section 3.2, Table 2",
              "mean accuracy, ArcFace minus Triplet (0.35)", "%", _minus("table2", _ARCFACE, "Triplet (0.35)", _PACKS)),
    *(Statement(f"combined {row[:3]}", f"combining margins ({row}) brings nothing to ArcFace", "section 3.2, Table 2",
                f"mean accuracy, ArcFace minus {row[:3]}", "%", _minus("table2", _ARCFACE, row, _PACKS), ALIKE)
      for row in ("CM1 (1, 0.3, 0.2)", "CM2 (0.9, 0.4, 0.15)")),
    *(Statement(f"added {row}", f"{row} brings nothing to ArcFace", "section 3.2, Table 2",
                f"mean accuracy, ArcFace minus {row}", "%", _minus("table2", _ARCFACE, row, _PACKS), ALIKE)
      for row in ("ArcFace+Intra", "ArcFace+Inter", "ArcFace+Intra+Inter", "ArcFace+Triplet")),
    Statement("intra compact", "the intra-loss makes classes compact", "section 3.2, Table 3",
              "Intra1, NS minus NS with the intra-loss", "degrees", _angle("Intra1 (CASIA)", "Intra-L", "NS", -1)),
    Statement("intra collapse", "and draws their centres together", "section 3.2, Table 3",
              "Inter1, NS minus NS with the intra-loss", "degrees", _angle("Inter1 (CASIA)", "Intra-L", "NS", -1)),
    Statement("intra centres", "and brings W nearer to the class centres", "section 3.2, Table 3",
              "W-EC, NS minus NS with the intra-loss", "degrees", _angle("W-EC", "Intra-L", "NS", -1)),
    Statement("inter apart", "the inter-loss pushes W of different classes apart", "section 3.2, Table 3",
              "W-Inter, NS with the inter-loss minus NS", "degrees", _angle("W-Inter", "Inter-L", "NS", 1)),
    Statement("arcface centres", "W and the class centres nearly coincide under ArcFace", "section 3.2, Table 3",
              "W-EC, NS minus ArcFace", "degrees", _angle("W-EC", "ArcFace", "NS", -1)),
    Statement("arcface compact", "ArcFace makes classes more compact than NS", "section 3.2, Table 3",
              "Intra1, NS minus ArcFace", "degrees", _angle("Intra1 (CASIA)", "ArcFace", "NS", -1)),
    Statement("arcface apart", "and leaves more between them than triplets do", "section 3.2, Table 3",
              "Inter1, ArcFace minus Triplet", "degrees", _angle("Inter1 (CASIA)", "ArcFace", "Triplet-L", 1)),
    *(one for against in ("CosFace", "SphereFace", "Softmax") for one in _megaface(_CASIA, against)),
    *_megaface(f"{_CASIA}, R", _CASIA), *_megaface(f"{_MS1M}, R", _MS1M),
    *(Statement(f"table7 {column}", "ArcFace templates are above softmax templates on the same training set",
                "section 3.6, Table 7", f"TAR on {column}", "x 1", _minus("table7", "VGG2, R50, ArcFace", "ResNet50",
                                                                     (column,))) for column in ("IJB-B", "IJB-C")),
    Statement("video", "ArcFace is above SphereFace on videos", "section 3.5, Table 4", "accuracy on YTF", "%",
              _minus("table4", "MS1MV2, R100, ArcFace (v3)", "SphereFace", ("YTF",))),
    *(Statement(f"sub-centre {column} {name}", says, "later text, section 4.2, Table 3", f"TAR on {column}, {how}", "%",
                _minus("subcentre", better, worse, (column,)))
      for column in ("IJB-B", "IJB-C") for name, says, how, better, worse in (
          ("noise", "noise hurts a single centre", "K = 1, clean minus noisy", "MS1MV3, K=1", f"{_NOISY}1"),
          ("repair", "three sub-centres repair noise", "noisy, K = 3 minus K = 1", f"{_NOISY}3", f"{_NOISY}1"),
          ("many", "ten sub-centres hurt", "noisy, K = 3 minus K = 10", f"{_NOISY}3", f"{_NOISY}10"),
          ("drop", "dropping beyond 75 degrees and training again brings most of it back",
           "noisy, dropped and retrained minus K = 3", f"{_NOISY}3 to 1, drop > 75 deg (chosen)", f"{_NOISY}3"))),
)


def read_tables(folder: PathLike) -> Dict[str, Dict[str, Any]]:
    """The tables in a results folder by name."""
    names = dict.fromkeys(("table2", "table3", "table4", "table6", "table7", "subcentre"))
    return {name: read_json(path) for name in names if (path := Path(folder) / f"{name}.json").exists()}


def verdicts(tables: Tables) -> List[Verdict]:
    """Every statement judged by tables."""
    return [judge(statement, tables) for statement in STATEMENTS]


def trained_steps(tables: Tables) -> str:
    """How long the runs behind each table were trained, in a sentence; empty where no table says."""
    made = {name: found.get("made_from", {}) for name, found in tables.items()}
    recipes = {name: [*one.get("recipes", []), one.get("recipe", {})] for name, one in made.items()}
    told = [f"{name} {recipe['steps']:,} ({recipe.get('warm', 0):,})" for name, several in recipes.items()
            for recipe in several if "steps" in recipe]
    return f"Steps of a run (of softmax before them): {', '.join(told)}." if told else ""


def summary(found: Sequence[Verdict], tables: Tables) -> List[str]:
    """The verdicts as lines of Markdown: a count, how long the runs are, then a table."""
    counts = [f"{sum(one.verdict == kind for one in found)} {kind}" for kind in (HOLDS, FAILS, UNDECIDED, NOT_RUN)]
    head = (f"{len(found)} statements of the paper: {', '.join(counts)}. Each difference is positive where the "
            f"statement is right; intervals are {CONFIDENCE:.0%}, over seeds, by Student's t. {trained_steps(tables)}")
    return [head.strip(), "",
            "| statement | where | decided by | difference | verdict |", "|---|---|---|---|---|",
            *[one.line for one in found]]
