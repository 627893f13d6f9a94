"""Table 6 of the paper as data: MegaFace Challenge 1, FaceScrub, set 1, 1M distractors (paper_tables.md, 1.6)."""
from typing import Dict, NamedTuple, Optional


class Figures(NamedTuple):
    """Rank-1 identification and TAR at FAR 1e-6, percent."""

    identification: float
    verification: float
    source: str


TABLE_6: Dict[str, Dict[bool, Figures]] = {
    "small": {False: Figures(77.50, 92.34, "Table 6, CASIA R50 ArcFace"),
              True: Figures(91.75, 93.69, "Table 6, CASIA R50 ArcFace, R")},
    "large": {False: Figures(81.03, 96.98, "Table 6, MS1MV2 R100 ArcFace"),
              True: Figures(98.35, 98.48, "Table 6, MS1MV2 R100 ArcFace, R")},
}
"""By protocol (small: training set below 0.5M images) and whether the noise lists were applied."""

FULL_SIZE = 1_000_000
TABLE_FAR = 1e-6


def published(protocol: str, refined: bool, distractors: int) -> Optional[Figures]:
    """The paper's figures for a run of full size, else None."""
    return TABLE_6[protocol][refined] if distractors == FULL_SIZE else None
