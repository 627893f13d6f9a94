"""Many faces at once, on every core: the same pixels whatever the number of workers."""
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Iterator, List, Optional, Sequence, Tuple

from arcface_mxnet.datasets.faces.identity import draw_identity, ranges_of
from arcface_mxnet.datasets.faces.nuisance import draw_nuisance
from arcface_mxnet.datasets.faces.render import encoded_face
from arcface_mxnet.runtime.environment import available_cores

import cv2

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
    group = max(1, min(8, len(numbers) // (4 * count)))
    with ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), initializer=_settle) as pool:
        yield from pool.map(task, numbers, chunksize=group)
