"""Many faces at once, on every core: the same pixels whatever the number of workers."""
import multiprocessing
from collections import deque
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Callable, Deque, Iterator, List, Optional, Sequence, Tuple, TypeVar

from arcface_mxnet.datasets.faces.identity import draw_identity, ranges_of
from arcface_mxnet.datasets.faces.nuisance import draw_nuisance
from arcface_mxnet.datasets.faces.render import encoded_face
from arcface_mxnet.runtime.environment import available_cores

import cv2

Made = TypeVar("Made")
_SPARE = 48  # fewer images than this are drawn in this process: starting others would take longer


@dataclass(frozen=True)
class Sitting:
    """One person's pictures: encoded JPEG `images` (112x112) and the age in years each shows."""

    number: int
    images: List[bytes]
    ages: List[float]


def sit(number: int, purpose: str, images: Sequence[int], seed: int) -> Sitting:
    """Draw the given image numbers of one person."""
    identity = draw_identity(seed, number)
    drawn: List[Tuple[bytes, float]] = []
    for image in images:
        circumstances = draw_nuisance(ranges_of(purpose, seed, number, image), seed, number, image)
        drawn.append(encoded_face(identity, circumstances))
    return Sitting(number, [encoded for encoded, _ in drawn], [age for _, age in drawn])


def _settle() -> None:
    cv2.setNumThreads(1)  # one worker a core: OpenCV's own threads would only compete


def sittings(purpose: str, numbers: Sequence[int], images: Sequence[int], seed: int,
             workers: Optional[int] = None) -> Iterator[Sitting]:
    """Draw the same image numbers of many people, in the order given, on `workers` processes (default: all cores).

    Workers are fresh processes (no fork: MXNet and OpenMP do not survive one), which import nothing but the renderer.
    """
    task = partial(sit, purpose=purpose, images=tuple(images), seed=seed)
    count = workers or available_cores()
    if count == 1 or len(numbers) * len(images) < _SPARE:
        yield from map(task, numbers)
        return
    yield from on_workers(task, numbers, max(1, min(8, len(numbers) // (4 * count))), count)


def on_workers(task: Callable[[int], Made], numbers: Sequence[int], group: int, workers: int) -> Iterator[Made]:
    """What `task` makes of each number, in the order given, `group` of them at a time on `workers` fresh processes.

    Only what workers can begin soon waits in the pool, so that nothing is called off when the work ends early: where a
    signal has ended the workers too, Python before 3.12 answers that with a traceback.
    """
    groups = iter([numbers[at:at + group] for at in range(0, len(numbers), group)])
    waiting: Deque[Future[List[Made]]] = deque()
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_settle) as pool:
        for chosen in islice(groups, 2 * workers):
            waiting.append(pool.submit(_each, task, chosen))
        while waiting:
            made = waiting.popleft().result()
            waiting.extend(pool.submit(_each, task, chosen) for chosen in islice(groups, 1))
            yield from made


def _each(task: Callable[[int], Made], numbers: Sequence[int]) -> List[Made]:
    return [task(number) for number in numbers]
