"""What happened since the last printed line: accuracy, loss and speed of a few steps, read as late as possible."""
import math
import time
from typing import List, NamedTuple, Optional

from arcface_mxnet.recognition.engine.parallel import Outcome


class Figures(NamedTuple):
    """Means over a window; accuracy is that of the margin-penalised softmax, `loss` None for a head that has none."""

    accuracy: float
    loss: Optional[float]
    images_per_second: float

    @property
    def finite(self) -> bool:
        """Whether the loss is a number."""
        return self.loss is None or math.isfinite(self.loss)


class Window:
    """Collects outcomes without waiting for them, one step behind the device, until `close` reads them."""

    def __init__(self, first_device_loss: bool = False) -> None:
        self._first_device_loss = first_device_loss  # the original prints the loss of device 0 alone (facts, 3.4)
        self._outcomes: List[Outcome] = []
        self._started = time.monotonic()

    def __len__(self) -> int:
        return len(self._outcomes)

    def add(self, outcome: Outcome) -> None:
        """Take the outcome of one step; waits for the step before it, so that work in flight stays bounded."""
        if self._outcomes:
            before = self._outcomes[-1]
            for array in (*before.correct, *before.losses):
                array.wait_to_read()
        self._outcomes.append(outcome)

    def close(self) -> Figures:
        """The figures of all steps added since the last close; starts the next window."""
        images = sum(outcome.images for outcome in self._outcomes)
        correct = sum(float(array.asscalar()) for outcome in self._outcomes for array in outcome.correct)
        losses = []
        for outcome in self._outcomes:
            values = outcome.losses[:1] if self._first_device_loss else outcome.losses
            if values:
                losses.append(sum(float(value.asscalar()) for value in values) / len(values))
        seconds = max(time.monotonic() - self._started, 1e-9)
        self._outcomes = []
        self._started = time.monotonic()
        return Figures(correct / max(images, 1), sum(losses) / len(losses) if losses else None, images / seconds)

    def pause(self, seconds: float) -> None:
        """Leave `seconds` that were not training (a validation) out of this window's speed."""
        self._started += seconds
