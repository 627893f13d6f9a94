"""How fast a run trains here: whole steps on images of noise, nothing read and nothing decoded."""
import time
from typing import Callable, NamedTuple

from arcface_mxnet.engines.base import Outcome, Place, Step
from arcface_mxnet.recognition.engine.model import compose, parameter_shapes
from arcface_mxnet.recognition.engine.setup import make_step
from arcface_mxnet.recognition.settings import Settings

import numpy as np

_WARM_STEPS, _LEAST_STEPS, _SECONDS = 2, 3, 5.0
_RATE = 0.01


class NoiseStep(NamedTuple):
    """A training step with first values and momentum, and `run`, which takes it on one batch of noise."""

    step: Step
    run: Callable[[], Outcome]


def noise_step(settings: Settings, classes: int, where: Place) -> NoiseStep:
    """The step of `settings` for a set of `classes` identities, by SGD with momentum; its batch is drawn once."""
    workers = where.engine.workers(where.devices, settings.parallelism.kvstore)
    images = settings.data.per_batch_size
    model = compose(settings.network, settings.loss, classes, images)
    step = make_step(settings, model, where, classes, workers)
    shapes = parameter_shapes(model, images, settings.network.image_shape)
    step.set_parameters(*where.engine.initial(model.head.symbol, shapes, settings.network.net_name,
                                              model.head.initializers, settings.data.seed))
    step.set_optimizer(settings.optimizer.mom, settings.optimizer.wd, settings.optimizer.multipliers)
    chance = np.random.RandomState(workers.rank)
    height, width, channels = settings.network.image_shape
    data = chance.randint(0, 256, (step.batch_size, channels, height, width)).astype(np.float32)
    label = chance.randint(0, classes, step.batch_size).astype(np.float32)
    beside = {name: np.zeros(step.batch_size, np.float32) for name in model.head.inputs}

    def run() -> Outcome:
        outcome = step.forward_backward(data, label, beside or None)
        step.update(_RATE)
        return outcome
    return NoiseStep(step, run)


def images_per_second(settings: Settings, classes: int, where: Place) -> float:
    """Images a second of all processes of this run together, over some seconds of steps; each of them must call it."""
    made = noise_step(settings, classes, where)
    workers = where.engine.workers(where.devices, settings.parallelism.kvstore)
    for _ in range(_WARM_STEPS):
        made.run()
    made.step.parameters_finite()  # waits until the steps are done
    steps, began, over = 0, time.monotonic(), None
    while over is None:
        float(made.run().losses[0])
        steps += 1
        over = workers.agree(1 if steps >= _LEAST_STEPS and time.monotonic() - began >= _SECONDS else None)
    made.step.parameters_finite()
    return made.step.batch_size * workers.size * steps / (time.monotonic() - began)
