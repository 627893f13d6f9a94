"""What a plan at paper scale costs: disk for its data and runs, hours of training, and what each is reckoned from."""
import functools
import math
import shutil
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from arcface_mxnet.datasets import catalog
from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.graph.describe import count_flops
from arcface_mxnet.recognition.engine.model import compose, parameter_shapes
from arcface_mxnet.recognition.engine.setup import settings_from
from arcface_mxnet.recognition.networks import build
from arcface_mxnet.recognition.reproduction.paper_plan import Plan, many
from arcface_mxnet.recognition.reproduction.paper_runs import CONTEXTS, EPOCH_SETS, PaperRecipe, steps_of_epochs
from arcface_mxnet.recognition.reproduction.processes import Devices
from arcface_mxnet.recognition.reproduction.speed import measured_speed
from arcface_mxnet.recognition.settings import resolve

PUBLISHED_SPEED: Mapping[str, float] = {"y1": 3244.0, "r50": 824.0, "r100": 526.0}
"""Training images a second of PUBLISHED_ON, as docs/engines.md has them."""
PUBLISHED_CLASSES = 85742
PUBLISHED_ON = (f"one NVIDIA H100, PyTorch 2.11, float32, batches of 128, ArcFace over {PUBLISHED_CLASSES:,} "
                "identities (docs/engines.md)")
_STANDS_FOR_OTHERS = "r50"  # by floating point operations
_MODELS_KEPT = 3  # model-0001, best/model and end/model, none with a head
_FEWEST = 2  # identities that a loss tells apart: the network's part of a run where they are not known
_FLOAT, _GB, _HOUR = 4, 1e9, 3600
_RECORDS, _HEAD = "train.rec", "fc7"


class Sizes(NamedTuple):
    """Numbers (float32) of a run: the network's parameters, its moving statistics, the head; `rows` of the head."""

    network: int
    statistics: int
    head: int
    rows: int

    def kept_bytes(self, contexts: int) -> Tuple[int, int]:
        """Bytes of (a restart point, the published checkpoints) of a run.

        A restart point has the momentum too, and with several contexts the moving statistics of each.
        """
        restart = 2 * (self.network + self.head) + (1 + contexts * (contexts > 1)) * self.statistics
        return _FLOAT * restart, _FLOAT * _MODELS_KEPT * (self.network + self.statistics)


class Group(NamedTuple):
    """Runs of one speed: their flags (as train.py takes them), rows of the head, images a device, steps of all of them.

    `identities` and `steps` are None where they follow from a set that is neither here nor published.
    """

    network: str
    identities: Optional[int]
    rows: int
    batch: int
    flags: Dict[str, Any]
    runs: int = 0
    steps: Optional[int] = 0

    @property
    def told(self) -> str:
        """Network and head in words."""
        head = "no head" if not self.rows else f"head of {self.rows:,} rows" if self.identities else "head unknown"
        return f"{self.network}, {head}"


class Speed(NamedTuple):
    """Images a second of all devices together."""

    images_per_second: float
    told: str


@functools.lru_cache(maxsize=None)
def sizes_of(network: str, loss: str, batch: int, classes: int) -> Sizes:
    """The numbers that a run keeps for a set of `classes` identities."""
    settings = resolve(network, loss, "own", {"per_batch_size": batch})
    model = compose(settings.network, settings.loss, classes, batch)
    arguments, statistics = parameter_shapes(model, batch, settings.network.image_shape)
    head = sum(math.prod(shape) for name, shape in arguments.items() if name.startswith(_HEAD))
    return Sizes(sum(map(math.prod, arguments.values())) - head, sum(map(math.prod, statistics.values())), head,
                 arguments.get(f"{_HEAD}_weight", (0,))[0])


