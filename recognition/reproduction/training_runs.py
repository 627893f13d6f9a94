"""Our runs behind the tables: each trained once per seed by the main program, kept, resumed, measured."""
import hashlib
import json
import multiprocessing
import os
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import (
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    TypeVar,
    Union,
)

from arcface_mxnet.datasets import manifest
from arcface_mxnet.datasets.images import decode_rgb
from arcface_mxnet.datasets.pairs import read_pack
from arcface_mxnet.engines.base import Place
from arcface_mxnet.evaluation.angles import angle_statistics
from arcface_mxnet.evaluation.embedder import Embedder
from arcface_mxnet.evaluation.extraction import record_embeddings
from arcface_mxnet.evaluation.verification import evaluate_pack
from arcface_mxnet.graph.checkpoint import Checkpoint, save
from arcface_mxnet.graph.checkpoint import load as load_checkpoint
from arcface_mxnet.graph.symbol import Symbol
from arcface_mxnet.logs.parse import load
from arcface_mxnet.recognition.engine.checkpoint import METRICS, SETTINGS, RunDirectory, network_of
from arcface_mxnet.recognition.engine.setup import make_trainer, settings_from
from arcface_mxnet.recognition.losses import attach
from arcface_mxnet.recognition.losses.subcenter_arcface import SUBCENTRES
from arcface_mxnet.recognition.networks import build
from arcface_mxnet.recognition.presets import LOSSES
from arcface_mxnet.recognition.reproduction.paper_runs import PaperRecipe, whole_batch
from arcface_mxnet.recognition.reproduction.processes import demo_place, train_apart
from arcface_mxnet.recognition.reproduction.provenance import commit
from arcface_mxnet.recognition.settings import Settings, sections
from arcface_mxnet.runtime.environment import available_cores, processor
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import sha256, write_json
from arcface_mxnet.runtime.progress import progress
from arcface_mxnet.runtime.text import read_json

import cv2
import numpy as np

RESULT = "result.json"
ANGLES = "angles.json"
MADE_BY = "made_by.json"
PACKS = ("lfw", "cfp_fp", "agedb_30")
DROPS = (0.6, 0.8, 0.95)
SAVED = 120.0  # seconds in which a run that is stopped has been saved


@dataclass(frozen=True)
class Recipe:
    """How the runs of a table are trained at demo scale; ours, one for all losses, never tuned to a row.

    Every run of a seed goes on from the same `warm` steps of softmax: the original's authors advise it for small
    networks (docs/original.md, section 4.3); without it norm-softmax and ArcFace at s = 64 stay where they started.
    Of K centres an identity the first begins where softmax's ended and the others at random: K centres at random would
    undo what the network has learned. The rate drops to a tenth at the shares DROPS of the steps. `engine` and
    `devices`: as train.py takes them, empty for MXNet on the CPU.
    """

    network: str = "small"
    steps: int = 6000  # after 2,000 no margin is fitted: the larger it is the lower the figures among distractors
    batch: int = 64
    rate: float = 0.05
    warm: int = 1200
    warm_rate: float = 0.1
    engine: str = ""
    devices: str = ""

    def flags(self, loss: str, data: Path, folder: Path, seed: int, steps: Optional[int] = None) -> Dict[str, Any]:
        """The flags of train.py for one run; the batch fits the loss's identities where it needs them whole."""
        return {"network": self.network, "loss": loss, "dataset": "own", "data_dir": str(data),
                "run_dir": str(folder), **self.where(), "seed": seed, "max_steps": steps or self.steps,
                "per_batch_size": whole_batch(loss, self.batch),
                "lr": LOSSES[loss].get("lr", self.rate),
                "lr_steps": tuple(sorted({max(1, int(self.steps * share)) for share in DROPS})),
                "verbose": self.steps + 1, "frequent": 20, "ckpt": 0}  # measured after, not while training

    def where(self) -> Dict[str, Any]:
        """By which engine and on which devices the runs are trained; a CUDA device has each step as one launch."""
        found: Dict[str, Any] = {"gpus": self.devices or "cpu"}
        if self.engine:
            found["engine"] = self.engine
        kind = self.devices.partition(":")[0]
        if self.engine == "torch" and (kind == "cuda" or kind.isdigit()):
            found["cuda_graphs"] = True  # the same bits
        return found

    def embeds_on(self) -> Optional[Place]:
        """The engine and devices that embed by its network: those that trained it; None for the default."""
        return demo_place(self.engine, self.devices)


