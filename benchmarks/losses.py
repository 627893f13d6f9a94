"""Every loss preset trained on the built-in faces by recognition/train.py, and the table of what came out.

The faces are the built-in ones at 32x32 (datasets/small_faces.py), the network is `small`; all losses
share one recipe, which was chosen for none of them. The question is not which is best but whether each one trains:
pairs of unseen people must be told apart better than by chance, and better than by the same network before training,
each by more than three standard deviations. Runs are kept and not repeated.
"""
import argparse
import contextlib
import io
import json
import math
import sys
from pathlib import Path
from typing import Any, Dict, NamedTuple, Optional, Sequence

from arcface_mxnet.datasets.small_faces import small_faces
from arcface_mxnet.recognition.engine.checkpoint import METRICS, SETTINGS
from arcface_mxnet.recognition.engine.setup import make_trainer
from arcface_mxnet.recognition.losses import LossSettings, formula
from arcface_mxnet.recognition.presets import LOSSES
from arcface_mxnet.recognition.settings import part_of
from arcface_mxnet.runtime.errors import InputError, run_command
from arcface_mxnet.runtime.files import atomic_open
from arcface_mxnet.runtime.progress import progress

EXAMPLE = "example: python benchmarks/losses.py --work runs/losses --out docs/losses.md"
PACKS = ("lfw", "cfp_fp", "agedb_30")
DEVIATIONS = 3.0
LONGER = (3, 10)  # times the steps, one after the other, for a loss that has not learned in them
UNTRAINED = "untrained"


class Row(NamedTuple):
    """A loss and its last validation: {pack: accuracy}, and the pairs of all packs."""

    name: str
    accuracies: Dict[str, float]
    pairs: int
    steps: int

    @property
    def mean(self) -> float:
        """Accuracy over all packs, which have equally many pairs."""
        return sum(self.accuracies.values()) / len(self.accuracies)


def deviation(pairs: int, *accuracies: float) -> float:
    """Standard deviation of an accuracy over `pairs` pairs, or of the difference of two."""
    return math.sqrt(sum(rate * (1.0 - rate) for rate in accuracies) / pairs)


