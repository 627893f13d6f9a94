"""Our runs behind the tables: each trained once per seed by the main program, kept, resumed, measured."""
import contextlib
import hashlib
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Dict, Iterator, NamedTuple, Optional, Sequence, Tuple, Union

from arcface_mxnet.datasets import manifest
from arcface_mxnet.datasets.images import decode_rgb
from arcface_mxnet.datasets.pairs import read_pack
from arcface_mxnet.engines.base import Place
from arcface_mxnet.evaluation.angles import angle_statistics
from arcface_mxnet.evaluation.embedder import Embedder
from arcface_mxnet.evaluation.extraction import record_embeddings
from arcface_mxnet.evaluation.verification import evaluate_pack
from arcface_mxnet.graph.checkpoint import Checkpoint, save
from arcface_mxnet.recognition.engine.checkpoint import SETTINGS, RunDirectory, network_of
from arcface_mxnet.recognition.engine.setup import make_trainer, settings_from
from arcface_mxnet.recognition.losses import attach
from arcface_mxnet.recognition.losses.subcenter_arcface import SUBCENTRES
from arcface_mxnet.recognition.networks import build
from arcface_mxnet.recognition.presets import LOSSES
from arcface_mxnet.recognition.reproduction.paper_runs import PaperRecipe, whole_batch
from arcface_mxnet.recognition.reproduction.processes import train_apart
from arcface_mxnet.recognition.reproduction.provenance import commit
from arcface_mxnet.recognition.settings import sections
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import sha256, write_json
from arcface_mxnet.runtime.progress import progress
from arcface_mxnet.runtime.text import read_json

import numpy as np

RESULT = "result.json"
MADE_BY = "made_by.json"
PACKS = ("lfw", "cfp_fp", "agedb_30")
DROPS = (0.6, 0.8, 0.95)


@dataclass(frozen=True)
class Recipe:
    """How the runs of a table are trained at demo scale; ours, one for all losses, never tuned to a row.

    Every run of a seed goes on from the same `warm` steps of softmax: the original's authors advise it for small
    networks (docs/original.md, section 4.3); without it norm-softmax and ArcFace at s = 64 stay where they started.
    The rate drops to a tenth at the shares DROPS of the steps. `engine` and `devices`: as train.py takes them, empty
    for MXNet on the CPU.
    """

    network: str = "small"
    steps: int = 3000
    batch: int = 256
    rate: float = 0.05
    warm: int = 3000
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
        """By which engine and on which devices the runs are trained."""
        return {"gpus": self.devices or "cpu", **({"engine": self.engine} if self.engine else {})}


AnyRecipe = Union[Recipe, PaperRecipe]


def recipe_json(recipe: AnyRecipe) -> Dict[str, Any]:
    """A recipe as plain values, for the files of a table."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(recipe).items()}


class Run(NamedTuple):
    """A run that is finished: where it is, its seed, and what was measured ({pack: accuracy in %}, angles)."""

    folder: Path
    loss: str
    seed: int
    accuracies: Dict[str, float]
    angles: Dict[str, Dict[str, Optional[float]]]


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
        classes, size = arrays["arg:fc7_weight"].shape
        symbol = attach(build(settings.network), settings.loss, classes, settings.data.per_batch_size, size).symbol
        parts = [{name[4:]: array for name, array in arrays.items() if name.startswith(kind)}
                 for kind in ("arg:", "aux:")]
        save(Checkpoint(symbol, parts[0], parts[1]), str(prefix), 0)
    return prefix


def run_folder(loss: str, seed: int, data: Path, work: Path, recipe: AnyRecipe) -> Path:
    """Where a run is kept: the name ends in a hash of its settings, its start and the bytes of its training set.

    A preset, a recipe or a set that has changed is another run, so a kept one is never taken for it.
    """
    flags = {name: value for name, value in recipe.flags(loss, data, Path("."), seed).items()
             if name not in ("gpus", "run_dir")}
    settings = settings_from(flags)
    chosen = {part: _not_default(getattr(settings, part)) for part in sections() if part != "names"}
    del chosen["data"]["folder"]
    chosen["schedule"].pop("max_steps", None)
    warm = (recipe.warm, recipe.warm_rate) if isinstance(recipe, Recipe) else None
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
            flags["pretrained"] = f"{softmax_start(seed, data, work, recipe)},0"
    processes = recipe.runs_on.processes if isinstance(recipe, PaperRecipe) else 1
    if processes > 1:
        write_json(folder / MADE_BY, {"commit": commit()})
        stopped = train_apart(flags, processes)
    else:
        trainer = make_trainer(flags)
        write_json(folder / MADE_BY, {"commit": commit()})
        stopped = trainer.train().signal
    if stopped:
        raise InputError(f"{folder}: stopped at step {run.last_step()}; the same command goes on from there")
    return folder


def made_by(folder: Path) -> str:
    """The commit a run was trained at."""
    return str(read_json(folder / MADE_BY)["commit"])


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
    """Train (or take up) one run and measure it: pair accuracies in %, Table 3's angles of it in degrees."""
    folder = trained(loss, seed, data, work, recipe)
    if not (folder / RESULT).exists():
        settings, checkpoint, centres = network_of(folder)
        where = recipe.embeds_on() if isinstance(recipe, PaperRecipe) else None
        embed = Embedder(checkpoint, where, batch_size=64).embed
        accuracies = {name: 100 * evaluate_pack(embed, read_pack(data / f"{name}.bin")).accuracy for name in PACKS}
        plain = centres if centres is not None and settings.loss.loss_name not in SUBCENTRES else None
        angles = {}
        for name, (rows, labels), weights in (("train", record_embeddings(data, embed), plain),
                                              ("lfw", genuine_embeddings(checkpoint, data / "lfw.bin", where), None)):
            angles[name] = asdict(angle_statistics(rows, labels, weights))
        write_json(folder / RESULT, {"accuracies": accuracies, "angles": angles})
    stored = read_json(folder / RESULT)
    return Run(folder, loss, seed, stored["accuracies"], stored["angles"])


@contextlib.contextmanager
def _ended_with(pool: ProcessPoolExecutor) -> Iterator[None]:
    """While entered, an error or a signal ends the pool's runs at once, as it would end one: they save and stop."""
    try:
        yield
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()
        pool.shutdown(wait=False)
        raise


def at_once(pairs: Sequence[Tuple[str, int]], data: Path, work: Path, recipe: AnyRecipe, jobs: int,
            what: str) -> Dict[Tuple[str, int], Run]:
    """Every (loss, seed) measured, `jobs` runs at a time, each in a process of its own; the starts they share first.

    Raises InputError of the first run that fails; finished runs are kept.
    """
    if jobs <= 1:
        return {(loss, seed): measured(loss, seed, data, work, recipe)
                for loss, seed in progress(pairs, len(pairs), what, "runs")}
    data_hash(data)  # a set that is not there is said once
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool, _ended_with(pool):
        if isinstance(recipe, Recipe) and recipe.warm:
            seeds = list(dict.fromkeys(seed for _, seed in pairs))
            list(pool.map(partial(softmax_start, data=data, work=work, recipe=recipe), seeds))
        futures = {pair: pool.submit(measured, pair[0], pair[1], data, work, recipe) for pair in pairs}
        return {pair: future.result() for pair, future in progress(futures.items(), len(futures), what, "runs")}


def data_hash(data: Path) -> str:
    """The short hash of a training set's manifest; of its property where it has none, as a set from elsewhere may."""
    if (data / manifest.MANIFEST).exists():
        return manifest.short_hash(manifest.read(data))
    return "property-" + sha256(data / "property")[:12]