AnyRecipe = Union[Recipe, PaperRecipe]
Key = TypeVar("Key")
Result = TypeVar("Result")


def recipe_json(recipe: AnyRecipe) -> Dict[str, Any]:
    """A recipe as plain values, for the files of a table."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(recipe).items()}


class Run(NamedTuple):
    """A run that is finished: where it is, its seed, and the accuracies that were measured, {pack: %}."""

    folder: Path
    loss: str
    seed: int
    accuracies: Dict[str, float]


def warm_recipe(recipe: Recipe) -> Recipe:
    """The steps of softmax that the runs of a recipe go on from."""
    return replace(recipe, steps=recipe.warm, rate=recipe.warm_rate, warm=0)


def softmax_start(seed: int, data: Path, work: Path, recipe: Recipe) -> Path:
    """The prefix of the checkpoint (epoch 0) after the warm steps of a seed, centres included; trained once."""
    begin = warm_recipe(recipe)
    prefix = run_folder("softmax", seed, data, work / "warm", begin) / "start" / "model"
    if not prefix.with_name("model-0000.params").exists():
        run = RunDirectory(trained("softmax", seed, data, work / "warm", begin))
        settings, _ = run.settings()
        _, arrays = run.load_last()
        parts = [{name[4:]: array for name, array in arrays.items() if name.startswith(kind)}
                 for kind in ("arg:", "aux:")]
        save(Checkpoint(_graph(settings, *parts[0]["fc7_weight"].shape), parts[0], parts[1]), str(prefix), 0)
    return prefix


def _graph(settings: Settings, classes: int, size: int) -> Symbol:
    """The network of a run with its head, for `classes` identities and embeddings of `size`."""
    return attach(build(settings.network), settings.loss, classes, settings.data.per_batch_size, size).symbol


def start_of(loss: str, seed: int, data: Path, work: Path, recipe: Recipe) -> Path:
    """The prefix of the checkpoint (epoch 0) that a run goes on from: softmax's, with K centres an identity if so many.
    """
    prefix = softmax_start(seed, data, work, recipe)
    several = prefix.with_name(f"model-{loss}")
    settings = settings_from(recipe.flags(loss, data, several, seed))
    if settings.loss.loss_K == 1:
        return prefix
    if not several.with_name(f"{several.name}-0000.params").exists():
        softmax = load_checkpoint(str(prefix), 0)
        centres = softmax.args["fc7_weight"]
        arguments = {**softmax.args, "fc7_weight": sub_centres(centres, settings.loss.loss_K, seed)}
        save(Checkpoint(_graph(settings, *centres.shape), arguments, softmax.aux), str(several), 0)
    return several


def sub_centres(centres: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Each centre and, after it, count - 1 of its length in random directions: (C, E) -> (C * count, E), float32."""
    drawn = np.random.RandomState(seed).standard_normal((len(centres), count, centres.shape[1]))
    lengths = np.linalg.norm(centres, axis=1)[:, None, None]
    made = drawn / np.linalg.norm(drawn, axis=2, keepdims=True) * lengths
    made[:, 0] = centres
    return made.reshape(-1, centres.shape[1]).astype(np.float32)


def start_accuracy(seed: int, data: Path, work: Path, recipe: Recipe) -> Optional[float]:
    """The share of training images that the warm steps of a seed take for the right person, in their last window.

    None for steps that ended before the first line of their log.
    """
    folder = run_folder("softmax", seed, data, work / "warm", warm_recipe(recipe))
    return float(load(folder).table["acc"].dropna().iloc[-1]) if _has_lines(folder) else None


def _has_lines(folder: Path) -> bool:
    return (folder / METRICS).exists() and (folder / METRICS).stat().st_size > 0