def flags(name: str, data: Path, folder: Path, steps: int) -> Dict[str, Any]:
    """The flags of one run; an untrained network is one whose rate moves nothing but BatchNorm's statistics."""
    loss, rate = (name, {}) if name != UNTRAINED else ("arcface", {"lr": 1e-12})
    return {"network": "small", "loss": loss, "dataset": "own", "recipe": "demo", "data_dir": str(data),
            "run_dir": str(folder), "gpus": "cpu", "max_steps": steps, "verbose": steps,
            "lr_steps": (steps * 2 // 3, steps * 9 // 10), "ckpt": 0, **rate}


def measured(name: str, data: Path, work: Path, steps: int, pairs: int) -> Row:
    """Train one loss, unless it was, or go on where it was stopped, and read its validation."""
    folder = work / f"{name}-{steps}"
    if len(_validations(folder)) < len(PACKS):
        begun = (folder / SETTINGS).exists()
        with contextlib.redirect_stdout(io.StringIO()):
            finished = make_trainer({"resume": True, "run_dir": str(folder), "gpus": "cpu"} if begun
                                    else flags(name, data, folder, steps)).train()
        if finished.signal:
            raise InputError(f"{folder}: stopped; the same command goes on from there")
    return Row(name, _validations(folder), pairs * len(PACKS), steps)


def _validations(folder: Path) -> Dict[str, float]:
    if not (folder / METRICS).exists():
        return {}
    lines = [json.loads(line) for line in (folder / METRICS).read_text(encoding="utf-8").splitlines()]
    return {line["target"]: line["accuracy"] for line in lines if line["kind"] == "validation"}


def verdict(row: Row, untrained: Row) -> str:
    """"yes" where a loss is above chance and above the untrained network, each by more than three deviations."""
    above_chance = row.mean - 0.5 > DEVIATIONS * deviation(row.pairs, 0.5)
    margin = DEVIATIONS * deviation(row.pairs, row.mean, untrained.mean)
    return "yes" if above_chance and row.mean - untrained.mean > margin else "no"


def table_line(row: Row, untrained: Row) -> str:
    """One line of the table: loss, formula, constants, source, accuracies and verdict."""
    settings = part_of(LossSettings, LOSSES[row.name])
    figures = " | ".join(f"{100 * row.accuracies[pack]:.1f}" for pack in PACKS)
    margins = f"{settings.loss_m1:g}, {settings.loss_m2:g}, {settings.loss_m3:g}"
    if "loss_s" in LOSSES[row.name]:
        margins += f"; s = {settings.loss_s:g}"
    spread = f"{100 * row.mean:.1f} ± {100 * deviation(row.pairs, row.mean):.1f}"
    return (f"| `{row.name}` | {formula(settings.loss_name)} | {margins} | {settings.source} | {row.steps} | "
            f"{figures} | {spread} | {verdict(row, untrained)} |")


def page(rows: Sequence[Row], untrained: Row, steps: int) -> str:
    """The page as Markdown."""
    chance = 50.0 + 100 * DEVIATIONS * deviation(untrained.pairs, 0.5)
    start = " / ".join(f"{100 * untrained.accuracies[pack]:.1f}" for pack in PACKS)
    head = f"""# Every loss, trained

Written by `python benchmarks/losses.py --work runs/losses --out docs/losses.md`. Each preset was trained by
`recognition/train.py --loss NAME --network small --recipe demo` on 200 drawn identities at 32x32 (rate 0.1 or the
preset's own; s = 16 where a preset names no scale: s = 64 leaves chance later than this) and verified on 600 pairs each
of people it has not seen. A loss that has not learned after {steps} steps is trained anew for {LONGER[0]} times as
many, and if that is not enough for {LONGER[1]} times: large scales and many centres take that long at this rate. One
that has learned at no length is shown at each.

One seed, one recipe tuned for none: the order of the rows means nothing, and so few steps favour losses without a
margin. What the table shows is that each loss trains. **learns**: the mean over {untrained.pairs} pairs is above chance
(over {chance:.1f} %) and above the same network before training ({start}, mean {100 * untrained.mean:.1f} %), both by
more than three standard deviations.

Intra- and inter-loss have weight 1, as the paper's formulas have none, and in a preset whose name ends in a number that
weight. Beside the softmax 1 is small: the gradient of t_y / π is 0.32 a radian, that of the softmax up to s, which is
64 in the paper. Its Table 3 has the mean angle to the own centre at 50.5 degrees for norm-softmax and at 17.5 with
intra-loss; the weight that does this is not published (the authors' program requires one: docs/original.md, section
3.10). `--loss-options intra=W,inter=W` sets them; with `--original` both terms have the form of that program.

t_j: angle between embedding x and centre j; y: the own class; z_j: logit of the softmax; m1, m2, m3: margins of z_y;
s: 16 where the row names none.

| loss | formula | m1, m2, m3; s | source | steps | lfw | cfp_fp | agedb_30 | mean ± σ | learns |
|---|---|---|---|---|---|---|---|---|---|
"""
    return head + "\n".join(table_line(row, untrained) for row in rows) + "\n"


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Train what is not there yet, print the table or write it; returns 1 where a loss did not learn."""
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", default="runs/losses", help="folder of faces and runs (default runs/losses)")
    parser.add_argument("--losses", nargs="*", choices=list(LOSSES), default=list(LOSSES), metavar="NAME",
                        help="presets (default: all)")
    parser.add_argument("--steps", type=int, default=300, help="steps of each (default 300)")
    parser.add_argument("--identities", type=int, default=200, help="people in the training set (default 200)")
    parser.add_argument("--images", type=int, default=40, help="pictures of each (default 40)")
    parser.add_argument("--pairs", type=int, default=600, help="pairs of each pack (default 600)")
    parser.add_argument("--table", action="store_true", help="train nothing: the table of the runs that are there")
    parser.add_argument("--out", help="write the page here instead of printing it")
    given = parser.parse_args(argv)
    work = Path(given.work)
    data = small_faces(work, given.identities, given.images, given.pairs)
    untrained = measured(UNTRAINED, data, work, given.steps, given.pairs)
    rows, absent = [], []
    for name in progress(given.losses, len(given.losses), "training", "losses"):
        budgets = [given.steps, *(times * given.steps for times in LONGER)]
        there = [steps for steps in reversed(budgets) if len(_validations(work / f"{name}-{steps}")) == len(PACKS)]
        if given.table:
            runs = [measured(name, data, work, steps, given.pairs) for steps in there]
            rows += runs[:1] if runs and verdict(runs[0], untrained) == "yes" else runs[::-1]
            absent += [] if there else [name]
            continue
        row = measured(name, data, work, budgets.pop(0), given.pairs)
        while budgets and verdict(row, untrained) == "no":
            row = measured(name, data, work, budgets.pop(0), given.pairs)
        rows.append(row)
    text = page(rows, untrained, given.steps)
    longest = LONGER[-1] * given.steps
    behind = [row for row in rows if verdict(row, untrained) == "no"]
    stuck = [row.name for row in behind if row.steps >= longest]
    short = sorted({row.name for row in behind} - set(stuck))
    if short:
        text += f"\nNot learned yet, and not trained for {longest} steps yet: {', '.join(short)}.\n"
    if stuck:
        text += f"\nNot above the untrained network even after {longest} steps: {', '.join(stuck)}.\n"
    if absent:
        text += f"\nNot measured yet: {', '.join(absent)}.\n"
    if given.out:
        with atomic_open(given.out, "w") as stream:
            stream.write(text)
    else:
        sys.stdout.write(text)
    return int(bool(behind))


if __name__ == "__main__":
    run_command(main)
