"""Pictures of built-in people at 32x32, stills and clips, drawn once on all cores and kept.

A clip stands for a video: one set of circumstances (light, hair, age, place) in which pose, expression and blur move
from frame to frame.
"""
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import List, Optional, Tuple

from arcface_mxnet.datasets.faces.identity import FIRST_NUMBER, draw_identity, ranges_of
from arcface_mxnet.datasets.faces.nuisance import Nuisance, NuisanceRanges, draw_nuisance
from arcface_mxnet.datasets.faces.render import encoded_face
from arcface_mxnet.datasets.faces.studio import on_workers
from arcface_mxnet.datasets.images import decode_rgb
from arcface_mxnet.datasets.small_faces import reduced
from arcface_mxnet.runtime.arrays import load_arrays
from arcface_mxnet.runtime.environment import available_cores
from arcface_mxnet.runtime.files import atomic_path
from arcface_mxnet.runtime.progress import progress

import numpy as np

SEED = 1


@dataclass(frozen=True)
class Shot:
    """One picture of a person: number `image`, or frame `frame` of the clip of that number; `ranges`: drawn from them,
    None: from those of the purpose.
    """

    image: int
    frame: Optional[int] = None
    ranges: Optional[NuisanceRanges] = None


@dataclass(frozen=True)
class Kind:
    """`people` of a purpose from number `first` on, each in the same `shots`."""

    purpose: str
    first: int
    people: int
    shots: Tuple[Shot, ...]


def stills(count: int, first: int = 0) -> Tuple[Shot, ...]:
    """Pictures that have nothing to do with one another."""
    return tuple(Shot(first + number) for number in range(count))


def clips(count: int, frames: int, first: int = 0) -> Tuple[Shot, ...]:
    """Clips of so many frames each, one behind the other."""
    return tuple(Shot(first + clip, frame) for clip in range(count) for frame in range(frames))


def moved(n: Nuisance, seed: int, number: int, shot: Shot) -> Nuisance:
    """A frame of the clip whose circumstances are `n`: pose, expression, blur and the detector's errors differ."""
    g = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, number, 3, shot.image, shot.frame or 0])))
    return replace(n, yaw=n.yaw + float(np.radians(g.normal(0, 8))), pitch=n.pitch + float(np.radians(g.normal(0, 4))),
                   roll=n.roll + float(np.radians(g.normal(0, 3))), smile=n.smile + float(g.normal(0, 0.3)),
                   mouth_open=max(0.0, n.mouth_open + float(g.normal(0, 0.3))), blur=float(g.uniform(0, 1.0)),
                   squint=max(0.0, n.squint + float(g.normal(0, 0.1))), landmark_noise=g.normal(0, 0.6, (5, 2)))


def shoot(number: int, purpose: str, shots: Tuple[Shot, ...], seed: int = SEED) -> List[bytes]:
    """The shots of one person as JPEG bytes of 32x32."""
    person, drawn = draw_identity(seed, number), []
    for shot in shots:
        circumstances = draw_nuisance(shot.ranges or ranges_of(purpose, seed, number, shot.image), seed, number,
                                      shot.image)
        if shot.frame is not None:
            circumstances = moved(circumstances, seed, number, shot)
        drawn.append(reduced(encoded_face(person, circumstances)[0]))
    return drawn


def pictures(name: str, kind: Kind, work: Path) -> List[List[bytes]]:
    """JPEG bytes of a kind, a list a person; drawn once, on all cores, and kept in `work` under its name."""
    kept = work / "pictures" / f"{name}-{kind.people}x{len(kind.shots)}-{SEED}.npz"
    if not kept.exists():
        _keep(kept, _drawn(name, kind))
    stored = load_arrays(kept, "remove it: it is made again")
    data, ends = stored["data"].tobytes(), np.cumsum(stored["sizes"])
    flat = [data[start:end] for start, end in zip([0, *ends[:-1]], ends)]
    return [flat[start:start + len(kind.shots)] for start in range(0, len(flat), len(kind.shots))]


def decoded(encoded: List[bytes]) -> np.ndarray:
    """Images uint8 (n, 3, h, w), RGB."""
    return np.stack([decode_rgb(image) for image in encoded]).transpose(0, 3, 1, 2)


def _drawn(name: str, kind: Kind) -> List[List[bytes]]:
    numbers = range(FIRST_NUMBER[kind.purpose] + kind.first, FIRST_NUMBER[kind.purpose] + kind.first + kind.people)
    task = partial(shoot, purpose=kind.purpose, shots=kind.shots)
    drawn = on_workers(task, numbers, max(1, 50 // len(kind.shots)), available_cores())
    return list(progress(drawn, kind.people, f"drawing {name}", "people"))


def _keep(path: Path, drawn: List[List[bytes]]) -> None:
    flat = [image for person in drawn for image in person]
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary, open(temporary, "wb") as stream:
        np.savez(stream, data=np.frombuffer(b"".join(flat), np.uint8), sizes=np.array([len(image) for image in flat]))