def counts_of(recipe: PaperRecipe) -> Tuple[Optional[int], Optional[int]]:
    """(identities, images) of a training set: counted where it is here, else published, else None."""
    if all((recipe.data / name).exists() for name in catalog.TRAINING_FILES):
        with RecordSet.open(recipe.data) as records:
            return records.num_classes, records.images
    if recipe.dataset in catalog.TRAINING_SETS:
        published = catalog.training_set(recipe.dataset)
        return published.identities, published.images
    return None, None


def steps_of(recipe: PaperRecipe, images: Optional[int]) -> Optional[int]:
    """Steps of a run; None where they follow from a number of images that is not known."""
    if recipe.dataset not in EPOCH_SETS:
        return recipe.steps
    if images is None:
        return None
    last = steps_of_epochs(images)[-1]
    return min(recipe.limit or last, last)


def group_of(recipe: PaperRecipe, loss: str) -> Group:
    """One run as a group, by the flags that its cost follows from; no picture is read."""
    identities, images = counts_of(recipe)
    flags = {"network": recipe.network, "loss": loss, "dataset": "own", **recipe.batch_flags(loss), **recipe.where()}
    batch = settings_from(flags).data.per_batch_size
    rows = sizes_of(recipe.network, loss, batch, identities or _FEWEST).rows
    return Group(recipe.network, identities, rows, batch, flags, 1, steps_of(recipe, images))


def groups_of(trained: Sequence[Tuple[PaperRecipe, str]]) -> List[Group]:
    """The runs of a plan by what decides their speed: network, rows of the head, images a device."""
    found: Dict[Tuple[Any, ...], Group] = {}
    for recipe, loss in trained:
        one = group_of(recipe, loss)
        key = (one.told, one.batch, one.steps is None)
        so_far = found.get(key, one._replace(runs=0, steps=None if one.steps is None else 0))
        steps = None if one.steps is None or so_far.steps is None else so_far.steps + one.steps
        found[key] = so_far._replace(runs=so_far.runs + 1, steps=steps)
    return list(found.values())


# Hours: steps x images of a step / images a second.


@functools.lru_cache(maxsize=None)
def _flops(network: str) -> int:
    settings = resolve(network, "arcface", "own", {}).network
    return count_flops(build(settings), settings.input_shape)


def published_speed(network: str, gpus: int) -> Speed:
    """What a network would do on so many of the GPUs that speeds were published of, each at the speed of one."""
    if network in PUBLISHED_SPEED:
        return Speed(gpus * PUBLISHED_SPEED[network], "published")
    share = _flops(_STANDS_FOR_OTHERS) / _flops(network)
    return Speed(gpus * share * PUBLISHED_SPEED[_STANDS_FOR_OTHERS],
                 f"by floating point operations from {_STANDS_FOR_OTHERS}'s")


def measured_here(group: Group, processes: int) -> Speed:
    """A few steps on images of noise on this machine; raises InputError where it cannot."""
    found = measured_speed(group.flags, group.identities or PUBLISHED_CLASSES, processes)
    return Speed(found["images_per_second"], f"measured now, {found['on']}")


def hour_lines(groups: Sequence[Group], devices: Devices, text: str, measure: bool) -> List[str]:
    """Hours of training, altogether and of each group, and what they are an estimate from.

    `text` is the --gpus value: where it asks for no GPU and none is here the paper's number of GPUs is assumed.
    """
    gpus = devices.gpus or (0 if text else CONTEXTS)
    if not gpus and not measure:
        return ["  hours: unknown, no speed of a CPU is published; --measure takes that of this machine"]
    contexts = devices.contexts if measure else gpus
    lines, total, unknown = [], 0.0, 0
    for group in groups:
        speed = measured_here(group, devices.processes) if measure else published_speed(group.network, gpus)
        runs = f"    {group.told}: {many(group.runs)}"
        if group.steps is None:
            unknown += group.runs
            lines.append(f"{runs}, hours unknown: steps follow from the images of a set that is not here")
            continue
        hours = group.steps * group.batch * contexts / speed.images_per_second / _HOUR
        total += hours
        lines.append(f"{runs}, {group.steps:,} steps of {contexts} x {group.batch} images, "
                     f"{speed.images_per_second:,.0f} images/s ({speed.told}): {hours:,.2f} h")
    return [f"  hours: {total:,.2f} of training{f', and those of {many(unknown)}' if unknown else ''}; an estimate, "
            "without reading of pictures, validation and evaluation", f"    {_basis(gpus, devices, measure)}", *lines]


