"""Figures of our own runs: angles during training (4a), pair angles of losses (6) and of packs (7)."""
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from arcface_mxnet.datasets.pairs import read_pack
from arcface_mxnet.engines.base import Place
from arcface_mxnet.evaluation.angles import pair_angle_samples
from arcface_mxnet.evaluation.embedder import Embedder
from arcface_mxnet.evaluation.extraction import record_embeddings
from arcface_mxnet.evaluation.features import angles_of, normalise
from arcface_mxnet.evaluation.megaface import __main__ as megaface
from arcface_mxnet.evaluation.overlay import FIGURES as WINDOWS
from arcface_mxnet.evaluation.overlay import Window, read_curves
from arcface_mxnet.evaluation.pairs import PairResult
from arcface_mxnet.evaluation.plots import Curve
from arcface_mxnet.evaluation.verification import evaluate_pack
from arcface_mxnet.recognition.engine.checkpoint import network_of
from arcface_mxnet.recognition.reproduction import benchmark_tables, demo_benchmarks, paper_benchmarks
from arcface_mxnet.recognition.reproduction.benchmark_tables import (
    embed_of,
    made_of,
    measured_run,
    recipe_and_data,
    subject_run,
)
from arcface_mxnet.recognition.reproduction.demo_data import base_set
from arcface_mxnet.recognition.reproduction.figures import GENUINE, IMPOSTOR, PANEL, Order, figure, save
from arcface_mxnet.recognition.reproduction.paper_runs import (
    FIGURE4A,
    FIGURE6,
    FIGURE7,
    FIGURE8,
    FIGURE9,
    TABLE6,
    TABLE7,
)
from arcface_mxnet.recognition.reproduction.provenance import Produced
from arcface_mxnet.recognition.reproduction.tables import stand_in
from arcface_mxnet.recognition.reproduction.training_runs import (
    PACKS,
    Recipe,
    genuine_embeddings,
    trained,
    warm_recipe,
)
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.pictures import canvas

import numpy as np

NEGATIVES = 500_000
STAGE_COLOURS = ("#1565c0", "#2e7d32", "#c62828")  # start, middle, end


def target_angles(folder: Path, data: Path, where: Optional[Place] = None) -> np.ndarray:
    """Degrees between each training image and its centre W, by the network a run has now."""
    _, checkpoint, centres = network_of(folder)
    rows, labels = record_embeddings(data, Embedder(checkpoint, where, batch_size=64).embed)
    assert centres is not None  # softmax and ArcFace have them
    unit, own = normalise(rows), normalise(centres[labels.astype(np.int64)])
    return np.degrees(np.arccos(np.clip((unit * own).sum(axis=1), -1, 1)))


