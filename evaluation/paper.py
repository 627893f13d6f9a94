"""The paper's own numbers, read from paper.json: the one place where they are written down, by table and row.

The tables of the conference paper are "table1" to "table9"; "subcentre" and "table8_pami" are of the later text, "zoo"
and "ijb_notebooks" of the original's repository, "networks" of the text itself. No other module types
them in again.
"""
import functools
import json
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Tuple, Union

from arcface_mxnet.datasets.catalog import TEST_SETS, TRAINING_SETS
from arcface_mxnet.runtime.errors import unknown

PAPER = Path(__file__).with_name("paper.json")
Cell = Union[float, str, None]


class PublishedFigure(NamedTuple):
    """One published figure: `value` in the unit of its table (None: not published), and where it is printed."""

    value: Optional[float]
    source: str


NO_FIGURE = PublishedFigure(None, "")


class PaperRow(NamedTuple):
    """A row of a table: its number in the paper's table (None: a later text's), its name and its cells."""

    number: Optional[int]
    name: str
    values: List[Cell]


class PaperTable(NamedTuple):
    """A table as printed: unit of its numbers, column names, rows, where it is and what must be said about it."""

    name: str
    title: str
    unit: str
    columns: List[str]
    rows: List[PaperRow]
    source: str
    label: str
    note: str

    def row(self, name: str) -> PaperRow:
        """The row of this name; raises InputError with the known names."""
        for row in self.rows:
            if row.name == name:
                return row
        raise unknown(f"row of {self.name}", name, [row.name for row in self.rows])

    def figure(self, row: str, column: str) -> PublishedFigure:
        """The number in a cell; raises InputError for an unknown row or column."""
        if column not in self.columns:
            raise unknown(f"column of {self.name}", column, self.columns)
        value = self.row(row).values[self.columns.index(column)]
        return PublishedFigure(float(value) if isinstance(value, (int, float)) else None, f"{self.label}, {row}")


@functools.lru_cache(maxsize=1)
def _document() -> Dict[str, Any]:
    return json.loads(PAPER.read_text(encoding="utf-8"))


def table(name: str) -> PaperTable:
    """A table by name ("table2", "subcentre", "zoo"); raises InputError for an unknown one."""
    tables = _document()["tables"]
    if name not in tables:
        raise unknown("table of the paper", name, list(tables))
    found = tables[name]
    rows = [PaperRow(row["row"], row["name"], row["values"]) for row in found["rows"]]
    return PaperTable(name, found["title"], found["unit"], found["columns"], rows, found["source"], found["label"],
                      found.get("note", ""))


def figure(name: str) -> Dict[str, Any]:
    """The numbers of a figure: "title", "columns", "rows" ({"name", "values"}), "source"; InputError if unknown."""
    figures = _document()["figures"]
    if name not in figures:
        raise unknown("figure with numbers", name, list(figures))
    return figures[name]


PAIRS: Dict[str, PublishedFigure] = {
    "lfw": table("table4").figure("MS1MV2, R100, ArcFace (v3)", "LFW"),
    "calfw": table("table5").figure("MS1MV2, R100, ArcFace", "CALFW"),
    "cplfw": table("table5").figure("MS1MV2, R100, ArcFace", "CPLFW"),
    "cfp_fp": table("zoo").figure("LResNet100E-IR, MS1MV2", "CFP-FP"),
    "agedb_30": table("zoo").figure("LResNet100E-IR, MS1MV2", "AgeDB-30"),
    "cfp_ff": table("zoo").figure("LResNet50E-IR, MS1MV1", "CFP-FF"),
    "ytf": table("table4").figure("MS1MV2, R100, ArcFace (v3)", "YTF"),
}
"""Accuracy of the pair sets and of YTF, percent."""

ANGLES: Dict[str, Dict[str, float]] = {
    row.name.split()[0]: {column: float(value) for column, value in zip(table("table3").columns, row.values)
                          if isinstance(value, (int, float))}
    for row in table("table3").rows
}
"""Table 3 in degrees, [CASIA, R50, loss]; Intra1/Inter1 on CASIA, Intra2/Inter2 on LFW; no W under a triplet loss."""


def published_angle(name: str, loss: str, classes: int, images: int) -> PublishedFigure:
    """Table 3's cell for a figure of so many classes and images: LFW's where `name` ends in 2, else CASIA's.

    Without a value for another set, by its counts in `datasets.catalog`, and where the table has none.
    """
    measured = TEST_SETS["lfw"] if name.endswith("2") else TRAINING_SETS["webface"]
    value = ANGLES[name].get(loss)
    if value is None or (classes, images) != (measured.identities, measured.images):
        return NO_FIGURE
    return PublishedFigure(value, f"{table('table3').label}, CASIA R50 {loss}")


