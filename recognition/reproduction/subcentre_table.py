"""The sub-centre table of the later text: K centres on noisy labels, and plain ArcFace on what the drop step leaves."""
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from arcface_mxnet.datasets.clean import MAX_ANGLE, Findings, select
from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.datasets.subset_merge import write_selected
from arcface_mxnet.evaluation import paper
from arcface_mxnet.recognition.drop import rank_by_run
from arcface_mxnet.recognition.losses import LossSettings
from arcface_mxnet.recognition.presets import LOSSES
from arcface_mxnet.recognition.reproduction import demo_benchmarks
from arcface_mxnet.recognition.reproduction.benchmark_tables import (
    Figures,
    asked,
    cells_of,
    gaps,
    left_out,
    made_of,
    measured_rows,
    measured_run,
    protocol_line,
    recipe_and_data,
    rows_at,
    subject_run,
    train_rows,
)
from arcface_mxnet.recognition.reproduction.demo_data import wrong_images
from arcface_mxnet.recognition.reproduction.figures import Order
from arcface_mxnet.recognition.reproduction.paper_runs import DROPS, SUBCENTRE, Subject
from arcface_mxnet.recognition.reproduction.provenance import Produced
from arcface_mxnet.recognition.reproduction.tables import table, write_table
from arcface_mxnet.recognition.reproduction.training_runs import Recipe, at_once, start_accuracy, trained
from arcface_mxnet.recognition.settings import part_of
from arcface_mxnet.runtime.files import write_json
from arcface_mxnet.runtime.text import read_json

import numpy as np

NOISY = ("noisy", "celeb")
STEPS, WARM = 2000, 4800  # of a run, and of softmax before it
ABOUT = ("MS1MV0 is noisy, MS1MV3 demo, Celeb500K celeb. Of K centres an identity the first begins where softmax's "
         "ended and the others at random. ")
FEWEST = 2  # people a loss can tell apart
CHANCE = 10.0  # percent: below it a TAR says that the network has hardly learned (clean labels give over 30)
WHY = {**{row: "the drop step leaves nobody" for row in DROPS},
       "MS1MV0, Co-mining": "not implemented: trains two networks that exchange images",
       "MS1MV0, NT": "not implemented: weighs images by a histogram of cosines over many past batches"}


class Dropped(NamedTuple):
    """What a drop step took: shares of the images, of the wrong ones (None: none are known) and of the right ones."""

    share: float
    wrong_found: Optional[float]
    right_lost: float


def templates(embed: demo_benchmarks.Embed, order: Order, row: str) -> Figures:
    """TAR in percent on both stand-ins."""
    return {target: 100 * demo_benchmarks.template_pairs(embed, order.work, target).tar[demo_benchmarks.IJB_FAR]
            for target in demo_benchmarks.IJB_SUBJECTS}


def dropped(subject: Subject, degrees: float, seed: int, order: Order) -> Tuple[Path, Dropped]:
    """A sub-centre run's set without the images beyond `degrees` from their dominant centre, made once; what went."""
    run, data = subject_run(subject, seed, order), recipe_and_data(subject, order)[1]
    folder, told = _drop_step(run, degrees, order)
    if not told.exists():
        with RecordSet.open(data) as records:
            findings = rank_by_run(run, records, order.embeds_on)
            groups = select(records, findings, degrees)
            if not folder.is_dir() and len(groups) >= FEWEST:
                write_selected(records, groups, folder, f"without images beyond {degrees:g} degrees by {run.name}")
            write_json(told, _beyond(records, findings, degrees, _noisy(subject, order))._asdict())
    return folder, Dropped(**read_json(told))


def _drop_step(run: Path, degrees: float, order: Order) -> Tuple[Path, Path]:
    """The folder of the set that a drop step leaves, and the file that tells what it took."""
    folder = order.work / "dropped" / f"{run.name}-{degrees:g}"
    return folder, folder.with_name(f"{folder.name}.json")


def scattered(subject: Subject, seed: int, order: Order) -> Dropped:
    """What lies beyond MAX_ANGLE degrees of the dominant centre in a sub-centre run on noisy labels; measured once."""
    run = subject_run(subject, seed, order)
    told = _drop_step(run, MAX_ANGLE, order)[1]
    if not told.exists():  # no drop step of this run has told it
        told = run / f"beyond-{MAX_ANGLE:g}.json"
    if not told.exists():
        with RecordSet.open(recipe_and_data(subject, order)[1]) as records:
            write_json(told, _beyond(records, rank_by_run(run, records, order.embeds_on), MAX_ANGLE, True)._asdict())
    return Dropped(**read_json(told))


def _noisy(subject: Subject, order: Order) -> bool:
    """Whether it is known which images of a row's set are wrong."""
    return subject.demo in NOISY and order.scale == "demo"


def _beyond(records: RecordSet, findings: Findings, degrees: float, noisy: bool) -> Dropped:
    beyond = findings.angles > degrees
    wrong = np.zeros(len(beyond), bool)
    if noisy:
        wrong = wrong_images(np.bincount(records.labels.astype(np.int64)).tolist())
    return Dropped(float(np.mean(beyond)), float(np.mean(beyond[wrong])) if noisy else None,
                   float(np.mean(beyond[~wrong])))