def stages(order: Order) -> Iterator[Tuple[str, np.ndarray]]:
    """Name and target angles of a run's start, middle and end; it is trained that far between them.

    At demo scale the run begins with its softmax steps, so that its start is a network that has seen nothing.
    """
    recipe, data = recipe_and_data(FIGURE4A, order)
    seed, work = order.seeds[0], order.work / "stages"
    if isinstance(recipe, Recipe) and recipe.warm:
        begin = warm_recipe(recipe)
        yield "start (step 1)", target_angles(trained("softmax", seed, data, work, begin, 1), data)
        yield (f"middle (step {recipe.warm}, softmax until here)",
               target_angles(trained("softmax", seed, data, work, begin), data))
        yield (f"end (step {recipe.warm + recipe.steps}, ArcFace)",
               target_angles(trained("arcface", seed, data, order.work, recipe), data))
    else:
        for name, steps in (("start", 1), ("middle", max(1, recipe.steps // 2)), ("end", recipe.steps)):
            yield f"{name} (step {steps})", target_angles(trained("arcface", seed, data, work, recipe, steps), data,
                                                          order.embeds_on)


@figure("fig4a")
def fig4a(order: Order) -> Produced:
    """Histogram of the target angle at the start, the middle and the end of an ArcFace run."""
    picture, (axes,) = canvas(1, 1, PANEL)
    figures: Dict[str, Any] = {}
    for (name, angles), colour in zip(stages(order), STAGE_COLOURS):
        axes.hist(angles, bins=np.arange(0, 121, 1.0), histtype="stepfilled", alpha=0.5, color=colour, label=name)
        figures[name] = {"mean": float(angles.mean()), "median": float(np.median(angles))}
    axes.set(xlim=(20, 100), xlabel=r"$\theta_j$ in degrees", ylabel="Numbers")
    axes.legend(fontsize=8)
    return Produced("fig4a", save(picture, order.out, "fig4a"), f"ArcFace on {told(order)}; all training images",
                    figures, made_of(order, [FIGURE4A]))


def told(order: Order) -> str:
    """What the runs of a figure were trained on."""
    return stand_in(order) if order.scale == "demo" else "the paper's set"


def pair_histogram(axes: Any, positive: np.ndarray, negative: np.ndarray, title: str) -> Dict[str, float]:
    """Draw the angles (degrees) of both kinds of pairs as shares; their means, and the overlap of the histograms."""
    bins = np.arange(0, 121, 1.0)
    for angles, colour, name in ((positive, GENUINE, "positive"), (negative, IMPOSTOR, "negative")):
        weights = np.full(len(angles), 1.0 / len(angles))
        axes.hist(angles, bins=bins, weights=weights, color=colour, alpha=0.6, label=f"{name}, {len(angles):,} pairs")
    axes.set(title=title, xlim=(0, 120), xlabel="angle in degrees", ylabel="share of pairs")
    axes.legend(fontsize=8)
    overlap = np.minimum(*(np.histogram(angles, bins=bins)[0] / len(angles) for angles in (positive, negative))).sum()
    return {"positive mean": float(positive.mean()), "negative mean": float(negative.mean()), "overlap": float(overlap)}


@figure("fig6")
def fig6(order: Order) -> Produced:
    """Angles of all positive and random negative pairs of the lfw pack: ArcFace against triplet loss."""
    picture, panels = canvas(1, 2, PANEL)
    figures: Dict[str, Any] = {}
    for axes, (title, subject) in zip(panels, FIGURE6.items()):
        data = recipe_and_data(subject, order)[1]
        folder = subject_run(subject, order.seeds[0], order)
        rows, labels = genuine_embeddings(network_of(folder)[1], data / "lfw.bin", order.embeds_on)
        figures[title] = pair_histogram(axes, *pair_angle_samples(rows, labels, NEGATIVES, order.seeds[0]), title)
    return Produced("fig6", save(picture, order.out, "fig6"),
                    f"lfw pack beside {told(order)}; negatives drawn at random", figures,
                    made_of(order, list(FIGURE6.values())))


FIGURE_7 = {"LFW": "lfw", "CFP-FP": "cfp_fp", "AgeDB-30": "agedb_30", "YTF": "ytf", "CPLFW": "cplfw", "CALFW": "calfw"}


def benchmark_distances(embed: demo_benchmarks.Embed, name: str, order: Order) -> PairResult:
    """The pairs of one of figure 7's benchmarks, at demo scale of what stands for it, under a network."""
    if order.scale == "paper":
        return paper_benchmarks.pair_distances(embed, name, Path(order.data), recipe_and_data(FIGURE7, order)[1])
    if name == "ytf":
        return demo_benchmarks.video_pairs(embed, order.work)
    if name in PACKS:
        return evaluate_pack(embed, read_pack(base_set(order.work, order.size) / f"{name}.bin"), flip="none")
    return demo_benchmarks.image_pairs(name, embed, order.work)


@figure("fig7")
def fig7(order: Order) -> Produced:
    """Angles of positive and negative pairs of every benchmark under ArcFace."""
    embed = embed_of(subject_run(FIGURE7, order.seeds[0], order), order.embeds_on)
    picture, panels = canvas(1, 6, PANEL)
    figures = {}
    for axes, (title, name) in zip(panels, FIGURE_7.items()):
        result = benchmark_distances(embed, name, order)
        angles = angles_of(result.distances)
        figures[title] = pair_histogram(axes, angles[result.same], angles[~result.same],
                                    f"{title}{' (stand-in)' if order.scale == 'demo' else ''}")
    more = "; ".join(demo_benchmarks.ABOUT[name] for name in ("YTF", "CPLFW", "CALFW")) if order.scale == "demo" else ""
    return Produced("fig7", save(picture, order.out, "fig7"), f"ArcFace on {told(order)}; {more}".strip("; "), figures,
                    made_of(order, [FIGURE7]))


# Figure 8, CMC and ROC among distractors before and after cleaning; figure 9, ROC of 1:1 verification of templates.
#
# At paper scale the curves are those that the evaluation of Tables 6 and 7 left in the runs' folders; what is not
# trained or measured yet is, and the tables take it up.


COLOURS = ("#2e7d32", "#c62828", "#1565c0")
STAND_IN_FARS = (1e-3, 1e-2, 1e-1)


class Shown(NamedTuple):
    """The curves of a model (percent), the figures to write down, and from which FAR the curves are known."""

    curves: List[Curve]
    figures: Dict[str, float]
    smallest: float


def left_by(table: str, run: Path, path: Path) -> Curve:
    """The one curve in a CSV that the evaluation of a table left; raises InputError where it is gone."""
    if not path.exists():
        raise InputError(f"{path}: not found; delete {run}/{table}-*.json to have the run evaluated again")
    return read_curves(path, path.stem)[0]


def identified(order: Order, row: str) -> Shown:
    """CMC and ROC of a row of Table 6."""
    run = subject_run(TABLE6[row], order.seeds[0], order)
    if order.scale == "paper":
        found = measured_run(run, order, "table6", benchmark_tables.identified, row)
        files = paper_benchmarks.identification_curves(Path(order.data), run / "table6", row)
        return Shown([left_by("table6", run, path) for path in files],
                     {"rank-1 %": found["Id"], f"TAR at {paper_benchmarks.MEGAFACE_FAR:g} %": found["Ver"]}, 1e-6)
    result = demo_benchmarks.megaface(embed_of(run, order.embeds_on), order.work, row.endswith(", R"))
    return Shown(megaface.curves(result),
                 {"rank-1 %": 100 * result.rank1,
                  f"TAR at {demo_benchmarks.MEGAFACE_FAR:g} %": 100 * result.tar[demo_benchmarks.MEGAFACE_FAR]}, 1e-5)


def compared(order: Order, row: str, title: str) -> Shown:
    """ROC of a row of Table 7 on IJB-B or IJB-C; the figures are shares."""
    run = subject_run(TABLE7[row], order.seeds[0], order)
    if order.scale == "paper":
        found = measured_run(run, order, "table7", benchmark_tables.templates, row)
        return Shown([left_by("table7", run, paper_benchmarks.template_curve(run / "table7", title))],
                     {f"TAR at {paper_benchmarks.IJB_FAR:g}": found[title]}, 1e-6)
    result = demo_benchmarks.template_pairs(embed_of(run, order.embeds_on), order.work, title)
    curve = Curve("roc", row, result.curve.far, 100 * result.curve.tar, "", "")
    return Shown([curve], {f"TAR at {far:g}": float(np.interp(far, result.curve.far, result.curve.tar))
                           for far in STAND_IN_FARS}, 1 / result.impostor)


def lower_end(order: Order, window: Window, curves: List[Curve]) -> float:
    """Lower end of the vertical axis, percent: at paper scale as printed, or below curves that lie lower; else 0."""
    if order.scale == "demo":
        return 0.0
    seen = [curve.y[(curve.x >= window.x[0]) & (curve.x <= window.x[1])] for curve in curves]
    return min(window.y[0], float(np.floor(min((part.min() for part in seen if part.size), default=0.0))))


def mark(order: Order) -> str:
    """What is written behind a name at demo scale."""
    return " (stand-in)" if order.scale == "demo" else ""


def told_curves(order: Order, table: str, stand_in: str) -> str:
    """One line on how the curves were had."""
    return stand_in if order.scale == "demo" else (f"the curves that the evaluation commands left for {table}, in the "
                                                   f"runs' folders; seed {order.seeds[0]}")


@figure("fig8")
def fig8(order: Order) -> Produced:
    """CMC and ROC among distractors: each model before (dashed) and after (solid) the authors' cleaning."""
    picture, panels = canvas(1, 2, PANEL)
    shown = {label: identified(order, row) for label, row in FIGURE8.items()}
    for number, (label, one) in enumerate(shown.items()):
        style = "-" if FIGURE8[label].endswith(", R") else "--"
        for axes, curve, steps in zip(panels, one.curves, ("steps-post", "default")):
            axes.plot(curve.x, curve.y, style, drawstyle=steps, color=COLOURS[number // 2],
                      label=f"{label}{mark(order)}")
    least = max(one.smallest for one in shown.values())
    ranges = ((1, 1e6 if order.scale == "paper" else 1e3), (least, 1))
    labels = (("Rank", "Identification Rate (%)"), ("False Positive Rate", "True Positive Rate (%)"))
    for place, (axes, name) in enumerate(zip(panels, ("CMC", "ROC"))):
        low = lower_end(order, WINDOWS[f"8-{name.lower()}"], [one.curves[place] for one in shown.values()])
        axes.set(xscale="log", title=name, xlabel=labels[place][0], ylabel=labels[place][1], xlim=ranges[place],
                 ylim=(low, 100))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7, loc="lower right")
    return Produced("fig8", save(picture, order.out, "fig8"),
                    told_curves(order, "Table 6", demo_benchmarks.ABOUT["MegaFace"]),
                    {label: one.figures for label, one in shown.items()},
                    made_of(order, list(dict.fromkeys(TABLE6[row] for row in FIGURE8.values()))))


@figure("fig9")
def fig9(order: Order) -> Produced:
    """ROC of 1:1 verification of templates, one panel a benchmark."""
    picture, panels = canvas(1, 2, PANEL)
    figures: Dict[str, Any] = {}
    for axes, (title, folder) in zip(panels, paper_benchmarks.TEMPLATE_SETS.items()):
        shown = {row: compared(order, row, title) for row in FIGURE9}
        for (row, one), colour in zip(shown.items(), COLOURS[1:]):
            axes.plot(one.curves[0].x, one.curves[0].y / 100, color=colour, label=f"{row}{mark(order)}")
            figures[f"{title}, {row}"] = one.figures
        low = lower_end(order, WINDOWS[f"9-{folder.lower()}"], [one.curves[0] for one in shown.values()])
        axes.set(xscale="log", xlabel="False Positive Rate", ylabel="True Positive Rate", ylim=(low / 100, 1),
                 xlim=(max(one.smallest for one in shown.values()), 0.1), title=f"ROC on {title}{mark(order)}")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, loc="lower right")
    return Produced("fig9", save(picture, order.out, "fig9"),
                    told_curves(order, "Table 7", demo_benchmarks.ABOUT["IJB"]), figures,
                    made_of(order, [TABLE7[row] for row in FIGURE9]))
