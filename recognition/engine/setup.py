"""From flags to a Trainer: settings, data, model, its first parameters or those of a restart."""
import dataclasses
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional

from arcface_mxnet.datasets import manifest
from arcface_mxnet.datasets.iterator import Batches
from arcface_mxnet.datasets.recordio import missing_set
from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.engines.base import Centres, Place, Step, Workers, default_engine, place
from arcface_mxnet.engines.sampling import Rule
from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.graph.checkpoint import DENSE_NAMES, Checkpoint, load, parse_model
from arcface_mxnet.graph.describe import count_flops
from arcface_mxnet.graph.params_file import Arrays
from arcface_mxnet.graph.symbol import Symbol
from arcface_mxnet.logs import format as line
from arcface_mxnet.logs.writer import LogWriter
from arcface_mxnet.recognition.engine.checkpoint import LOG, Position, RunDirectory
from arcface_mxnet.recognition.engine.distributed import own_directory
from arcface_mxnet.recognition.engine.model import (
    Model,
    backbone_program,
    compose,
    parameter_shapes,
    training_program,
)
from arcface_mxnet.recognition.engine.sampler import make_batches
from arcface_mxnet.recognition.engine.trainer import Trainer, start_lines
from arcface_mxnet.recognition.engine.validation import PresentNetwork, Validation, read_packs, require_packs
from arcface_mxnet.recognition.losses.arcface import changed_logits, check_margins, has_margin
from arcface_mxnet.recognition.losses.common import SMALLEST_PROBABILITY
from arcface_mxnet.recognition.losses.head import HeadNames, LossSettings, Sizes
from arcface_mxnet.recognition.settings import (
    AUTO,
    DEMO_DATASET,
    PLAIN,
    SAMPLED,
    SHARDED,
    Names,
    OptimizerSettings,
    ParallelismSettings,
    PrecisionSettings,
    Settings,
    default_folder,
    resolve,
    sections,
)
from arcface_mxnet.runtime.errors import InputError

# Where parameters start: the original's initial values, or a pretrained checkpoint laid over them.


class Start(NamedTuple):
    """Initial parameters, and what became of the arrays of a pretrained checkpoint (names, sorted)."""

    arguments: Arrays
    auxiliary: Arrays
    loaded: List[str]
    new: List[str]
    ignored: List[str]


def overlay(arguments: Arrays, auxiliary: Arrays, pretrained: Checkpoint, source: str) -> Start:
    """Pretrained values over initial ones, by name; `fc1_weight` and `pre_fc1_weight` are one name.

    An array the new graph has with another shape stays as initialised if it belongs to the head of another set of
    identities (fc7*), and is an InputError naming it otherwise: a network half loaded helps nobody.
    """
    given = {**pretrained.args, **pretrained.aux}
    wanted = {**arguments, **auxiliary}
    for name, alias in (DENSE_NAMES, DENSE_NAMES[::-1]):
        if name in given and name not in wanted and alias in wanted and alias not in given:
            given[alias] = given.pop(name)
    loaded = []
    for name in sorted(given):
        if name not in wanted:
            continue
        if given[name].shape != wanted[name].shape:
            if name.startswith("fc7"):
                continue
            raise InputError(f"--pretrained {source}: {name} has shape {given[name].shape}, the network needs "
                             f"{wanted[name].shape}; choose the --network the checkpoint was made with")
        (arguments if name in arguments else auxiliary)[name] = given[name].astype(wanted[name].dtype)
        loaded.append(name)
    if not loaded:
        raise InputError(f"--pretrained {source}: none of its {len(given)} arrays belongs to this network; "
                         "choose the --network the checkpoint was made with")
    return Start(arguments, auxiliary, loaded, sorted(set(wanted) - set(loaded)), sorted(set(given) - set(loaded)))


VALIDATION_BATCH = 32
SET_FILES = ("train.rec", "train.idx", "property")


class Prepared(NamedTuple):
    """What a run needs before its first line is written; preparing it changes nothing on disk."""

    records: RecordSet
    model: Model
    training_step: Step
    batches: Batches
    validation: Validation
    missing_targets: List[str]
    manifest: Optional[str]  # short hash of the set's manifest, None where it has none
    workers: Workers
    place: Place


