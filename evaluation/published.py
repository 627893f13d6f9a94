"""The paper's figures that our tables stand beside, taken out of evaluation/paper.json by benchmark."""
from typing import Dict, Tuple

from arcface_mxnet.evaluation.paper import Published, table

PAIRS: Dict[str, Published] = {
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

TRILLION_PAIRS: Dict[str, Tuple[float, ...]] = {
    row.name: tuple(float(value) for value in row.values if isinstance(value, (int, float)))
    for row in table("table8").rows if "team" not in row.name
}
"""Table 8 (v3), R100 ArcFace by training set: identification and verification, percent."""

IQIYI: Dict[str, float] = {
    step: table("table9").figure(row, "MAP").value or 0.0 for step, row in (
        ("centre", "MS1MV2+Asian, R100, ArcFace"), ("mlp", "+MLP"), ("ensemble", "+Ensemble"),
        ("context", "+Context"))
}
"""Table 9 (v3), MAP in percent, each step on top of the one before."""
