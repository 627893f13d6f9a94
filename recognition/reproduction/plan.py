"""Paper scale: the runs exactly as the paper has them, the files they need, which are missing, and the commands."""
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional

from datasets import catalog
from recognition.presets import DATASETS as SETS
from recognition.presets import LOSSES, RECIPES
from recognition.reproduction.run_list import PAPER_RUNS
from runtime.errors import InputError, unknown

CONTEXTS = 4  # the paper's four GPUs, 128 images each
VALIDATION = ("lfw.bin", "cfp_fp.bin", "agedb_30.bin")
MORE_FILES = {"table4": ("ytf.bin or frame folders for evaluation/video.py",), "table5": ("calfw.bin", "cplfw.bin")}
AFTERWARDS = {
    "table4": "python evaluation/video.py --help",
    "table5": "python evaluation/verification.py --target lfw,calfw,cplfw",
    "table6": "python -m evaluation.megaface --help", "table7": "python -m evaluation.ijb --help",
    "table8": "python evaluation/trillion_pairs.py --help", "table9": "python evaluation/iqiyi.py --help",
}


@dataclass(frozen=True)
class PaperRecipe:
    """A run of the paper: the dataset preset's own recipe, nothing changed; `runs.trained` takes it like Recipe."""

    network: str
    dataset: str
    data: Path

    @property
    def steps(self) -> int:
        """Steps of the recipe."""
        return int(RECIPES[SETS[self.dataset].recipe].max_steps)

    @property
    def batch(self) -> int:
        """Images of a step on one device."""
        return 128

    def flags(self, loss: str, data: Path, folder: Path, seed: int, steps: Optional[int] = None) -> Dict[str, Any]:
        """The flags of train.py for one run of the paper."""
        found: Dict[str, Any] = {"network": self.network, "loss": loss, "dataset": self.dataset, "data_dir": str(data),
                                 "run_dir": str(folder), "seed": seed}
        if steps is not None and steps != self.steps:
            found["max_steps"] = steps
        return found


    def where(self) -> Dict[str, Any]:
        """On which devices: all that there are."""
        return {}


@dataclass(frozen=True)
class Plan:
    """What a table or figure needs at paper scale: recipe, losses, files that are not there, commands in order."""

    what: str
    recipe: PaperRecipe
    losses: List[str]
    missing: List[str]
    commands: List[str]

    def text(self) -> str:
        """The plan for a reader: runs, commands, missing files."""
        recipe = self.recipe
        lines = [f"{self.what} at paper scale: {len(self.losses)} runs of [{recipe.dataset}, {recipe.network}, loss*], "
                 f"{recipe.steps:,} steps of {CONTEXTS} x {recipe.batch} images each", *self.commands]
        if self.what in AFTERWARDS:
            lines.append(f"then: {AFTERWARDS[self.what]}")
        lines += [f"missing: {path}" for path in self.missing] or ["missing: nothing"]
        return "\n".join(lines) + "\n"


def paper_plan(what: str, data_root: str, work: Path, seed: int = 0) -> Plan:
    """The plan of a table or figure; raises InputError when it needs no training or is unknown."""
    if what not in PAPER_RUNS:
        raise unknown("table or figure with runs at paper scale", what, list(PAPER_RUNS))
    network, dataset, losses = PAPER_RUNS[what]
    published = catalog.training_set(dataset)
    folder = Path(data_root) / published.folder
    recipe = PaperRecipe(network, dataset, folder)
    needed = [*published.files, *VALIDATION, *MORE_FILES.get(what, ())]
    missing = [str(folder / name) for name in needed if not (folder / name).exists()]
    names = list(dict.fromkeys(losses))
    commands = []
    for loss in names:
        flags = recipe.flags(loss, folder, work / "paper" / f"{network}-{loss}-{dataset}", seed)
        words = [word for key, value in flags.items() for word in (f"--{key.replace('_', '-')}", str(value))]
        commands.append(shlex.join(["python", "recognition/train.py", *words]) + f"  # {LOSSES[loss].source}")
    return Plan(what, recipe, names, missing, commands)


def require_files(plan: Plan) -> None:
    """Raise InputError when files of a plan are missing; the plan has named each of them."""
    if plan.missing:
        raise InputError(f"{plan.what}: {len(plan.missing)} files are missing, the first is {plan.missing[0]}; put "
                         "them there or say where the sets are with --data DIR")
