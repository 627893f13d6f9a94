"""Identification among distractors (Table 6, figure 8) and templates (figure 9) on built-in faces of other people."""
from pathlib import Path
from typing import Any, Dict, List, Tuple

import numpy as np

from datasets.images import decode_rgb
from datasets.synthetic import people
from evaluation import paper
from evaluation.embedder import Embedder
from evaluation.ijb.templates import pool
from evaluation.megaface.pairs import Features
from evaluation.megaface.protocol import MegaFaceResult, evaluate
from evaluation.metrics import Roc, roc
from evaluation.vectors import normalise
from recognition.reproduction.drawing import canvas, save
from recognition.reproduction.figures import Order, figure
from recognition.reproduction.provenance import Produced
from recognition.reproduction.runs import data_hash, network_of, trained
from recognition.reproduction.small_faces import reduced, small_faces
from recognition.reproduction.table_files import Comparison, write_table
from recognition.reproduction.tables import made_from, protocol_of, recipe_of, table
from runtime.files import atomic_path
from runtime.progress import progress

PROBES, PROBE_IMAGES, DISTRACTORS = 40, 6, 1000
TEMPLATE_PEOPLE, TEMPLATE_IMAGES = 60, 6  # two templates of three images each
FAR = 1e-4
FIGURE_8 = {"ArcFace": "arcface", "CosFace": "cosface", "Norm-softmax": "nsoftmax"}
TABLE6 = {"Softmax": "softmax", "Triplet": "atriplet", "CosFace": "cosface", "CASIA, R50, ArcFace": "arcface"}
STAND_IN = (f"built-in: {PROBES} people x {PROBE_IMAGES} images as probes, {DISTRACTORS} other people as distractors, "
            f"exact protocol of MegaFace; Ver is TAR at FAR {FAR:g} (the paper's 1e-6 needs a million distractors)")


def faces_of(purpose: str, count: int, images: int, work: Path, seed: int = 1) -> np.ndarray:
    """Reduced faces of one purpose, uint8 (count * images, 3, h, w), person by person; drawn once, kept in `work`."""
    kept = work / f"{purpose}-{count}x{images}-{seed}.npz"
    if not kept.exists():
        drawn = progress(people(purpose, count, images, seed), count, f"drawing {purpose}", "people")
        small = [decode_rgb(reduced(image)) for sitting in drawn for image in sitting.images]
        work.mkdir(parents=True, exist_ok=True)
        with atomic_path(kept) as temporary, open(temporary, "wb") as stream:
            np.savez_compressed(stream, images=np.stack(small).transpose(0, 3, 1, 2))
    with np.load(kept) as stored:
        return stored["images"]


def embedder_of(loss: str, seed: int, order: Order) -> Embedder:
    """The network of one run of the tables."""
    folder = trained(loss, seed, small_faces(order.work), order.work, recipe_of(order))
    return Embedder(network_of(folder)[1], batch_size=64)


def identified(loss: str, seed: int, order: Order) -> MegaFaceResult:
    """The figures of one run among the distractors."""
    embedder = embedder_of(loss, seed, order)
    probes, distractors = (normalise(embedder.embed(faces_of(purpose, count, images, order.work), flip="sum"))
                           for purpose, count, images in (("probes", PROBES, PROBE_IMAGES),
                                                          ("distractors", DISTRACTORS, 1)))
    ids = np.repeat(np.arange(PROBES), PROBE_IMAGES)
    return evaluate(Features(probes, False), ids, Features(distractors, False), [DISTRACTORS], [FAR])[0]


@table("table6")
def table6(order: Order) -> Produced:
    """Identification and verification among distractors."""
    printed = paper.table("table6")
    results = {loss: [identified(loss, seed, order) for seed in order.seeds] for loss in TABLE6.values()}
    cells: List[Comparison] = []
    for row in printed.rows:
        found = results.get(TABLE6.get(row.name, ""), [])
        ours = {"Id": [100 * result.rank1 for result in found], "Ver": [100 * result.tar[FAR] for result in found]}
        for column, value in zip(printed.columns[1:], row.values[1:]):
            why = "" if found else "needs FaceScrub, the million distractors, or the method's own model"
            cells.append(Comparison(row.name, column, value, ours[column], why, TABLE6.get(row.name, "")))
    return write_table(order.out, printed, cells, f"{STAND_IN}; {protocol_of(order, 'table2')}",
                       made_from(order, "table2"))


@figure("fig8")
def fig8(order: Order) -> Produced:
    """CMC and ROC among distractors."""
    picture, (cmc, curve) = canvas(2, 1, (5.2, 4.0))
    figures: Dict[str, Any] = {}
    for name, loss in FIGURE_8.items():
        result = identified(loss, order.seeds[0], order)
        cmc.step(result.ranks + 1, 100 * result.shares, where="post", label=name)
        curve.plot(result.roc_far, 100 * np.asarray(result.roc_tar), label=name)
        figures[name] = {"rank-1 %": 100 * result.rank1, f"TAR at {FAR:g} %": 100 * result.tar[FAR]}
    cmc.set(xscale="log", xlabel="Rank", ylabel="Identification rate (%)", xlim=(1, DISTRACTORS))
    curve.set(xscale="log", xlabel="False positive rate", ylabel="True positive rate (%)", xlim=(1e-5, 1))
    for axes in (cmc, curve):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    return Produced("fig8", save(picture, order.out, "fig8"), STAND_IN, figures,
                    {"data": data_hash(small_faces(order.work))})


def template_roc(loss: str, order: Order) -> Tuple[Roc, int]:
    """ROC of all pairs of templates of three images each, and the number of impostor pairs."""
    images = faces_of("templates", TEMPLATE_PEOPLE, TEMPLATE_IMAGES, order.work)
    rows = embedder_of(loss, order.seeds[0], order).embed(images, flip="sum")
    templates = pool(lambda part: rows[part], np.arange(len(rows)) // 3, np.arange(len(rows)))
    first, second = np.triu_indices(len(templates.ids), 1)
    scores = (templates.features @ templates.features.T)[first, second]
    same = first // 2 == second // 2
    return roc(scores, same), int((~same).sum())


@figure("fig9")
def fig9(order: Order) -> Produced:
    """ROC of 1:1 verification of templates."""
    picture, (axes,) = canvas()
    figures: Dict[str, Any] = {}
    for name, loss in FIGURE_8.items():
        curve, impostors = template_roc(loss, order)
        axes.plot(curve.far, curve.tar, label=name)
        figures[name] = {f"TAR at {far:g}": float(np.interp(far, curve.far, curve.tar)) for far in (1e-3, 1e-2, 1e-1)}
    axes.set(xscale="log", xlabel="False positive rate", ylabel="True positive rate", xlim=(1 / impostors, 1))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return Produced("fig9", save(picture, order.out, "fig9"),
                    f"built-in: {TEMPLATE_PEOPLE} people, two templates of three images each, all pairs; not IJB",
                    figures, {"data": data_hash(small_faces(order.work))})