def require_files(folder: Path) -> None:
    """Raise InputError where a record set is not there: which files were looked for, where, and what to do."""
    missing = [name for name in SET_FILES if not (folder / name).exists()]
    if "train.rec" in missing and any(folder.glob("*.rec")):
        raise missing_set(folder / "train.rec")
    if "train.rec" in missing:
        raise InputError(f"{folder.resolve()}: no training set; looked for {', '.join(SET_FILES)} and found "
                         f"{'no such folder' if not folder.is_dir() else 'none' if len(missing) == 3 else 'a part'}; "
                         f"put the set there, say where it is with --data-dir DIR, or make one with "
                         f"'python datasets/prepare.py build'")
    if "property" in missing:
        raise InputError(f"{folder / 'property'}: not found; copy it there, or have it made from the records with "
                         f"`python datasets/prepare.py index {folder}`")


def prepare(settings: Settings, where: Place) -> Prepared:
    """Open and check the data, build the graph and its step. Raises InputError for whatever does not fit."""
    data = settings.data
    where.engine.check(settings.numerics, where.devices)
    folder = Path(data.folder)
    require_files(folder)
    size = settings.network.image_shape[:2]
    records = RecordSet.open(data.folder, min_images=data.data_images_filter)
    if not data.data_images_filter:
        records.check_expected(data.num_classes, data.images, size)
    workers = where.engine.workers(where.devices, settings.parallelism.kvstore)
    packs, missing = read_packs(folder, data.val_targets if workers.rank == 0 else (), size)
    checked = manifest.check(folder)
    model = compose(settings.network, settings.loss, records.num_classes, data.per_batch_size)
    training_step = make_step(settings, model, where, records.num_classes, workers)
    network = PresentNetwork(model, training_step, where, VALIDATION_BATCH)
    batches = make_batches(data, settings.loss, size, records, model.head, training_step.replicas, workers.part,
                           network)
    return Prepared(records, model, training_step, batches, Validation(packs, where, VALIDATION_BATCH), missing,
                    checked, workers, where)


def begin(settings: Settings, where: Place, run: RunDirectory) -> Trainer:
    """A new run: fresh parameters, or pretrained ones laid over them."""
    source = settings.checkpoint.pretrained
    pretrained = load(*parse_model(source)) if source else None  # first of all: it may be refused
    ready = prepare(settings, where)
    start = _start(settings, ready, pretrained)
    run = own_directory(run, ready.workers)
    run.claim()
    run.create(settings, _facts(ready))
    log = LogWriter(run.folder / LOG)
    _say_start(settings, run, ready, log)
    if source:
        log(line.loading_pretrained(*parse_model(source)))
        log(line.parameters("loaded", len(start.loaded)))
        for kind, names in (("new", start.new), ("ignored", start.ignored)):
            log(line.parameters(kind, len(names), names))
    ready.training_step.set_parameters(start.arguments, start.auxiliary)
    _set_optimizer(ready.training_step, settings.optimizer)
    return _trainer(settings, ready, run, log, Position())


def resume(where: Place, run: RunDirectory, settings: Settings) -> Trainer:
    """Go on from the last restart point of `run`; a run killed before its first one starts again."""
    ready = prepare(settings, where)
    before = run.settings()[1].get("data_manifest")
    if ready.manifest != before:
        raise InputError(f"--resume: {settings.data.folder} is not the set this run was started on (manifest "
                         f"{ready.manifest}, then {before}); give it the set back, or start a new --run-dir")
    run = own_directory(run, ready.workers)
    run.claim()
    position, arrays = run.load_last()
    log = LogWriter(run.folder / LOG)
    log(line.note(where.describe(settings.numerics)))
    log(line.resuming(str(run.folder), position.step, position.epoch, position.batch))
    if not arrays:
        source = settings.checkpoint.pretrained
        start = _start(settings, ready, load(*parse_model(source)) if source else None)
        ready.training_step.set_parameters(start.arguments, start.auxiliary)
    _set_optimizer(ready.training_step, settings.optimizer)
    if arrays:
        ready.training_step.restart(arrays)
        ready.batches.restart(arrays)
    return _trainer(settings, ready, run, log, position)


def _set_optimizer(training_step: Step, optimizer: OptimizerSettings) -> None:
    training_step.set_optimizer(optimizer.mom, optimizer.wd, optimizer.multipliers)


