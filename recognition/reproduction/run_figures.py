"""Figures of our own runs: angles during training (4a), pair angles of losses (6) and of packs (7)."""
from pathlib import Path
from typing import Any, Dict, Iterator, Tuple

from arcface_mxnet.datasets.pairs import read_pack
from arcface_mxnet.evaluation.angles import pair_angle_samples
from arcface_mxnet.evaluation.pairs import PairResult
from arcface_mxnet.evaluation.vectors import angles_of, normalise
from arcface_mxnet.evaluation.verification import evaluate_pack
from arcface_mxnet.recognition.reproduction import paper_benchmarks, stand_ins
from arcface_mxnet.recognition.reproduction.benchmark_tables import embed_of, made_of, recipe_and_data, subject_run
from arcface_mxnet.recognition.reproduction.drawing import GENUINE, IMPOSTOR, canvas, save
from arcface_mxnet.recognition.reproduction.figures import Order, figure
from arcface_mxnet.recognition.reproduction.provenance import Produced
from arcface_mxnet.recognition.reproduction.run_list import FIGURE4A, FIGURE6, FIGURE7
from arcface_mxnet.recognition.reproduction.runs import (
    PACKS,
    Recipe,
    genuine_embeddings,
    network_of,
    trained,
    training_embeddings,
    warm_recipe,
)
from arcface_mxnet.recognition.reproduction.small_faces import small_faces
from arcface_mxnet.recognition.reproduction.tables import STAND_IN

import numpy as np

NEGATIVES = 500_000
STAGE_COLOURS = ("#1565c0", "#2e7d32", "#c62828")  # start, middle, end


def target_angles(folder: Path, data: Path) -> np.ndarray:
    """Degrees between each training image and its centre W, by the network a run has now."""
    _, checkpoint, centres = network_of(folder)
    rows, labels = training_embeddings(checkpoint, data)
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
            yield f"{name} (step {steps})", target_angles(trained("arcface", seed, data, work, recipe, steps), data)


@figure("fig4a")
def fig4a(order: Order) -> Produced:
    """Histogram of the target angle at the start, the middle and the end of an ArcFace run."""
    picture, (axes,) = canvas()
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
    return STAND_IN if order.scale == "demo" else "the paper's set"


def _histogram(axes: Any, positive: np.ndarray, negative: np.ndarray, title: str) -> Dict[str, float]:
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
    picture, panels = canvas(2, 1, (5.0, 3.8))
    figures: Dict[str, Any] = {}
    for axes, (title, subject) in zip(panels, FIGURE6.items()):
        data = recipe_and_data(subject, order)[1]
        folder = subject_run(subject, order.seeds[0], order)
        rows, labels = genuine_embeddings(network_of(folder)[1], data / "lfw.bin")
        figures[title] = _histogram(axes, *pair_angle_samples(rows, labels, NEGATIVES, order.seeds[0]), title)
    return Produced("fig6", save(picture, order.out, "fig6"),
                    f"lfw pack beside {told(order)}; negatives drawn at random", figures,
                    made_of(order, list(FIGURE6.values())))


FIGURE_7 = {"LFW": "lfw", "CFP-FP": "cfp_fp", "AgeDB-30": "agedb_30", "YTF": "ytf", "CPLFW": "cplfw", "CALFW": "calfw"}


def benchmark_distances(embed: stand_ins.Embed, name: str, order: Order) -> PairResult:
    """The pairs of one of figure 7's benchmarks, at demo scale of what stands for it, under a network."""
    if order.scale == "paper":
        return paper_benchmarks.pair_distances(embed, name, Path(order.data), recipe_and_data(FIGURE7, order)[1])
    if name == "ytf":
        return stand_ins.video_pairs(embed, order.work)
    if name in PACKS:
        return evaluate_pack(embed, read_pack(small_faces(order.work) / f"{name}.bin"), flip="none")
    return stand_ins.image_pairs(name, embed, order.work)


@figure("fig7")
def fig7(order: Order) -> Produced:
    """Angles of positive and negative pairs of every benchmark under ArcFace."""
    embed = embed_of(subject_run(FIGURE7, order.seeds[0], order))
    picture, panels = canvas(3, 2, (4.4, 3.6))
    figures = {}
    for axes, (title, name) in zip(panels, FIGURE_7.items()):
        result = benchmark_distances(embed, name, order)
        angles = angles_of(result.distances)
        figures[title] = _histogram(axes, angles[result.same], angles[~result.same],
                                    f"{title}{' (stand-in)' if order.scale == 'demo' else ''}")
    more = "; ".join(stand_ins.ABOUT[name] for name in ("YTF", "CPLFW", "CALFW")) if order.scale == "demo" else ""
    return Produced("fig7", save(picture, order.out, "fig7"), f"ArcFace on {told(order)}; {more}".strip("; "), figures,
                    made_of(order, [FIGURE7]))