def _basis(gpus: int, devices: Devices, measure: bool) -> str:
    if measure:
        return "from some steps on images of noise on this machine"
    several = f"; {gpus} are taken to be {gpus} times as fast" if gpus > 1 else ""
    assumed = "" if devices.gpus else ", as many as the paper's since none is here"
    return f"from the speed of {PUBLISHED_ON}{several}{assumed}; --measure takes that of this machine"


# Disk.


def _size(count: float) -> str:
    return f"{count / _GB:,.2f} GB"


def file_lines(plan: Plan) -> List[str]:
    """How many files are here and what they take; what missing sets would, where sets that are here tell."""
    here = [path for path in plan.files if path.exists()]
    folders = "; folders of images not counted" if any(path.is_dir() for path in here) else ""
    lines = [f"  files: {len(plan.files)}, of which {len(here)} are here "
             f"({_size(sum(path.stat().st_size for path in here if path.is_file()))}{folders})"]
    recipes = list({recipe.data: recipe for recipe, _ in plan.runs}.values())
    there = [(recipe.data / _RECORDS).stat().st_size / (counts_of(recipe)[1] or 1) for recipe in recipes
             if counts_of(recipe)[1] and (recipe.data / _RECORDS).exists()]
    for recipe in recipes:
        images = counts_of(recipe)[1]
        if not (recipe.data / _RECORDS).exists():
            told = (f"about {_size(images * sum(there) / len(there))}, at the bytes an image of the sets that are here"
                    if images and there else "size unknown" + (f", {images:,} images" if images else ""))
            lines.append(f"    to come: {recipe.data}: {told}")
    return lines


def run_lines(plan: Plan, work: Path, contexts: int) -> List[str]:
    """What the runs will take below `work`, and what is free there."""
    total, largest, unknown = 0, 0, 0
    for recipe, loss in plan.trained:
        one = group_of(recipe, loss)
        sizes = sizes_of(one.network, loss, one.batch, one.identities or _FEWEST)
        restart, models = sizes.kept_bytes(contexts)
        total, largest = total + restart + models, max(largest, restart)
        unknown += one.identities is None
    copies = sum((recipe.data / _RECORDS).stat().st_size for recipe, _ in plan.again
                 if (recipe.data / _RECORDS).exists()) * plan.seeds
    existing = next(folder for folder in (work, *work.absolute().parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    lines = [f"  disk: {_size(total + largest)} below {work} for {many(len(plan.trained))}: a restart point and the "
             f"checkpoints of each, and one restart point more while it is written; {_size(free)} are free there"]
    if unknown:
        lines.append(f"    and the heads of {many(unknown)}, whose identities are not known until their sets are here")
    if plan.again:
        told = f"at most {_size(copies)}" if copies else "size unknown"
        lines.append(f"    and what the drop step leaves of the sets, {len(plan.again) * plan.seeds} copies: {told}")
    return lines


def needs_text(plan: Plan, work: Path, measure: bool = False) -> str:
    """Files, disk and hours of a plan, a line each and what is behind them."""
    recipe = plan.runs[0][0]
    devices = recipe.runs_on
    contexts = devices.contexts if devices.gpus or recipe.devices else CONTEXTS
    lines = ["needs", *file_lines(plan), *run_lines(plan, work, contexts),
             *hour_lines(groups_of(plan.trained), devices, recipe.devices, measure)]
    return "\n".join(lines)