def _trainer(settings: Settings, ready: Prepared, run: RunDirectory, log: LogWriter, position: Position) -> Trainer:
    if ready.workers.size > 1:
        log(line.note(f"worker {ready.workers.rank} of {ready.workers.size}"))
    classes = ready.records.num_classes
    head = head_of(settings.parallelism, settings.loss, ready.place, classes, ready.workers)
    if settings.parallelism.head == AUTO and head != PLAIN:
        log(line.note(f"--head {head} for {classes} identities: the plain head's parameters in less memory"))
    return Trainer(settings, ready.model, ready.training_step, ready.batches, ready.validation, run, log, position,
                   ready.workers, ready.place.engine.on_gpu(ready.place.devices) == 0)


def _start(settings: Settings, ready: Prepared, pretrained: Optional[Checkpoint]) -> Start:
    shapes = parameter_shapes(ready.model, settings.data.per_batch_size, settings.network.image_shape)
    head = ready.model.head
    arguments, auxiliary = ready.place.engine.initial(head.symbol, shapes, settings.network.net_name,
                                                      head.initializers, settings.data.seed)
    if pretrained is None:
        return Start(arguments, auxiliary, [], sorted({**arguments, **auxiliary}), [])
    return overlay(arguments, auxiliary, pretrained, settings.checkpoint.pretrained)


def _facts(ready: Prepared) -> Dict[str, Any]:
    return {"identities": ready.records.identities, "images": ready.records.images,
            "data_manifest": ready.manifest, "contexts": ready.training_step.replicas,
            ready.place.engine.NAME: ready.place.engine.version(), "validation_sets": list(ready.validation.packs)}


def _say_start(settings: Settings, run: RunDirectory, ready: Prepared, log: LogWriter) -> None:
    height, width, channels = settings.network.image_shape
    flops = count_flops(ready.model.embedding, (1, channels, height, width))
    where = ready.place
    log(line.note(where.describe(settings.numerics)))
    for text in start_lines(settings, where.engine.on_gpu(where.devices), run.folder, ready.records, flops):
        log(text)
    for text in where.engine.cautions(training_program(ready.model), where.devices):
        log(line.note(text))
    if ready.manifest:
        log(line.data_manifest(ready.manifest))
    for target in ready.validation.packs:
        log(line.ver(target))
    for target in ready.missing_targets:
        log(line.note(f"{settings.data.folder}/{target}.bin is not there; {target} is not validated"))


# The step a run asks for: the plain head in the network's graph, or classes split over contexts beside it.


FAMILIES = ("margin_softmax", "subcentre")


def check_family(settings: LossSettings, head: str) -> None:
    """Raise InputError where a loss changes more than the target logit, which only the plain head can do."""
    if settings.loss_name not in FAMILIES:
        raise InputError(f"--head {head}: works for margins on the target logit ({', '.join(FAMILIES)}), not for "
                         f"{settings.loss_name}; leave --head out")
    check_margins(settings)


def centres_per_class(settings: LossSettings) -> int:
    """K: the centres of one identity, adjacent rows of fc7_weight."""
    return settings.loss_K if settings.loss_name == "subcentre" else 1


def margin_graph(settings: LossSettings, batch: int) -> Optional[Symbol]:
    """The margin of a loss as a graph on a set of one class: `logits` (B, 1), `label` (B,); None where it has none."""
    if not has_margin(settings):
        return None
    with HeadNames():
        logits, label = sym.Variable("logits", shape=(batch, 1)), sym.Variable("label", shape=(batch,))
        return changed_logits(logits, label, settings, Sizes(1, batch, 0))[0]


MANY_CLASSES = 50_000  # from here on the plain head's copies of the centres outweigh the scratch of a shard


def make_step(settings: Settings, model: Model, where: Place, classes: int, workers: Workers) -> Step:
    """The step that `settings` ask for on an engine's devices; raises InputError where head, loss, devices and workers
    do not fit."""
    engine, loss = where.engine, settings.loss
    batch_size = settings.data.per_batch_size * engine.replicas(where.devices)
    head = head_of(settings.parallelism, loss, where, classes, workers)
    program, centres = training_program(model), None
    if head != PLAIN:
        check_family(loss, head)
        program = backbone_program(model)
        centres = centres_of(loss, classes, settings.network.emb_size, batch_size * engine.batch_parts(workers),
                             Rule(settings.data.seed, settings.parallelism.sample_rate) if head == SAMPLED else None)
    return engine.step(program, where.devices, batch_size, settings.network.image_shape, settings.numerics, centres,
                       workers, settings.parallelism.kvstore)


