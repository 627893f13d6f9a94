"""Which of our runs stands for which row of the paper's tables: data, and what follows from it."""
from typing import Dict, List, NamedTuple, Optional, Tuple

from arcface_mxnet.runtime.errors import unknown

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


class Subject(NamedTuple):
    """A row of a table as a run: the loss; at demo scale the training set (demo_sets.ABOUT); at paper scale network
    and training set, None where the row is another group's model on other data.
    """

    loss: str
    demo: str = "demo"
    paper: Optional[Tuple[str, str]] = None


_MS1MV2, _CASIA = ("r100", "emore"), ("r50", "webface")

TABLE4: Dict[str, Subject] = {
    "FaceNet": Subject("facenet"), "Center Loss": Subject("centre"), "SphereFace": Subject("sphereface"),
    "CosFace": Subject("cosface"), "MS1MV2, R100, ArcFace (v3)": Subject("arcface", paper=_MS1MV2),
}
TABLE5: Dict[str, Subject] = {
    "Center Loss": Subject("centre"), "SphereFace": Subject("sphereface"), "VGGFace2": Subject("softmax", "vgg"),
    "MS1MV2, R100, ArcFace": Subject("arcface", paper=_MS1MV2),
}
TABLE6: Dict[str, Subject] = {
    "Softmax": Subject("softmax"), "Triplet": Subject("triplet"), "Center Loss": Subject("centre"),
    "SphereFace": Subject("sphereface"), "CosFace": Subject("cosface"), "AM-Softmax": Subject("amsoftmax"),
    "CASIA, R50, ArcFace": Subject("arcface", paper=_CASIA), "CASIA, R50, ArcFace, R": Subject("arcface", paper=_CASIA),
    "MS1MV2, R100, ArcFace": Subject("arcface", "union", _MS1MV2),
    "MS1MV2, R100, CosFace": Subject("cosface", "union", _MS1MV2),
    "MS1MV2, R100, ArcFace, R": Subject("arcface", "union", _MS1MV2),
    "MS1MV2, R100, CosFace, R": Subject("cosface", "union", _MS1MV2),
}
TABLE7: Dict[str, Subject] = {
    "ResNet50": Subject("softmax", "vgg"), "VGG2, R50, ArcFace": Subject("arcface", "vgg", ("r50", "vgg")),
    "MS1MV2, R100, ArcFace": Subject("arcface", paper=_MS1MV2),
}
TABLE8: Dict[str, Subject] = {
    "CASIA": Subject("arcface", "casia", ("r100", "webface")), "MS1MV2": Subject("arcface", paper=_MS1MV2),
    "DeepGlint-Face": Subject("arcface", "deepglint", ("r100", "deepglint")),
    "MS1MV2+Asian": Subject("arcface", "union", ("r100", "emore+asian")),
}
TABLE9: Dict[str, Subject] = {
    "MS1MV2+Asian, R100, ArcFace": Subject("arcface", "union", ("r100", "emore+asian")),
}
ENSEMBLE9 = Subject("cosface", "union", ("r100", "emore+asian"))
"""The second model of Table 9's ensemble (the paper does not say which models its own had)."""

SUBCENTRE: Dict[str, Subject] = {
    "MS1MV0, K=1": Subject("arcface", "noisy", ("r50", "ms1mv0")),
    "MS1MV0, K=3": Subject("subcentre", "noisy", ("r50", "ms1mv0")),
    "MS1MV0, K=5": Subject("subcentre5", "noisy", ("r50", "ms1mv0")),
    "MS1MV0, K=10": Subject("subcentre10", "noisy", ("r50", "ms1mv0")),
    "MS1MV3, K=1": Subject("arcface", "demo", ("r50", "retina")),
    "MS1MV3, K=3": Subject("subcentre", "demo", ("r50", "retina")),
    "Celeb500K, K=1": Subject("arcface", "celeb", ("r50", "celeb500k")),
    "Celeb500K, K=3": Subject("subcentre", "celeb", ("r50", "celeb500k")),
}
DROPS: Dict[str, Tuple[str, float]] = {
    **{f"MS1MV0, K=3 to 1, drop > {degrees} deg{' (chosen)' if degrees == 75 else ''}": ("MS1MV0, K=3", float(degrees))
       for degrees in (70, 75, 80, 85)},
    "MS1MV3, K=3 to 1 (removes 4.18 % of images)": ("MS1MV3, K=3", 75.0),
    "Celeb500K, K=3 to 1": ("Celeb500K, K=3", 75.0),
}
"""Rows of the sub-centre table that retrain ArcFace on what the drop step leaves: the run it starts from, degrees."""

QUOTED = "quoted by the paper from the method's own publication"
PACKS: Dict[str, str] = {"LFW": "lfw", "CFP-FP": "cfp_fp", "AgeDB-30": "agedb_30"}
"""Column of a table to verification pack."""

FIGURE4A = Subject("arcface", paper=("r34", "emore"))
FIGURE6 = {"ArcFace": Subject("arcface", paper=_CASIA), "Triplet-Loss": Subject("atriplet", paper=_CASIA)}
FIGURE7 = Subject("arcface", paper=_MS1MV2)
FIGURE8: Dict[str, str] = {
    "CASIA, R50, ArcFace, Original": "CASIA, R50, ArcFace", "CASIA, R50, ArcFace, Refine": "CASIA, R50, ArcFace, R",
    "MS1MV2, R100, ArcFace, Original": "MS1MV2, R100, ArcFace",
    "MS1MV2, R100, ArcFace, Refine": "MS1MV2, R100, ArcFace, R",
    "MS1MV2, R100, CosFace, Original": "MS1MV2, R100, CosFace",
    "MS1MV2, R100, CosFace, Refine": "MS1MV2, R100, CosFace, R",
}
"""Curve of figure 8 to row of Table 6."""
FIGURE9 = ("VGG2, R50, ArcFace", "MS1MV2, R100, ArcFace")
"""Curves of figure 9: rows of Table 7."""

SUBJECTS: Dict[str, Tuple[Subject, ...]] = {
    "table2": tuple(Subject(loss, paper=_CASIA) for loss in TABLE2.values()),
    "table3": tuple(Subject(loss, paper=_CASIA) for loss in TABLE3.values()),
    "table4": tuple(TABLE4.values()), "table5": tuple(TABLE5.values()), "table6": tuple(TABLE6.values()),
    "table7": tuple(TABLE7.values()), "table8": tuple(TABLE8.values()), "table9": (*TABLE9.values(), ENSEMBLE9),
    "subcentre": tuple(SUBCENTRE.values()), "fig4a": (FIGURE4A,), "fig6": tuple(FIGURE6.values()),
    "fig7": (FIGURE7,), "fig8": tuple(TABLE6[row] for row in FIGURE8.values()),
    "fig9": tuple(TABLE7[row] for row in FIGURE9),
}
"""What each table or figure trains."""


def paper_subjects(what: str) -> List[Tuple[str, str, str]]:
    """Network, training set and loss of each distinct run at paper scale; InputError for what trains nothing."""
    if what not in SUBJECTS:
        raise unknown("table or figure with runs at paper scale", what, list(SUBJECTS))
    return list(dict.fromkeys((*subject.paper, subject.loss) for subject in SUBJECTS[what] if subject.paper))
