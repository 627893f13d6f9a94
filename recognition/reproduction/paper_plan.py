"""What a table or figure needs at paper scale: its runs, the files they read, which are missing, and the commands."""
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, List, Sequence, Tuple

from arcface_mxnet.datasets import catalog
from arcface_mxnet.datasets.pair_folds import check_pack
from arcface_mxnet.datasets.pairs import read_pack
from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.recognition.presets import LOSSES
from arcface_mxnet.recognition.reproduction.paper_benchmarks import NEEDS, place
from arcface_mxnet.recognition.reproduction.paper_runs import (
    BATCH,
    CONTEXTS,
    DROPS,
    EPOCH_SETS,
    EPOCHS,
    OWN_FOLDERS,
    SUBCENTRE,
    PaperRecipe,
    PaperScale,
    paper_subjects,
)
from arcface_mxnet.recognition.reproduction.processes import TRAIN, words_of
from arcface_mxnet.runtime.errors import InputError

VALIDATION = ("lfw.bin", "cfp_fp.bin", "agedb_30.bin")


def many(runs: int) -> str:
    """So many runs, in words."""
    return f"{runs} run{'s' if runs != 1 else ''}"


@dataclass(frozen=True)
class Plan:
    """What a table or figure needs at paper scale: `runs`, and `again` those on what a drop step leaves of a set, each
    once for each of `seeds`; `files` that are read, of which `missing` are not there; commands in order.
    """

    what: str
    runs: List[Tuple[PaperRecipe, str]]
    files: List[Path]
    commands: List[str] = field(default_factory=list)
    again: List[Tuple[PaperRecipe, str]] = field(default_factory=list)
    seeds: int = 1

    @property
    def missing(self) -> List[str]:
        """Files that are not there."""
        return [str(path) for path in self.files if not path.exists()]

    @property
    def trained(self) -> List[Tuple[PaperRecipe, str]]:
        """Every run that is trained, a line a seed."""
        return [*self.runs, *self.again] * self.seeds

    @property
    def heading(self) -> str:
        """What is planned, in a line."""
        seeds = f" for each of {self.seeds} seeds" if self.seeds > 1 else ""
        return f"{self.what} at paper scale: {many(len(self.runs))}{seeds}"

    def text(self, needs: str) -> str:
        """The plan for a reader: runs, what they need (`needs`, whole lines), missing files, commands."""
        lines = [f"{self.heading}, each as by the command below"]
        for group in dict.fromkeys(recipe for recipe, _ in self.runs):
            losses = [loss for recipe, loss in self.runs if recipe == group]
            lines.append(f"  [{group.dataset}, {group.network}, loss*]: {', '.join(losses)}; {_length(group)} of "
                         f"{CONTEXTS} x {BATCH} images in the paper")
        if self.again:
            lines.append(f"  and {many(len(self.again))} of arcface on what the drop step leaves of these sets")
        lines.append(needs)
        lines += [f"missing: {path}" for path in self.missing] or ["missing: nothing"]
        lines += self.commands
        if self.what in NEEDS:
            lines.append("then each network is evaluated on " + ", ".join(NEEDS[self.what]))
        return "\n".join(lines) + "\n"


def _length(recipe: PaperRecipe) -> str:
    if recipe.dataset in EPOCH_SETS:
        return f"{EPOCHS[-1]} epochs"
    return f"{recipe.schedule[-1]:,} steps"


def paper_plan(what: str, scale: PaperScale, work: Path, seeds: Sequence[int] = (0,),
               losses: Sequence[str] = ()) -> Plan:
    """The plan of a table or figure, of some `losses` or (empty) of all; raises InputError when it trains nothing."""
    runs = [(scale.recipe(network, dataset), loss) for network, dataset, loss in paper_subjects(what)
            if not losses or loss in losses]
    folders = list(dict.fromkeys(recipe.data for recipe, _ in runs))
    files = [folder / name for folder in folders for name in (*catalog.training_set("webface").files, *VALIDATION)]
    files += [place(scale.root, folders[0], name) for name in NEEDS.get(what, ())]
    seeds = seeds[:1] if what.startswith("fig") else seeds
    commands = [_command(recipe, loss, work, seed) for seed in seeds for recipe, loss in runs]
    sources = [SUBCENTRE[row].paper for row, _ in DROPS.values()] if what == "subcentre" else []
    again = [(scale.recipe(*source), "arcface") for source in sources if source is not None]
    return Plan(what, runs, list(dict.fromkeys(files)), commands, again, len(seeds))


def together(plans: Sequence[Plan]) -> Plan:
    """Several plans as one, without their commands: a run or a file that two of them share is there once."""
    def each(name: str) -> List[Any]:
        return list(dict.fromkeys(one for plan in plans for one in getattr(plan, name)))
    again = [one for plan in plans for one in plan.again]
    return Plan("all of these", each("runs"), each("files"), [], again, max(plan.seeds for plan in plans))


def _command(recipe: PaperRecipe, loss: str, work: Path, seed: int) -> str:
    if recipe.dataset in EPOCH_SETS and not (recipe.data / "train.rec").exists():
        return f"# {recipe.network} {loss}: steps follow from the images of {recipe.data}, which is not there"
    flags = recipe.flags(loss, recipe.data, work / "paper" / f"{recipe.network}-{loss}-{recipe.dataset}", seed)
    processes = recipe.runs_on.processes
    start = ["torchrun", "--nproc-per-node", str(processes), "-m", TRAIN] if processes > 1 else [
        "python", "recognition/train.py"]
    return shlex.join([*start, *words_of(flags)]) + f"  # {LOSSES[loss].source}"


def require_files(plan: Plan) -> None:
    """Raise InputError when files of a plan are missing; the plan has named each of them."""
    if plan.missing:
        raise InputError(f"{plan.what}: {len(plan.missing)} files are missing, the first is {plan.missing[0]}; put "
                         "them there or say where the sets are with --data DIR")


def check_files(plan: Plan) -> None:
    """Raise InputError naming a file that is missing, a set that opens not or is of another edition, or a bad pack.

    A run or an evaluation would find it too, days later perhaps. Lists and folders of images are only looked for.
    """
    require_files(plan)
    for recipe in dict.fromkeys(recipe for recipe, _ in plan.runs):
        published = None if recipe.dataset in OWN_FOLDERS else catalog.training_set(recipe.dataset)
        with RecordSet.open(recipe.data) as records:
            if published is not None:
                records.check_expected(published.identities, published.images, published.image_shape)
    for path in plan.files:
        if path.suffix == ".bin":
            check_pack(read_pack(path), path)
