"""Which of our runs stands for which row of the paper's tables: data, nothing else."""
from typing import Dict, Tuple

TABLE2: Dict[str, str] = {
    "ArcFace (0.4)": "arcface040", "ArcFace (0.45)": "arcface045", "ArcFace (0.5)": "arcface",
    "ArcFace (0.55)": "arcface055", "SphereFace (1.35)": "sphereface135", "CosFace (0.35)": "cosface",
    "CM1 (1, 0.3, 0.2)": "cm1", "CM2 (0.9, 0.4, 0.15)": "cm2", "Softmax": "softmax",
    "Norm-Softmax (NS), s=64": "nsoftmax", "NS+Intra": "ns_intra", "NS+Inter": "ns_inter",
    "NS+Intra+Inter": "ns_intra_inter", "Triplet (0.35)": "atriplet", "ArcFace+Intra": "arcface_intra",
    "ArcFace+Inter": "arcface_inter", "ArcFace+Intra+Inter": "arcface_intra_inter",
    "ArcFace+Triplet": "arcface_triplet", "NS (s=20)": "nsoftmax20", "NS+Intra (s=20)": "ns20_intra",
    "NS+Inter (s=20)": "ns20_inter", "NS+Intra+Inter (s=20)": "ns20_intra_inter",
}
"""Row of Table 2 to loss preset; the rows not here are quoted from other papers."""

TABLE3: Dict[str, str] = {
    "NS": "nsoftmax", "ArcFace": "arcface", "Intra-L": "ns_intra", "Inter-L": "ns_inter",
    "Triplet-L": "atriplet",
}
"""Column of Table 3 to loss preset."""

TABLE4 = {"MS1MV2, R100, ArcFace (v3)": "arcface"}
TABLE5 = {"MS1MV2, R100, ArcFace": "arcface"}

QUOTED = "quoted by the paper from the method's own publication"
PACKS: Dict[str, str] = {"LFW": "lfw", "CFP-FP": "cfp_fp", "AgeDB-30": "agedb_30"}
"""Column of a table to verification pack."""

PAPER_RUNS: Dict[str, Tuple[str, str, Tuple[str, ...]]] = {
    "table2": ("r50", "webface", tuple(TABLE2.values())),
    "table3": ("r50", "webface", tuple(TABLE3.values())),
    "table4": ("r100", "emore", ("arcface",)),
    "table5": ("r100", "emore", ("arcface",)),
    "table6": ("r100", "emore", ("arcface", "cosface")),
    "table7": ("r100", "emore", ("arcface",)),
    "table8": ("r100", "emore", ("arcface",)),
    "table9": ("r100", "emore", ("arcface",)),
    "subcentre": ("r50", "emore", ("arcface", "subcentre", "subcentre5", "subcentre10")),
    "fig4a": ("r34", "emore", ("arcface",)),
    "fig6": ("r50", "webface", ("arcface", "atriplet")),
    "fig7": ("r100", "emore", ("arcface",)),
}
"""At paper scale: network, training set and losses of each table or figure that needs training."""
