"""Figure 8, CMC and ROC among distractors before and after cleaning; figure 9, ROC of 1:1 verification of templates."""
from pathlib import Path
from typing import Any, Dict

import numpy as np

from recognition.reproduction import stand_ins
from recognition.reproduction.benchmark_tables import embed_of, made_of, subject_run
from recognition.reproduction.drawing import canvas, save
from recognition.reproduction.figures import Order, figure
from recognition.reproduction.provenance import Produced
from recognition.reproduction.run_list import TABLE6, TABLE7
from runtime.errors import InputError

FIGURE_8 = {
    "CASIA, R50, ArcFace, Original": "CASIA, R50, ArcFace", "CASIA, R50, ArcFace, Refine": "CASIA, R50, ArcFace, R",
    "MS1MV2, R100, ArcFace, Original": "MS1MV2, R100, ArcFace",
    "MS1MV2, R100, ArcFace, Refine": "MS1MV2, R100, ArcFace, R",
    "MS1MV2, R100, CosFace, Original": "MS1MV2, R100, CosFace",
    "MS1MV2, R100, CosFace, Refine": "MS1MV2, R100, CosFace, R",
}
FIGURE_9 = ("VGG2, R50, ArcFace", "MS1MV2, R100, ArcFace")
COLOURS = ("#2e7d32", "#c62828", "#1565c0")


def _kept(order: Order, row: str) -> Path:
    return subject_run({**TABLE6, **TABLE7}[row], order.seeds[0], order)


def demo_only(order: Order, name: str, table: str) -> None:
    """Raise InputError at paper scale: there the curves are drawn where they are measured."""
    if order.scale == "paper":
        raise InputError(f"{name} --scale paper: run {table} --scale paper; the evaluation commands draw the curves of "
                         f"each network into its run's folder below {order.work}")


@figure("fig8")
def fig8(order: Order) -> Produced:
    """CMC and ROC among distractors: each model before (dashed) and after (solid) the authors' cleaning."""
    demo_only(order, "fig8", "table6")
    picture, (cmc, curve) = canvas(2, 1, (5.6, 4.4))
    figures: Dict[str, Any] = {}
    for number, (label, row) in enumerate(FIGURE_8.items()):
        refined, colour = row.endswith(", R"), COLOURS[number // 2]
        result = stand_ins.megaface(embed_of(_kept(order, row)), order.work, refined)
        style, shown = "-" if refined else "--", f"{label} (stand-in)"
        cmc.step(np.r_[result.ranks + 1, result.distractors], 100 * np.r_[result.shares, result.shares[-1]], style,
                 where="post", color=colour, label=shown)
        curve.plot(result.roc_far, 100 * np.asarray(result.roc_tar), style, color=colour, label=shown)
        figures[label] = {"rank-1 %": 100 * result.rank1,
                          f"TAR at {stand_ins.MEGAFACE_FAR:g} %": 100 * result.tar[stand_ins.MEGAFACE_FAR]}
    cmc.set(xscale="log", xlabel="Rank", ylabel="Identification Rate (%)", xlim=(1, 1000), ylim=(0, 100))
    curve.set(xscale="log", xlabel="False Positive Rate", ylabel="True Positive Rate (%)", xlim=(1e-5, 1),
              ylim=(0, 100))
    for axes, title in ((cmc, "CMC"), (curve, "ROC")):
        axes.set_title(title)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=6, loc="lower right")
    return Produced("fig8", save(picture, order.out, "fig8"), stand_ins.ABOUT["MegaFace"], figures,
                    made_of(order, list(dict.fromkeys(TABLE6[row] for row in FIGURE_8.values()))))


@figure("fig9")
def fig9(order: Order) -> Produced:
    """ROC of 1:1 verification of templates, one panel a benchmark."""
    demo_only(order, "fig9", "table7")
    picture, panels = canvas(2, 1, (5.2, 4.2))
    figures: Dict[str, Any] = {}
    for axes, target in zip(panels, stand_ins.IJB_SUBJECTS):
        for row, colour in zip(FIGURE_9, COLOURS[1:]):
            result = stand_ins.template_pairs(embed_of(_kept(order, row)), order.work, target)
            axes.plot(result.curve.far, result.curve.tar, color=colour, label=f"{row} (stand-in)")
            figures[f"{target}, {row}"] = {f"TAR at {far:g}": float(np.interp(far, result.curve.far, result.curve.tar))
                                           for far in (1e-3, 1e-2, 1e-1)}
        axes.set(xscale="log", xlabel="False Positive Rate", ylabel="True Positive Rate", ylim=(0, 1),
                 xlim=(1 / result.impostor, 0.1), title=f"ROC on {target} (stand-in)")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, loc="lower right")
    return Produced("fig9", save(picture, order.out, "fig9"), stand_ins.ABOUT["IJB"], figures,
                    made_of(order, [TABLE7[row] for row in FIGURE_9]))
