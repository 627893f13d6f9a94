"""From settings to a Trainer: open the data, compose the model, set its first parameters or those of a restart."""
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from arcface_mxnet.datasets import manifest
from arcface_mxnet.datasets.iterators import Batches
from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.graph.checkpoint import load, parse_model
from arcface_mxnet.graph.flops import count_flops
from arcface_mxnet.logs import format as line
from arcface_mxnet.logs.writer import LogWriter
from arcface_mxnet.recognition.engine.distributed import Workers, join, own_directory
from arcface_mxnet.recognition.engine.heads import head_of, make_step
from arcface_mxnet.recognition.engine.initial import Start, fresh, overlay
from arcface_mxnet.recognition.engine.order import make_batches
from arcface_mxnet.recognition.engine.precision import require_bfloat16
from arcface_mxnet.recognition.engine.present import PresentNetwork
from arcface_mxnet.recognition.engine.program import Model, compose, parameter_shapes
from arcface_mxnet.recognition.engine.run_directory import LOG, Position, RunDirectory
from arcface_mxnet.recognition.engine.step import Step
from arcface_mxnet.recognition.engine.trainer import Trainer, start_lines
from arcface_mxnet.recognition.engine.validation import Validation, read_packs
from arcface_mxnet.recognition.settings import AUTO, PLAIN, Settings
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.mx import mx

VALIDATION_BATCH = 32
SET_FILES = ("train.rec", "train.idx", "property")


class Prepared(NamedTuple):
    """What a run needs before its first line is written; preparing it changes nothing on disk."""

    records: RecordSet
    model: Model
    parallel: Step
    batches: Batches
    validation: Validation
    missing_targets: List[str]
    manifest: Optional[str]  # short hash of the set's manifest, None where it has none
    workers: Workers


def require_files(folder: Path) -> None:
    """Raise InputError where a record set is not there: which files were looked for, where, and what to do."""
    missing = [name for name in SET_FILES if not (folder / name).exists()]
    if "train.rec" in missing:
        raise InputError(f"{folder.resolve()}: no training set; looked for {', '.join(SET_FILES)} and found "
                         f"{'no such folder' if not folder.is_dir() else 'none' if len(missing) == 3 else 'a part'}; "
                         f"put the set there, say where it is with --data-dir DIR, or make one with "
                         f"'python datasets/prepare.py build'")
    if "property" in missing:
        raise InputError(f"{folder / 'property'}: not found; copy it there, or write its one line "
                         "`identities,height,width`, such as 85742,112,112")


def prepare(settings: Settings, contexts: Sequence["mx.Context"]) -> Prepared:
    """Open and check the data, build and bind the graph. Raises InputError for whatever does not fit."""
    data, step = settings.data, settings.step
    if step.fp16 and any(context.device_type == "cpu" for context in contexts):
        raise InputError("--fp16: MXNet 1.9.1 has no half-precision convolution on the CPU; leave it out or use a GPU")
    if step.bf16:
        require_bfloat16(contexts)
    folder = Path(data.folder)
    require_files(folder)
    size = data.image_shape[:2]
    records = RecordSet.open(data.folder, min_images=data.data_images_filter)
    if not data.data_images_filter:
        records.check_expected(data.num_classes, data.images, size)
    workers = join(step.kvstore)
    packs, missing = read_packs(folder, data.val_targets if workers.rank == 0 else (), size)
    checked = manifest.check(folder)
    on_cpu = all(context.device_type == "cpu" for context in contexts)
    model = compose(settings, records.num_classes, step.per_batch_size, rewritten=on_cpu)
    parallel = make_step(settings, model, contexts, records.num_classes, workers)
    network = PresentNetwork(model, parallel, contexts, VALIDATION_BATCH)
    batches = make_batches(settings, records, model.head, len(contexts), workers.part, network)
    return Prepared(records, model, parallel, batches, Validation(packs, contexts, VALIDATION_BATCH), missing,
                    checked, workers)


