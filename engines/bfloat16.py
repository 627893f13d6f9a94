"""Whether bfloat16 is faster than float32 on this processor, measured: a processor's flags do not say it.

avx512_bf16 may stand for units that are twice as fast, for ones that are not, or for a virtual machine that passes the
flag on; without it a library may imitate bfloat16 through float32. Numbers are right in all cases, so slower ones are
warned of, not refused: a run may be about the precision itself.
"""
import time
from typing import Callable, List

from arcface_mxnet.runtime.errors import notice

_FEWEST, _MOST, _SECONDS = 5, 40, 1.0
"""Turns: many of a short run, since other work on the machine disturbs most of them."""


def gain(float32: Callable[[], object], bfloat16: Callable[[], object]) -> float:
    """How many times as fast `bfloat16` is: fastest of a few turns each, after one that does not count."""
    float32()
    bfloat16()
    seconds: List[List[float]] = [[], []]
    start = time.perf_counter()
    while len(seconds[0]) < _FEWEST or len(seconds[0]) < _MOST and time.perf_counter() - start < _SECONDS:
        for run, each in zip((float32, bfloat16), seconds):
            began = time.perf_counter()
            run()
            each.append(time.perf_counter() - began)
    return min(seconds[0]) / min(seconds[1])


def warn_if_slower(times: float, what: str) -> None:
    """A notice where `what` ran at less than float32's speed."""
    if times < 1:
        notice(f"bfloat16 is slower than float32 on this processor: {what} ran at {times:.2f} times its speed; float32 "
               "serves better here")
