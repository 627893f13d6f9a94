"""The learning rate as a function of the step (facts, 4.3), so that a resumed run can never miss a drop."""
from typing import Sequence

FACTOR = 0.1


def learning_rate(step: int, base: float, drops: Sequence[int]) -> float:
    """Rate used for batch number `step`, counted from 1.

    The original multiplies by 0.1 after batch number d for each d in `drops`, so batch d itself still runs at the
    old rate. The products are taken one by one: 0.1 after one drop is 0.010000000000000002, as its logs print.
    """
    rate = base
    for drop in drops:
        if step > drop:
            rate *= FACTOR
    return rate


def dropped_after(step: int, drops: Sequence[int]) -> bool:
    """Whether the rate changes once batch number `step` is done."""
    return step in drops