def retrained(row: str, seed: int, order: Order) -> Tuple[Figures, Dropped]:
    """Plain ArcFace, from scratch, on what the drop step of a row leaves; no figures where that is nobody."""
    source, degrees = DROPS[row]
    folder, what = dropped(SUBCENTRE[source], degrees, seed, order)
    if not folder.is_dir():
        return {}, what
    run = trained("arcface", seed, folder, order.work, recipe_and_data(SUBCENTRE[source], order)[0])
    return measured_run(run, order, "subcentre", templates, row), what


def untrained(found: Dict[str, List[Figures]]) -> List[str]:
    """Which rows say nothing, because their networks have hardly left chance."""
    rows = [row for row, figures in found.items()
            if figures and np.mean([value for one in figures for value in one.values() or [0.0]]) < CHANCE]
    return [f"hardly trained (TAR below {CHANCE:g} % at FAR {demo_benchmarks.IJB_FAR:g}): in so few steps the built-in "
            f"faces do not show the paper's effect in {'; '.join(rows)}. More steps: --max-steps"] if rows else []


def drop_lines(drops: Dict[str, List[Dropped]]) -> List[str]:
    """What each drop step took, mean over seeds, in percent."""
    lines = []
    for row, found in drops.items():
        share, right = (100 * np.mean([getattr(one, name) for one in found]) for name in ("share", "right_lost"))
        wrong = [100 * one.wrong_found for one in found if one.wrong_found is not None]
        of = f": {np.mean(wrong):.1f} % of the wrong ones and {right:.1f} % of the right ones" if wrong else ""
        lines.append(f"{row}: the step removes {share:.1f} % of the images{of}")
    return lines


def scatter_lines(order: Order, rows: Mapping[str, Subject]) -> List[str]:
    """Whether an identity's right images share a centre, in each row with several on noisy labels."""
    several = [row for row, subject in rows.items()
               if _noisy(subject, order) and part_of(LossSettings, LOSSES[subject.loss]).loss_K > 1]
    tasks = {(row, seed): partial(scattered, rows[row], seed, order) for seed in order.seeds for row in several}
    found, lines = at_once(tasks, order.jobs, "images beside their centres"), []
    for row in several:
        right, wrong = (100 * np.mean([getattr(found[row, seed], name) for seed in order.seeds])
                        for name in ("right_lost", "wrong_found"))
        lines.append(f"{row}: beyond {MAX_ANGLE:g} degrees of the dominant centre of their identity lie {right:.1f} % "
                     f"of the right images and {wrong:.1f} % of the wrong ones")
    return lines


def started(order: Order, subjects: Sequence[Subject]) -> List[str]:
    """How far the softmax steps before the runs of each set had come: a margin learns nothing from a start that knows
    few of its labels."""
    lines = []
    for name, subject in {subject.demo: subject for subject in subjects}.items():
        recipe, data = recipe_and_data(subject, order)
        if isinstance(recipe, Recipe) and recipe.warm:
            told = [start_accuracy(seed, data, order.work, recipe) for seed in order.seeds]
            known = [accuracy for accuracy in told if accuracy is not None]
            if known:
                lines.append(f"the {recipe.warm} steps of softmax before the runs on {name} end at a training accuracy "
                             f"of {100 * np.mean(known):.1f} %")
    return lines


def longer_softmax(order: Order) -> Order:
    """The order with this table's steps: 1,200 of softmax know 13 % of noisy labels, too few for a margin to learn."""
    return replace(order, steps=STEPS, warm=WARM)


@table("subcentre")
def subcentre(order: Order) -> Produced:
    """Sub-centres on noisy labels."""
    printed, order = paper.table("subcentre"), longer_softmax(order)
    rows, later = rows_at(order, SUBCENTRE), [row for row in DROPS if asked(order, row)]
    found = measured_rows(order, "subcentre", rows, templates)
    train_rows(order, [SUBCENTRE[DROPS[row][0]] for row in later], "the drop step")
    again = at_once({(row, seed): partial(retrained, row, seed, order) for seed in order.seeds for row in later},
                    order.jobs, "runs after the drop step")
    found.update({row: [again[row, seed][0] for seed in order.seeds] for row in later})
    drops = {row: [again[row, seed][1] for seed in order.seeds] for row in later}
    subjects = {**rows, **{row: Subject("arcface", f"what is left of {SUBCENTRE[DROPS[row][0]].demo}")
                           for row in later}}
    used = list(rows.values())
    compared = (("MS1MV0, K=3", "MS1MV0, K=1"), ("MS1MV0, K=10", "MS1MV0, K=3"),
                ("MS1MV0, K=3 to 1, drop > 75 deg (chosen)", "MS1MV0, K=1"), ("MS1MV3, K=1", "MS1MV0, K=1"),
                ("MS1MV3, K=3", "MS1MV3, K=1"), ("Celeb500K, K=3 to 1", "Celeb500K, K=1"))
    findings = [*untrained(found), *started(order, used), *scatter_lines(order, rows), *drop_lines(drops),
                *(line for pair in compared if set(pair) <= set(found) for line in gaps(found, *pair))]
    why = {**WHY, **left_out(order, (*SUBCENTRE, *DROPS))}
    return write_table(order.out, printed, cells_of(printed, subjects, found, why),
                       protocol_line(order, ("IJB",), used, ABOUT),
                       made_of(order, used), findings, order.scale == "paper")
