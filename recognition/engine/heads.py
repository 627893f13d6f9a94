"""The step a run asks for: the plain head in the network's graph, or classes split over contexts beside it."""
import contextlib
import os
from typing import Iterator, Sequence

from arcface_mxnet.recognition.engine.centres import HeadSizes, ShardedCentres
from arcface_mxnet.recognition.engine.class_parallel import ClassParallel
from arcface_mxnet.recognition.engine.distributed import Workers
from arcface_mxnet.recognition.engine.parallel import DataParallel
from arcface_mxnet.recognition.engine.program import Model, backbone_program
from arcface_mxnet.recognition.engine.sampled import Rule, SampledCentres
from arcface_mxnet.recognition.engine.server_centres import ServerCentres
from arcface_mxnet.recognition.engine.step import Step
from arcface_mxnet.recognition.engine.target_margin import FAMILIES, centres_per_class, check_family
from arcface_mxnet.recognition.settings import AUTO, PLAIN, SAMPLED, SHARDED, Settings
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.mx import mx

MIRROR = "MXNET_BACKWARD_DO_MIRROR"  # MXNet reads it when a graph is bound
LARGEST_LABEL = 2 ** 24
MANY_CLASSES = 50_000  # from here on the plain head's copies of the centres outweigh the scratch of a shard


def make_step(settings: Settings, model: Model, contexts: Sequence["mx.Context"], classes: int,
              workers: Workers) -> Step:
    """Bind what `settings` ask for on `contexts`; raises InputError where head, loss, contexts and workers do not
    fit."""
    step = settings.step
    batch_size = step.per_batch_size * len(contexts)
    head = head_of(settings, contexts, classes, workers)
    with mirroring(step.mirror):
        program = model.program if head == PLAIN else backbone_program(model)
        if head != PLAIN:
            check_family(settings.loss, head)
        network = DataParallel(program, contexts, batch_size, settings.data.image_shape,
                               workers.store or step.kvstore)
    if head == PLAIN:
        return network
    sizes = HeadSizes(classes, centres_per_class(settings.loss), batch_size, settings.network.emb_size)
    return ClassParallel(network, _centres(settings, head, sizes, contexts, workers), settings.loss)


def head_of(settings: Settings, contexts: Sequence["mx.Context"], classes: int, workers: Workers) -> str:
    """The head of a run: the one that was asked for, or for "auto" plain or sharded.

    The plain head holds five matrices of the centres' size (weight, gradient, momentum, normalised weight and the
    gradient of that), the sharded one three, with the same parameters but for rounding. It is taken for MANY_CLASSES
    and margins on the target logit, on CPU contexts of one process (on GPUs it has not been run), and never for
    --original, whose bits are the published program's.
    """
    asked = settings.step.head
    if asked != AUTO:
        return asked
    one_process_of_cpus = workers.store is None and all(context.device_type == "cpu" for context in contexts)
    margin = settings.loss.loss_name in FAMILIES and not settings.original
    return SHARDED if classes >= MANY_CLASSES and margin and one_process_of_cpus else PLAIN


def _centres(settings: Settings, head: str, sizes: HeadSizes, contexts: Sequence["mx.Context"],
             workers: Workers) -> ShardedCentres:
    step, scale = settings.step, settings.loss.loss_s
    if head == SHARDED:
        if workers.store is not None:
            raise InputError(f"--head {SHARDED} --kvstore {step.kvstore}: shards live inside one machine; take --head "
                             f"{SAMPLED} (centres on the servers) or {PLAIN}")
        return ShardedCentres(sizes, scale, contexts)
    rule = Rule(step.seed, step.sample_rate)
    if workers.store is None:
        return SampledCentres(sizes, scale, contexts, rule)
    if sizes.classes > LARGEST_LABEL:
        raise InputError(f"{sizes.classes} identities: labels are float32, exact up to {LARGEST_LABEL}")
    return ServerCentres(sizes, scale, contexts, rule, workers, int(os.environ["DMLC_NUM_SERVER"]))


@contextlib.contextmanager
def mirroring(on: bool) -> Iterator[None]:
    """While entered, graphs are bound so that cheap activations are computed again in the backward pass, not kept."""
    before = os.environ.get(MIRROR)
    if on:
        os.environ[MIRROR] = "1"
    try:
        yield
    finally:
        if on and before is None:
            del os.environ[MIRROR]
        elif on and before is not None:
            os.environ[MIRROR] = before
