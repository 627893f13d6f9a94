"""A pair result as an entry of result.json: the row beside the paper's, the ROC and the histogram of angles."""
from typing import Any, Dict, List

from arcface_mxnet.evaluation.metrics import roc
from arcface_mxnet.evaluation.pairs import PairResult
from arcface_mxnet.evaluation.plots import Curve
from arcface_mxnet.evaluation.published import PAIRS
from arcface_mxnet.evaluation.results import About, Entry, Row
from arcface_mxnet.evaluation.vectors import angles_of

import numpy as np

ANGLE_STEP_DEGREES = 2


def pair_entry(target: str, result: PairResult, about: About, extra: Dict[str, Any]) -> Entry:
    """Figures, table row and curves of one target; `extra` joins the figures (bootstrap interval, McNemar)."""
    value, source = PAIRS.get(target, (None, ""))
    row = Row(f"{target} accuracy", 100 * result.accuracy, value, source)
    return Entry({**result.figures(), **extra}, about, [row], roc_curves(result) + angle_curves(result))


def roc_curves(result: PairResult) -> List[Curve]:
    """TAR over FAR, each axis 0..1, FAR logarithmic; none where one class is missing."""
    if np.isnan(result.auc):
        return []
    curve = roc(-result.distances, result.same)
    return [Curve("roc", f"AUC {result.auc:.5f}", curve.far, curve.tar, "FAR", "TAR", log_x=True, kind="steps")]


def angle_curves(result: PairResult) -> List[Curve]:
    """Histograms of the angle (degrees) between the two images of genuine and of impostor pairs."""
    edges = np.arange(0, 181, ANGLE_STEP_DEGREES, dtype=float)
    angles = angles_of(result.distances)
    return [Curve("angles", f"{name} ({len(chosen)})", edges, np.append(np.histogram(chosen, edges)[0], 0),
                  "angle between the two images, degrees", "pairs", kind="bars")
            for name, chosen in (("genuine", angles[result.same]), ("impostor", angles[~result.same])) if len(chosen)]