def run_folder(loss: str, seed: int, data: Path, work: Path, recipe: AnyRecipe) -> Path:
    """Where a run is kept: the name ends in a hash of its settings, its start and the bytes of its training set.

    A preset, a recipe or a set that has changed is another run, so a kept one is never taken for it.
    """
    flags = {name: value for name, value in recipe.flags(loss, data, Path("."), seed).items()
             if name not in ("gpus", "run_dir", "cuda_graphs")}  # where and how it is launched changes nothing
    settings = settings_from(flags)
    chosen = {part: _not_default(getattr(settings, part)) for part in sections() if part != "names"}
    del chosen["data"]["folder"]
    chosen["schedule"].pop("max_steps", None)
    warm: Optional[List[Any]] = None
    if isinstance(recipe, Recipe):
        warm = [recipe.warm, recipe.warm_rate, *(["first centre"] if settings.loss.loss_K > 1 else [])]
    told = json.dumps([chosen, settings.original, recipe.steps, data_hash(data), warm], sort_keys=True)
    digest = hashlib.sha256(told.encode("utf-8")).hexdigest()[:8]
    return work / "runs" / f"{recipe.network}-{loss}-{data.name}-seed{seed}-{digest}"


def _not_default(part: Any) -> Dict[str, Any]:
    """The settings that were chosen: one that is added to the program later does not make a kept run another."""
    values = {field.name: getattr(part, field.name) for field in fields(part)}
    chosen = {field.name: values[field.name] for field in fields(part) if values[field.name] != field.default}
    return {name: _not_default(value) if is_dataclass(value) else value for name, value in chosen.items()}


def trained(loss: str, seed: int, data: Path, work: Path, recipe: AnyRecipe, steps: Optional[int] = None) -> Path:
    """The folder of a run trained to `steps` (default: all), begun or resumed where it is not there yet."""
    steps = steps or recipe.steps
    folder = run_folder(loss, seed, data, work, recipe)
    run = RunDirectory(folder)
    if (folder / SETTINGS).exists():
        if run.last_step() >= steps:
            return folder
        flags: Dict[str, Any] = {"resume": True, "run_dir": str(folder), "max_steps": steps, **recipe.where()}
    else:
        flags = recipe.flags(loss, data, folder, seed, steps)
        if isinstance(recipe, Recipe) and recipe.warm:
            flags["pretrained"] = f"{start_of(loss, seed, data, work, recipe)},0"
    processes = recipe.runs_on.processes if isinstance(recipe, PaperRecipe) else 1
    made = {"commit": commit(), "processor": trained_on(recipe)}
    if processes > 1:
        write_json(folder / MADE_BY, made)
        stopped = train_apart(flags, processes)
    else:
        trainer = make_trainer(flags)
        write_json(folder / MADE_BY, made)
        stopped = trainer.train().signal
    if stopped:
        raise InputError(f"{folder}: stopped at step {run.last_step()}; the same command goes on from there")
    return folder


def trained_on(recipe: AnyRecipe) -> str:
    """What trains the runs of a recipe: the processor and, where the recipe names an engine, what that says of itself.

    Of several processes it is the first that speaks; the others are counted.
    """
    place = recipe.embeds_on() if recipe.engine else None
    if place is None:
        return processor()
    others = recipe.runs_on.processes - 1 if isinstance(recipe, PaperRecipe) else 0
    return f"{processor()}, {place.describe()}" + (f", and {others} more" if others else "")


def told_runs(folders: Sequence[Path]) -> Dict[str, Any]:
    """What a table keeps of its runs: the commit of each and its seconds of training, by name, and processors."""
    made = {folder.name: read_json(folder / MADE_BY) for folder in folders}
    return {"runs": {name: str(one["commit"]) for name, one in made.items()},
            "seconds": {folder.name: round(training_seconds(folder)) for folder in folders},
            "processors": sorted({str(one["processor"]) for one in made.values() if "processor" in one})}


def training_seconds(folder: Path) -> float:
    """How long a run trained, by the images and the speeds of its log; what lies between two starts does not count.

    0 for a run that ended before the first line of it.
    """
    if not _has_lines(folder):
        return 0.0
    table = load(folder).table.dropna(subset=["speed"])
    images = np.diff(table["images"].to_numpy(float), prepend=0)
    return float((images / table["speed"].to_numpy(float)).sum())


def published_model(folder: Path) -> str:
    """"PREFIX,EPOCH" of the network at a run's last restart point, in published form for the evaluation commands."""
    prefix = folder / "end" / "model"
    if not prefix.with_name("model-0000.params").exists():
        prefix.parent.mkdir(exist_ok=True)
        save(network_of(folder)[1], str(prefix), 0)
    return f"{prefix},0"


