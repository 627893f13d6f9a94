"""The paper's IJB figures as data (paper_tables.md, sections 1.7 and 3.6), MS1MV2 R100 ArcFace, shares."""
from typing import Dict, Tuple

from evaluation.ijb.verify import FARS

VERIFY: Dict[Tuple[str, str], Tuple[float, ...]] = {
    ("ijbb", "N1D1F1"): (0.4091, 0.9081, 0.9477, 0.9636, 0.9755, 0.9863),
    ("ijbb", "N0D1F2"): (0.4089, 0.8995, 0.9463, 0.9642, 0.9761, 0.9867),
    ("ijbb", "N1D1F2"): (0.4281, 0.9082, 0.9490, 0.9647, 0.9767, 0.9866),
    ("ijbb", "N1D0F0"): (0.3900, 0.9042, 0.9467, 0.9620, 0.9761, 0.9860),
    ("ijbb", "N0D0F0"): (0.3828, 0.8933, 0.9425, 0.9615, 0.9751, 0.9856),
    ("ijbb", "N1D1F0"): (0.3930, 0.9039, 0.9476, 0.9630, 0.9758, 0.9861),
    ("ijbb", "N0D1F0"): (0.3892, 0.8984, 0.9456, 0.9626, 0.9753, 0.9861),
    ("ijbc", "N1D1F1"): (0.8997, 0.9434, 0.9618, 0.9744, 0.9832, 0.9907),
    ("ijbc", "N0D1F2"): (0.8829, 0.9400, 0.9607, 0.9746, 0.9833, 0.9910),
    ("ijbc", "N1D1F2"): (0.8985, 0.9447, 0.9628, 0.9753, 0.9836, 0.9908),
    ("ijbc", "N1D0F0"): (0.8906, 0.9394, 0.9603, 0.9731, 0.9829, 0.9904),
    ("ijbc", "N0D0F0"): (0.8625, 0.9315, 0.9565, 0.9720, 0.9818, 0.9901),
    ("ijbc", "N1D1F0"): (0.8943, 0.9413, 0.9610, 0.9735, 0.9829, 0.9905),
    ("ijbc", "N0D1F0"): (0.8795, 0.9387, 0.9591, 0.9731, 0.9824, 0.9904),
}
"""TAR at FARS of the published notebooks by target and mode."""

TABLE_7 = {"ijbb": 0.942, "ijbc": 0.956}
"""Table 7 (v3): TAR at FAR 1e-4 in the paper's mode, cut to three digits."""

RANK_1 = {"ijbb": 0.9450, "ijbc": 0.9572}
"""v4, Table 8: 1:N rank-1; which of the two definitions is not said."""


def published_tar(target: str, mode: str, far: float) -> "tuple[float, str] | None":
    """The published TAR and its source, or None."""
    if mode == "N0D0F0" and far == 1e-4:
        return TABLE_7[target], "Table 7, MS1MV2 R100 ArcFace"
    row = VERIFY.get((target, mode))
    if row is None or far not in FARS:
        return None
    return row[FARS.index(far)], f"notebook, MS1MV2 R100, {mode}"
