"""The paper's IJB figures, MS1MV2 R100 ArcFace, as shares: Table 7, the notebooks, v4 Table 8 (see paper.json)."""
from typing import Dict, Optional, Tuple

from arcface_mxnet.evaluation.ijb.modes import PAPER_MODE
from arcface_mxnet.evaluation.paper import table

TITLES = {"ijbb": "IJB-B", "ijbc": "IJB-C"}
PAPER_FAR = 1e-4

RANK_1: Dict[str, float] = {
    target: (table("table8_pami").figure("MS1MV2", f"{title} id").value or 0.0) / 100 for target, title in
    TITLES.items()
}
"""v4, Table 8: 1:N rank-1; which of the two definitions is not said."""


def published_tar(target: str, mode: str, far: float) -> Optional[Tuple[float, str]]:
    """The published TAR and its source, or None: Table 7 in the paper's mode at 1e-4, else the notebooks' figures."""
    if mode == PAPER_MODE and far == PAPER_FAR:
        found = table("table7").figure("MS1MV2, R100, ArcFace", TITLES[target])
    else:
        notebooks, row, column = table("ijb_notebooks"), f"{target}, MS1MV2 R100, {mode}", f"{far:g}"
        if row not in [known.name for known in notebooks.rows] or column not in notebooks.columns:
            return None
        found = notebooks.figure(row, column)
    return None if found.value is None else (found.value, found.source)