def begin(settings: Settings, contexts: Sequence["mx.Context"], run: RunDirectory) -> Trainer:
    """A new run: fresh parameters, or pretrained ones laid over them."""
    ready = prepare(settings, contexts)
    start = _start(settings, ready)
    run = own_directory(run, ready.workers)
    run.create(settings, _facts(ready))
    log = LogWriter(run.folder / LOG)
    _say_start(settings, contexts, run, ready, log)
    if settings.pretrained:
        log(line.loading_pretrained(*parse_model(settings.pretrained)))
        log(line.parameters("loaded", len(start.loaded)))
        for kind, names in (("new", start.new), ("ignored", start.ignored)):
            log(line.parameters(kind, len(names), names))
    ready.parallel.set_parameters(start.arguments, start.auxiliary)
    ready.parallel.set_optimizer(settings.step.mom, settings.step.wd, settings.step.multipliers)
    return _trainer(settings, ready, run, log, Position())


def resume(contexts: Sequence["mx.Context"], run: RunDirectory, settings: Settings) -> Trainer:
    """Go on from the last restart point of `run`; a run killed before its first one starts again."""
    ready = prepare(settings, contexts)
    before = run.settings()[1].get("data_manifest")
    if ready.manifest != before:
        raise InputError(f"--resume: {settings.data.folder} is not the set this run was started on (manifest "
                         f"{ready.manifest}, then {before}); give it the set back, or start a new --run-dir")
    run = own_directory(run, ready.workers)
    position, arrays = run.load_last()
    log = LogWriter(run.folder / LOG)
    log(line.resuming(str(run.folder), position.step, position.epoch, position.batch))
    if not arrays:
        start = _start(settings, ready)
        ready.parallel.set_parameters(start.arguments, start.auxiliary)
    ready.parallel.set_optimizer(settings.step.mom, settings.step.wd, settings.step.multipliers)
    if arrays:
        ready.parallel.restart(arrays)
        ready.batches.restart(arrays)
    return _trainer(settings, ready, run, log, position)


def _trainer(settings: Settings, ready: Prepared, run: RunDirectory, log: LogWriter, position: Position) -> Trainer:
    if ready.workers.store is not None:
        log(line.note(f"worker {ready.workers.rank} of {ready.workers.size}"))
    classes = ready.records.num_classes
    head = head_of(settings, ready.parallel.contexts, classes, ready.workers)
    if settings.step.head == AUTO and head != PLAIN:
        log(line.note(f"--head {head} for {classes} identities: the plain head's parameters in less memory"))
    return Trainer(settings, ready.model, ready.parallel, ready.batches, ready.validation, run, log, position,
                   ready.workers)


def _start(settings: Settings, ready: Prepared) -> Start:
    shapes = parameter_shapes(ready.model, settings.step.per_batch_size, settings.data.image_shape)
    head = ready.model.head
    arguments, auxiliary = fresh(head.symbol, shapes, settings.network.net_name, head.initializers, settings.step.seed)
    if not settings.pretrained:
        return Start(arguments, auxiliary, [], sorted({**arguments, **auxiliary}), [])
    return overlay(arguments, auxiliary, load(*parse_model(settings.pretrained)), settings.pretrained)


def _facts(ready: Prepared) -> Dict[str, Any]:
    return {"identities": ready.records.identities, "images": ready.records.images,
            "data_manifest": ready.manifest, "contexts": len(ready.parallel.contexts),
            "mxnet": mx.__version__, "validation_sets": list(ready.validation.packs)}


def _say_start(settings: Settings, contexts: Sequence["mx.Context"], run: RunDirectory, ready: Prepared,
               log: LogWriter) -> None:
    height, width, channels = settings.data.image_shape
    flops = count_flops(ready.model.embedding, (1, channels, height, width))
    for text in start_lines(settings, contexts, run.folder, ready.records, flops):
        log(text)
    if ready.manifest:
        log(line.data_manifest(ready.manifest))
    for target in ready.validation.packs:
        log(line.ver(target))
    for target in ready.missing_targets:
        log(line.note(f"{settings.data.folder}/{target}.bin is not there; {target} is not validated"))
