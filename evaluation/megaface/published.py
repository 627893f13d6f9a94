"""Table 6 of the paper: MegaFace Challenge 1, FaceScrub, set 1, 1M distractors, out of evaluation/paper.json."""
from typing import Dict, NamedTuple, Optional

from arcface_mxnet.evaluation.paper import table

FULL_SIZE = 1_000_000
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


def published(protocol: str, refined: bool, distractors: int) -> Optional[Figures]:
    """The paper's figures for a run of full size, else None."""
    return TABLE_6[protocol][refined] if distractors == FULL_SIZE else None