def genuine_embeddings(checkpoint: Checkpoint, pack: Path,
                       where: Optional[Place] = None) -> Tuple[np.ndarray, np.ndarray]:
    """Embeddings of the images of a pack's genuine pairs, and labels: one identity a pair."""
    read = read_pack(pack)
    chosen = [image for number, image in enumerate(read.images) if read.same[number // 2]]
    images = np.stack([decode_rgb(image) for image in chosen]).transpose(0, 3, 1, 2)
    return Embedder(checkpoint, where, batch_size=64).embed(images), np.repeat(np.arange(len(chosen) // 2), 2)


def measured(loss: str, seed: int, data: Path, work: Path, recipe: AnyRecipe) -> Run:
    """Train (or take up) one run and measure its pair accuracies."""
    folder = trained(loss, seed, data, work, recipe)
    if not (folder / RESULT).exists():
        embed = Embedder(network_of(folder)[1], recipe.embeds_on(), batch_size=64).embed
        accuracies = {name: 100 * evaluate_pack(embed, read_pack(data / f"{name}.bin")).accuracy for name in PACKS}
        write_json(folder / RESULT, {"accuracies": accuracies})
    return Run(folder, loss, seed, read_json(folder / RESULT)["accuracies"])


def run_angles(folder: Path, data: Path, recipe: AnyRecipe) -> Dict[str, Dict[str, Optional[float]]]:
    """Table 3's angles of a run in degrees, {"train" or "lfw": {statistic: value}}; measured once."""
    if not (folder / ANGLES).exists():
        settings, checkpoint, centres = network_of(folder)
        plain = centres if centres is not None and settings.loss.loss_name not in SUBCENTRES else None
        where = recipe.embeds_on()
        rows = record_embeddings(data, Embedder(checkpoint, where, batch_size=64).embed)
        embedded = {"train": (*rows, plain), "lfw": (*genuine_embeddings(checkpoint, data / "lfw.bin", where), None)}
        write_json(folder / ANGLES, {name: asdict(angle_statistics(*given)) for name, given in embedded.items()})
    return dict(read_json(folder / ANGLES))


def at_once(tasks: Mapping[Key, Callable[[], Result]], jobs: int, what: str) -> Dict[Key, Result]:
    """What every task returns, `jobs` of them at a time, each in a process of its own with its share of the cores.

    Tasks keep what they finish, so the same call goes on where an error or a signal has ended one; that is raised.
    """
    if jobs <= 1:
        return {key: task() for key, task in progress(tasks.items(), len(tasks), what, "runs")}
    share = max(1, available_cores() // jobs)
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _take_cores, (share,)) as pool:
        found = dict(progress(_as_done(pool, tasks, jobs), len(tasks), what, "runs"))
    return {key: found[key] for key in tasks}


def _as_done(pool: ProcessPoolExecutor, tasks: Mapping[Key, Callable[[], Result]],
             jobs: int) -> Iterator[Tuple[Key, Result]]:
    """Key and result of each task as it ends. None waits in the pool: it would begin after an error has ended the rest.
    """
    waiting = iter(tasks.items())
    running: Dict[Future[Result], Key] = {}
    try:
        while True:
            for key, task in islice(waiting, jobs - len(running)):
                running[pool.submit(task)] = key
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result()
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()  # a run saves and stops
        wait(running, timeout=SAVED)
        for process in multiprocessing.active_children():
            process.kill()  # one that ended on its own may hold the lock that the others wait for
        raise


def _take_cores(count: int) -> None:
    os.environ["OMP_NUM_THREADS"] = str(count)  # engines read it when they are imported, in this process later
    cv2.setNumThreads(count)


def train_all(wanted: Sequence[Tuple[str, int, Path, AnyRecipe]], work: Path, jobs: int, what: str) -> None:
    """Every (loss, seed, set, recipe) trained, each once, the softmax steps that several share before them."""
    wanted = list(dict.fromkeys(wanted))
    starts = {(seed, data): partial(softmax_start, seed, data, work, recipe) for _, seed, data, recipe in wanted
              if isinstance(recipe, Recipe) and recipe.warm}
    at_once(starts, jobs, f"softmax of {what}")
    at_once({run: partial(trained, run[0], run[1], run[2], work, run[3]) for run in wanted}, jobs, f"runs of {what}")


def data_hash(data: Path) -> str:
    """The short hash of a training set's manifest; of its property where it has none, as a set from elsewhere may."""
    if (data / manifest.MANIFEST).exists():
        return manifest.short_hash(manifest.read(data))
    return "property-" + sha256(data / "property")[:12]
