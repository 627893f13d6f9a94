"""Training runs whose every bit is pinned to the original's: settings, batches, first values, and what they come to.

`python original_lab.py STEPS CASE ...` prints a JSON object: case -> step -> {"loss": as float32 prints in full,
"parameters": SHA-256}, of this repository's --original. test_original.py says how the original's own were made.
"""
import functools
import hashlib
import itertools
import json
import sys
from typing import Any, Callable, Dict, Iterator, NamedTuple, Tuple

from arcface_mxnet.engines.mxnet import engine
from arcface_mxnet.engines.mxnet.mx import mx
from arcface_mxnet.recognition.engine.model import compose, parameter_shapes, training_program
from arcface_mxnet.recognition.settings import Settings, resolve

import numpy as np

CLASSES, BATCH, STEPS = 10, 6, (1, 5, 20)
RATE, MOMENTUM, DECAY = 0.01, 0.9, 5e-4
UNUSED = "fc1_gamma"  # fixed at 1 whatever is stored; on several devices the original lets it decay further


class Case(NamedTuple):
    """One run: the presets of network and loss, the side of the images, further flags, and the number of contexts."""

    network: str
    loss: str
    side: int = 16
    flags: Dict[str, Any] = {}
    contexts: int = 1


CASES = {
    **{loss: Case("r18", loss) for loss in ("softmax", "arcface", "cosface", "combined", "nsoftmax", "sphereface135",
                                            "cm2")},
    "honoured": Case("r18", "softmax", flags={"multipliers": "honoured"}),
    "2018": Case("r18", "arcface", flags={"head_2018": True}),
    "intra": Case("r18", "arcface_intra", flags={"options": {"intra": 5.0}}),
    "inter": Case("r18", "ns_inter", flags={"options": {"inter": 5.0}}),
    "triplet": Case("r18", "triplet_bag"),
    "atriplet": Case("r18", "atriplet_bag"),
    "two contexts": Case("r18", "arcface", contexts=2),
    "y1": Case("y1", "arcface", side=112),
}


def settings_of(case: Case) -> Settings:
    """The settings of a case: --original, but for the 2018 head, which is its own switch."""
    return resolve(case.network, case.loss, "own", {"original": True, "per_batch_size": BATCH, **case.flags})


@functools.lru_cache(maxsize=None)  # the cases share a network
def first_value(name: str, shape: Tuple[int, ...]) -> np.ndarray:
    """The value a parameter or statistic starts from, by its name: plain enough for another program to repeat."""
    if name.endswith(("_var", "_gamma")):
        return np.full(shape, 0.25 if "relu" in name else 1.0, "float32")
    if not name.endswith("_weight"):
        return np.zeros(shape, "float32")
    random = np.random.RandomState(int(hashlib.sha256(name.encode()).hexdigest()[:8], 16))
    spread = 0.01 if name.startswith("fc7") else (2.0 / (shape[0] * int(np.prod(shape[2:])))) ** 0.5
    return random.normal(0, spread, shape).astype("float32")


def batches(case: Case) -> Iterator[Tuple[np.ndarray, np.ndarray]]:
    """Images (B, 3, side, side) and labels (B,) of each step, float32."""
    for step in range(1, max(STEPS) + 1):
        random = np.random.RandomState(step)
        size = BATCH * case.contexts
        yield (random.randint(0, 256, (size, 3, case.side, case.side)).astype("float32"),
               random.randint(0, CLASSES, size).astype("float32"))


def digest(arrays: Dict[str, np.ndarray]) -> str:
    """SHA-256 of names and float32 values, in the order of the names."""
    total = hashlib.sha256()
    for name in sorted(set(arrays) - {UNUSED}):
        total.update(name.encode() + b"\0" + np.ascontiguousarray(arrays[name], "<f4").tobytes())
    return total.hexdigest()


def ours(case: Case) -> Iterator[Tuple[float, Callable[[], Dict[str, np.ndarray]]]]:
    """Each step's loss and a function that reads the parameters after it."""
    settings = settings_of(case)
    model = compose(settings.network, settings.loss, CLASSES, BATCH)
    shape = (case.side, case.side, 3)
    step = engine.step(training_program(model), [mx.cpu(index) for index in range(case.contexts)],
                       BATCH * case.contexts, shape)
    step.set_parameters(*({name: first_value(name, shape) for name, shape in group.items()}
                          for group in parameter_shapes(model, BATCH, shape)))
    step.set_optimizer(MOMENTUM, DECAY, settings.optimizer.multipliers)

    def read() -> Dict[str, np.ndarray]:
        arguments, auxiliary = step.parameters()
        return {**arguments, **auxiliary}

    for number, (data, label) in enumerate(batches(case), 1):
        step.seed(number)
        outcome = step.forward_backward(data, label)
        step.update(RATE)
        yield sum(map(float, outcome.losses)) / case.contexts, read


def run(case: Case, last: int) -> Dict[str, Dict[str, str]]:
    """What is pinned of a run up to step `last`: after each of STEPS its loss and the parameters."""
    return {str(step): {"loss": repr(loss), "parameters": digest(read())}
            for step, (loss, read) in enumerate(itertools.islice(ours(case), last), 1) if step in STEPS}


if __name__ == "__main__":
    sys.stdout.write(json.dumps({name: run(CASES[name], int(sys.argv[1])) for name in sys.argv[2:]}, indent=1))
