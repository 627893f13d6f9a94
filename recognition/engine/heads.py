"""The step a run asks for: the plain head in the network's graph, or classes split over contexts beside it."""
import contextlib
import os
from typing import Iterator, Sequence

from recognition.engine.centres import HeadSizes, ShardedCentres
from recognition.engine.class_parallel import ClassParallel
from recognition.engine.distributed import Workers
from recognition.engine.parallel import DataParallel
from recognition.engine.program import Model, backbone_program
from recognition.engine.sampled import Rule, SampledCentres
from recognition.engine.server_centres import ServerCentres
from recognition.engine.step import Step
from recognition.engine.target_margin import centres_per_class, check_family
from recognition.settings import PLAIN, SAMPLED, SHARDED, Settings
from runtime.errors import InputError
from runtime.mx import mx

MIRROR = "MXNET_BACKWARD_DO_MIRROR"  # MXNet reads it when a graph is bound
LARGEST_LABEL = 2 ** 24


def make_step(settings: Settings, model: Model, contexts: Sequence["mx.Context"], classes: int,
              workers: Workers) -> Step:
    """Bind what `settings` ask for on `contexts`; raises InputError where head, loss, contexts and workers do not
    fit."""
    step = settings.step
    batch_size = step.per_batch_size * len(contexts)
    with mirroring(step.mirror):
        program = model.program if step.head == PLAIN else backbone_program(model)
        if step.head != PLAIN:
            check_family(settings.loss, step.head)
        network = DataParallel(program, contexts, batch_size, settings.data.image_shape,
                               workers.store or step.kvstore)
    if step.head == PLAIN:
        return network
    sizes = HeadSizes(classes, centres_per_class(settings.loss), batch_size, settings.network.emb_size)
    return ClassParallel(network, _centres(settings, sizes, contexts, workers), settings.loss)


def _centres(settings: Settings, sizes: HeadSizes, contexts: Sequence["mx.Context"],
             workers: Workers) -> ShardedCentres:
    step, scale = settings.step, settings.loss.loss_s
    if step.head == SHARDED:
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
