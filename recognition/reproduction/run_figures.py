"""Figures of our own runs: angles during training (4a), pair angles of losses (6) and of packs (7)."""
from typing import Any, Dict, List, Tuple

import numpy as np

from datasets.pairs import read_pack
from evaluation.angles import pair_angle_samples
from evaluation.embedder import Embedder
from recognition.reproduction.drawing import GENUINE, IMPOSTOR, canvas, save
from recognition.reproduction.figures import Order, figure
from recognition.reproduction.provenance import Produced
from recognition.reproduction.runs import (
    PACKS,
    data_hash,
    genuine_embeddings,
    network_of,
    trained,
    training_embeddings,
)
from recognition.reproduction.small_faces import small_faces
from recognition.reproduction.tables import STAND_IN, recipe_of
from runtime.mx import mx

NEGATIVES = 500_000
STAGE_COLOURS = {"start": "#1565c0", "middle": "#2e7d32", "end": "#c62828"}


def target_angles(order: Order, steps: int) -> np.ndarray:
    """Degrees between each training image and its centre W after `steps` of a run kept for its stages."""
    data = small_faces(order.work)
    folder = trained("arcface", order.seeds[0], data, order.work / "stages", recipe_of(order), steps)
    _, checkpoint, centres = network_of(folder)
    rows, labels = training_embeddings(checkpoint, data)
    assert centres is not None
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    own = centres[labels] / np.linalg.norm(centres[labels], axis=1, keepdims=True)
    return np.degrees(np.arccos(np.clip((unit * own).sum(axis=1), -1, 1)))


@figure("fig4a")
def fig4a(order: Order) -> Produced:
    """Histogram of the target angle at the start, the middle and the end of an ArcFace run."""
    recipe = recipe_of(order)
    picture, (axes,) = canvas()
    figures: Dict[str, Any] = {}
    for stage, steps in (("start", 1), ("middle", recipe.steps // 2), ("end", recipe.steps)):
        angles = target_angles(order, steps)
        axes.hist(angles, bins=np.arange(0, 121, 1.0), histtype="stepfilled", alpha=0.5, color=STAGE_COLOURS[stage],
                  label=f"{stage} (step {steps})")
        figures[f"{stage}, step {steps}"] = {"mean": float(angles.mean()), "median": float(np.median(angles))}
    axes.set(xlim=(20, 100), xlabel=r"$\theta_j$ in degrees", ylabel="Numbers")
    axes.legend()
    return Produced("fig4a", save(picture, order.out, "fig4a"), f"ArcFace on {STAND_IN}; all training images",
                    figures, {"data": data_hash(small_faces(order.work))})


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
    data = small_faces(order.work)
    picture, panels = canvas(2, 1, (5.0, 3.8))
    figures: Dict[str, Any] = {}
    for axes, (title, loss) in zip(panels, (("ArcFace", "arcface"), ("Triplet-loss", "atriplet"))):
        folder = trained(loss, order.seeds[0], data, order.work, recipe_of(order))
        rows, labels = genuine_embeddings(network_of(folder)[1], data / "lfw.bin")
        figures[title] = _histogram(axes, *pair_angle_samples(rows, labels, NEGATIVES, order.seeds[0]), title)
    return Produced("fig6", save(picture, order.out, "fig6"), f"lfw pack of the {STAND_IN}; negatives drawn at random",
                    figures, {"data": data_hash(data)})


def pack_angles(order: Order, pack: str) -> Tuple[np.ndarray, np.ndarray]:
    """Degrees of the genuine and of the impostor pairs of a pack under the ArcFace run."""
    data = small_faces(order.work)
    folder = trained("arcface", order.seeds[0], data, order.work, recipe_of(order))
    read = read_pack(data / f"{pack}.bin")
    blocks: List[np.ndarray] = []
    embedder = Embedder(network_of(folder)[1], mx.cpu(), 64)
    for images in read.decoded(256):
        blocks.append(embedder.embed(images, flip="sum"))
    rows = np.concatenate(blocks)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    angles = np.degrees(np.arccos(np.clip((rows[0::2] * rows[1::2]).sum(axis=1), -1, 1)))
    same = np.asarray(read.same)
    return angles[same], angles[~same]


@figure("fig7")
def fig7(order: Order) -> Produced:
    """Angles of positive and negative pairs of every pack under ArcFace."""
    picture, panels = canvas(3, 1, (4.4, 3.6))
    figures = {pack: _histogram(axes, *pack_angles(order, pack), f"{pack} (built-in)")
               for axes, pack in zip(panels, PACKS)}
    return Produced("fig7", save(picture, order.out, "fig7"),
                    f"ArcFace on {STAND_IN}; YTF, CPLFW and CALFW have no built-in counterpart", figures,
                    {"data": data_hash(small_faces(order.work))})
