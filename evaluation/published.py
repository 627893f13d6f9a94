"""The paper's figures that our tables stand beside, as data: value in percent (or degrees) and where it is printed.

paper_tables.md, sections 1.3 to 1.5 and 5.1; the model is MS1MV2, R100, ArcFace unless the source says otherwise.
"""
from typing import Dict, NamedTuple


class Published(NamedTuple):
    """One published figure: `value` in percent, or degrees for angles."""

    value: float
    source: str


PAIRS: Dict[str, Published] = {
    "lfw": Published(99.83, "Table 4, MS1MV2 R100 ArcFace"),
    "calfw": Published(95.45, "Table 5, MS1MV2 R100 ArcFace"),
    "cplfw": Published(92.08, "Table 5, MS1MV2 R100 ArcFace"),
    "cfp_fp": Published(98.27, "model zoo, MS1MV2 R100 ArcFace"),
    "agedb_30": Published(98.28, "model zoo, MS1MV2 R100 ArcFace"),
    "cfp_ff": Published(99.83, "model zoo, MS1MV1 R50 ArcFace"),
    "ytf": Published(98.02, "Table 4, MS1MV2 R100 ArcFace"),
}
"""Accuracy of the pair sets and of YTF."""

ANGLES: Dict[str, Dict[str, float]] = {
    "W-EC": {"NS": 44.26, "ArcFace": 14.29, "Intra-L": 8.83, "Inter-L": 46.85},
    "W-Inter": {"NS": 69.66, "ArcFace": 71.61, "Intra-L": 31.34, "Inter-L": 75.66},
    "Intra1": {"NS": 50.50, "ArcFace": 38.45, "Intra-L": 17.50, "Inter-L": 52.74, "Triplet-L": 41.19},
    "Inter1": {"NS": 59.23, "ArcFace": 65.83, "Intra-L": 24.07, "Inter-L": 62.40, "Triplet-L": 50.23},
    "Intra2": {"NS": 33.97, "ArcFace": 28.05, "Intra-L": 12.94, "Inter-L": 35.38, "Triplet-L": 27.42},
    "Inter2": {"NS": 65.60, "ArcFace": 66.55, "Intra-L": 26.28, "Inter-L": 67.90, "Triplet-L": 55.94},
}
"""Table 3 in degrees, [CASIA, R50, loss]; Intra1/Inter1 on CASIA, Intra2/Inter2 on LFW."""
