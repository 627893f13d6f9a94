"""The factor that keeps a float16 gradient from vanishing: halved when gradients overflow, doubled after a while."""
import numpy as np

SCALE = "loss_scale"
SCALE_STATE = f"{SCALE}:state"


class LossScale:
    """The scale of a run: halved after a step that overflowed, doubled after 2,000 that did not (MXNet's AMP rule).

    `value` is the scale, a power of two as long as the first is; `good` counts the steps since it last changed.
    """

    GROW_AFTER, LEAST, MOST = 2000, 1.0, 2.0 ** 24

    def __init__(self, first: float) -> None:
        self.value, self.good = float(first), 0

    def after(self, finite: bool) -> bool:
        """Note whether the gradients of a step were numbers; True when the scale changed."""
        before = self.value
        self.good = self.good + 1 if finite else 0
        if not finite:
            self.value = max(self.value / 2, self.LEAST)
        elif self.good == self.GROW_AFTER:
            self.value, self.good = min(self.value * 2, self.MOST), 0
        return self.value != before

    @property
    def exhausted(self) -> bool:
        """Whether it is at its least, so that an infinite gradient is a defect and no overflow of the scale."""
        return self.value <= self.LEAST

    def state(self) -> np.ndarray:
        """What a restart point holds of it, float32 (2,)."""
        return np.array([self.value, self.good], dtype=np.float32)

    def restart(self, saved: np.ndarray) -> None:
        """Take what `state` gave."""
        self.value, self.good = float(int(saved[0])), int(saved[1])