def centres_of(loss: LossSettings, classes: int, embedding: int, batch: int, sample: Optional[Rule] = None) -> Centres:
    """What an engine is told of a head beside the network: `batch` images meet there, of which `sample` may choose."""
    return Centres(classes, centres_per_class(loss), embedding, loss.loss_s, SMALLEST_PROBABILITY,
                   margin_graph(loss, batch), sample)


def head_of(parallelism: ParallelismSettings, loss: LossSettings, where: Place, classes: int,
            workers: Workers) -> str:
    """The head of a run: the requested one, or for "auto" plain or sharded.

    The plain head holds five matrices of the centres' size (weight, gradient, momentum, normalised weight and the
    gradient of that), the sharded one three, with the same parameters but for rounding. It is taken for MANY_CLASSES
    and margins on the target logit, where the engine would, and never for --original, whose bits are the published
    program's.
    """
    if parallelism.head != AUTO:
        return parallelism.head
    margin = loss.loss_name in FAMILIES and not loss.original
    sharded = classes >= MANY_CLASSES and margin and where.engine.shards_by_itself(where.devices, workers)
    return SHARDED if sharded else PLAIN


# The flags of a run, as a mapping by name of those that were given: the presets' names, keys of any section, and gpus,
# run_dir and resume, which are not settings.


ELSEWHERE = ("gpus", "run_dir", "resume")
OF_ONE_ENGINE = ("tf32", "autotune", "channels_last", "compile", "cuda_graphs", "mirror")


def settings_from(given: Mapping[str, Any]) -> Settings:
    """Settings from the flags given (values that are not None), presets filling the rest."""
    flags = {"engine": given.get("engine") or default_engine(trains=True),
             **{name: value for name, value in given.items() if name not in ELSEWHERE}}
    names = {kind: flags.pop(kind, getattr(Names, kind)) for kind in ("network", "loss", "dataset")}
    margins = flags.pop("margins", None)
    if margins is not None:
        if len(margins) != 3:
            raise InputError(f"--margins {','.join(map(str, margins))}: expected three numbers, e.g. 1,0.3,0.2")
        flags.update(loss_m1=margins[0], loss_m2=margins[1], loss_m3=margins[2])
    return resolve(**names, flags=flags)


def resumed_settings(run: RunDirectory, given: Mapping[str, Any]) -> Settings:
    """Settings of the run to continue; only what is resumable (--max-steps, --head, --engine) and --gpus may differ.

    On another engine, modes that only the first one has are left off.
    """
    left = {name: value for name, value in given.items() if name not in ELSEWHERE}
    changed = {section: {each.name: left.pop(each.name) for each in dataclasses.fields(kind)
                         if each.metadata.get("resumable") and each.name in left}
               for section, kind in sections().items()}
    if left:
        raise InputError(f"--resume takes its settings from {run.folder / 'settings.json'}; "
                         f"leave out --{next(iter(left)).replace('_', '-')}")
    settings, _ = run.settings()
    if changed["parallelism"].get("engine", settings.parallelism.engine) != settings.parallelism.engine:
        changed["precision"].update({name: getattr(PrecisionSettings, name) for name in OF_ONE_ENGINE})
    return dataclasses.replace(settings, **{section: dataclasses.replace(getattr(settings, section), **values)
                                            for section, values in changed.items() if values})


def make_trainer(given: Mapping[str, Any]) -> Trainer:
    """The Trainer for the given flags, new or resumed."""
    if given.get("resume"):
        if "run_dir" not in given:
            raise InputError("--resume: say which run with --run-dir DIR")
        run = RunDirectory(Path(given["run_dir"]))
        settings = resumed_settings(run, given)
        return resume(place(settings.parallelism.engine, given.get("gpus"), trains=True), run, settings)
    settings = settings_from(given)
    where = place(settings.parallelism.engine, given.get("gpus"), trains=True)
    names = settings.names
    folder = given.get("run_dir") or Path("runs") / f"{names.network}-{names.loss}-{names.dataset}"
    if names.dataset == DEMO_DATASET and not (Path(settings.data.folder) / "train.rec").exists():
        raise InputError(f"{default_folder(DEMO_DATASET)}: the built-in faces are not drawn yet; run "
                         f"'python datasets/prepare.py synthetic --out {settings.data.folder}' or 'make demo'")
    if "val_targets" in given:
        require_packs(Path(settings.data.folder), settings.data.val_targets)
    return begin(settings, where, RunDirectory(Path(folder)))