TRILLION_PAIRS: Dict[str, Tuple[PublishedFigure, PublishedFigure]] = {
    row.name: (table("table8").figure(row.name, "Id at FPR 1e-3"), table("table8").figure(row.name, "Ver at FPR 1e-9"))
    for row in table("table8").rows if "team" not in row.name
}
"""Table 8 (v3), R100 ArcFace by training set: identification and verification, percent."""
TRILLION_PAIRS_FPR = (1e-3, 1e-9)
TRILLION_PAIRS_IMAGES = 1_862_120


def published_trillion_pairs(training: str, images: int, rates: Tuple[float, float]) -> Tuple[PublishedFigure, ...]:
    """Identification and verification of a row of Table 8, each without a value at another false positive rate.

    Neither has one unless `images`, probes and gallery together, are as many as the server asked features of.
    """
    return tuple(figure if images == TRILLION_PAIRS_IMAGES and rate == known else NO_FIGURE
                 for figure, rate, known in zip(TRILLION_PAIRS[training], rates, TRILLION_PAIRS_FPR))


IQIYI: Dict[str, PublishedFigure] = {
    step: table("table9").figure(row, "MAP") for step, row in (
        ("centre", "MS1MV2+Asian, R100, ArcFace"), ("mlp", "+MLP"), ("ensemble", "+Ensemble"),
        ("context", "+Context"))
}
"""Table 9 (v3), MAP in percent, each step on top of the one before."""
IQIYI_VIDEOS = 172_835


def published_iqiyi(step: str, persons: int, videos: int) -> PublishedFigure:
    """Table 9's MAP after a step; without a value for other numbers of persons or test videos than Table 1's."""
    full = (persons, videos) == (TEST_SETS["iqiyi"].identities, IQIYI_VIDEOS)
    return IQIYI[step] if full else NO_FIGURE


TITLES = {"ijbb": "IJB-B", "ijbc": "IJB-C"}
PAPER_FAR, PAPER_MODE = 1e-4, "N0D0F0"
"""Of Table 7: the false accept rate, and how features are made comparable before pooling (docs/original.md, section
7.2)."""

RANK_1: Dict[str, float] = {
    target: (table("table8_pami").figure("MS1MV2", f"{title} id").value or 0.0) / 100 for target, title in
    TITLES.items()
}
"""v4, Table 8: 1:N rank-1; which of the two definitions is not said."""


def published_ijb_tar(target: str, mode: str, far: float) -> Optional[Tuple[float, str]]:
    """The published TAR and its source, or None: Table 7 in the paper's mode at 1e-4, else the notebooks' figures."""
    if mode == PAPER_MODE and far == PAPER_FAR:
        found = table("table7").figure("MS1MV2, R100, ArcFace", TITLES[target])
    else:
        notebooks, row, column = table("ijb_notebooks"), f"{target}, MS1MV2 R100, {mode}", f"{far:g}"
        if row not in [known.name for known in notebooks.rows] or column not in notebooks.columns:
            return None
        found = notebooks.figure(row, column)
    return None if found.value is None else (found.value, found.source)


FULL_SIZE = 1_000_000
PROBES, PROBE_PERSONS = 3_530, 80
TABLE_FAR = 1e-6
MODELS = {"small": "CASIA, R50, ArcFace", "large": "MS1MV2, R100, ArcFace"}
"""The rows of Table 6 by protocol (small: training set below 0.5M images); those of the refined lists end in ", R"."""


class Figures(NamedTuple):
    """Rank-1 identification and TAR at FAR 1e-6, percent."""

    identification: Optional[float]
    verification: Optional[float]
    source: str


def _figures(row: str) -> Figures:
    identification, verification = (table("table6").figure(row, column) for column in ("Id", "Ver"))
    return Figures(identification.value, verification.value, identification.source)


TABLE_6: Dict[str, Dict[bool, Figures]] = {
    protocol: {refined: _figures(row + (", R" if refined else "")) for refined in (False, True)}
    for protocol, row in MODELS.items()
}
"""By protocol and whether the noise lists were applied."""


def published_megaface(protocol: str, refined: bool, distractors: int, probes: int, persons: int) -> Optional[Figures]:
    """The paper's figures for a million distractors and as many probes and persons as the devkit lists, else None."""
    full = (distractors, probes, persons) == (FULL_SIZE, PROBES, PROBE_PERSONS)
    return TABLE_6[protocol][refined] if full else None
