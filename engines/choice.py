"""`--engine auto`: for each network all installed engines are measured, and the fastest that agrees is taken.

It has the functions of an engine (engines.base.Engine). Measured is the first batch of the images to be embedded, at
the size and number in which they come; again only where a batch is at least twice as large as the measured one, which
happens after a first look at one image. The judge of a checkpoint is the stored graph, operator by operator, on the
reference: MXNet, or the first engine that is installed. An ONNX file's judge is another (engines.file_choice).
"""
import time
from functools import partial
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple

from arcface_mxnet.engines.base import (
    AUTO,
    ENGINES,
    FILE_ENGINES,
    FLOAT32,
    Network,
    Numerics,
    Place,
    installed,
    place,
)
from arcface_mxnet.graph.checkpoint import Checkpoint
from arcface_mxnet.runtime.errors import InputError, notice, one_line

import numpy as np

NAME = AUTO
LARGEST_DIFFERENCE = 1e-5
"""Of an embedding to the judge's, as a share of its length."""
_ROUNDS = 3
_HOPELESS = 2.0
"""Times the fastest's seconds after a round: no further round is spent on it."""


class Places(NamedTuple):
    """Where each installed engine would compute, the reference first, and why others cannot."""

    usable: Tuple[Place, ...]
    refused: Tuple[Tuple[str, str], ...]


class Judge(NamedTuple):
    """What makes the network whose rows are right; `about` says what it is, `taken` names it where it embeds itself."""

    make: Callable[[], Network]
    about: str
    taken: str


class Measured(NamedTuple):
    """One engine on one batch. `difference`: the largest to the judge, relative (None and `why` where it failed)."""

    engine: str
    images_per_second: float = 0.0
    difference: Optional[float] = None
    why: str = ""

    @property
    def agrees(self) -> bool:
        """Whether it may be taken."""
        return self.difference is not None and self.difference <= LARGEST_DIFFERENCE

    def __str__(self) -> str:
        if self.difference is None:
            return f"{self.engine} not: {self.why}"
        off = f"{self.difference:.1e} off" if self.difference else "the same rows"
        return f"{self.engine} {self.images_per_second:.1f} images/s, {off}" + ("" if self.agrees else ", too far")


def version() -> str:
    """Of what stands behind it: each engine has its own."""
    return ", ".join(installed())


def devices(text: Optional[str] = None) -> Places:
    """Each engine's place for --gpus; raises InputError where none is installed or none has such a device."""
    usable: List[Place] = []
    refused: List[Tuple[str, str]] = []
    for name in installed():
        try:
            usable.append(place(name, text))
        except InputError as error:
            refused.append((name, str(error)))
    if not usable:
        raise InputError(refused[0][1]) if refused else InputError("--engine auto: no engine is installed; "
                                                                   "docs/engines.md names them")
    return Places(tuple(usable), tuple(refused))


def describe(devices: Places, numerics: Numerics = FLOAT32) -> str:
    """That the fastest will be taken, and of which."""
    return f"engine auto, the fastest of {', '.join(one.engine.NAME for one in devices.usable)}, float32"


def on_gpu(devices: Places) -> int:
    """How many GPUs the reference would take."""
    return int(devices.usable[0].engine.on_gpu(devices.usable[0].devices))


def free_bytes(devices: Places) -> int:
    """Memory that is free for one batch, whichever engine is taken."""
    return min(int(one.engine.free_bytes(one.devices)) for one in devices.usable)


def largest_batch(devices: Places, exact: bool = False) -> Optional[int]:
    """How many images pass at once at most: any number, for the engine that takes them is not chosen yet."""
    return None


def network(checkpoint: Checkpoint, devices: Places, exact: bool = False, numerics: Numerics = FLOAT32) -> Network:
    """A checkpoint that ends in its embedding; `exact`: the judge itself, and nothing is measured.

    Raises InputError for reduced precision: what differs by design cannot agree.
    """
    if numerics != FLOAT32:
        raise InputError("--engine auto: measures float32; leave out the flags of precision, or name the engine")
    reference = devices.usable[0]
    stored = partial(reference.engine.network, checkpoint, reference.devices, True, numerics)
    if exact:
        made: Network = stored()
        return made
    name = str(reference.engine.NAME)
    judge = Judge(stored, f"{name} {reference.engine.version()}, stored graph", f"{name}, its stored graph")
    candidates = {str(one.engine.NAME): partial(one.engine.network, checkpoint, one.devices, False, numerics)
                  for one in devices.usable}
    return ChosenNetwork(candidates, devices.refused, judge)


def for_files(devices: Places) -> Places:
    """Those that run an ONNX file, the judge first; raises InputError where none of them can."""
    usable = sorted((one for one in devices.usable if one.engine.NAME in FILE_ENGINES),
                    key=lambda one: FILE_ENGINES.index(one.engine.NAME))
    refused = tuple(one for one in devices.refused if one[0] in FILE_ENGINES)
    if not usable:
        raise InputError(refused[0][1] if refused else
                         f"--engine auto: an ONNX file runs in {' or '.join(FILE_ENGINES)}, and neither is installed; "
                         f"install one with '{ENGINES[FILE_ENGINES[0]].install}'")
    return Places(tuple(usable), refused)


class ChosenNetwork:
    """A network that chooses its engine at its first images; `record` then says what was measured and taken.

    `candidates`: what makes each engine's network, by the engine's name; `refused`: engines that cannot, and why.
    """

    def __init__(self, candidates: Mapping[str, Callable[[], Network]], refused: Tuple[Tuple[str, str], ...],
                 judge: Judge) -> None:
        self._candidates, self._refused, self._judge = candidates, refused, judge
        self._values: Optional[Tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]] = None
        self._network: Optional[Network] = None
        self._measured = 0  # images of the batch that the choice was made on
        self.record: Dict[str, Any] = {}

    def update(self, arguments: Mapping[str, np.ndarray], auxiliary: Mapping[str, np.ndarray]) -> None:
        """Take new parameter values; the choice stays."""
        self._values = dict(arguments), dict(auxiliary)
        if self._network is not None:
            self._network.update(*self._values)

    def embed(self, images: np.ndarray, batch_size: int) -> np.ndarray:
        """Raw embeddings (n, d) float32 of images (n, c, h, w), uint8 or float32."""
        batch = images[:batch_size]
        if self._network is None or len(batch) >= 2 * self._measured:
            self._network, self._measured = self._choose(batch, batch_size), len(batch)
        return self._network.embed(images, batch_size)

    def _made(self, make: Callable[[], Network]) -> Network:
        network = make()
        if self._values is not None:
            network.update(*self._values)
        return network

    def _choose(self, images: np.ndarray, batch_size: int) -> Network:
        judge = self._made(self._judge.make)
        expected = judge.embed(images, batch_size)
        networks: Dict[str, Network] = {}
        found: Dict[str, Measured] = {name: Measured(name, why=why) for name, why in self._refused}
        for name, make in self._candidates.items():
            try:
                made = self._made(make)
                rows = made.embed(images, batch_size)
            except Exception as error:  # a library that fails on a graph in its own way: the others serve
                found[name] = Measured(name, why=one_line(error))
                continue
            networks[name], found[name] = made, Measured(name, difference=relative_difference(rows, expected))
        for name, seconds in fastest_passes(networks, images, batch_size).items():
            found[name] = found[name]._replace(images_per_second=len(images) / seconds)
        agreeing = [one for one in found.values() if one.agrees]
        best = max(agreeing, key=lambda one: one.images_per_second) if agreeing else None
        self._note(best.engine if best else self._judge.taken, found, len(images))
        return networks[best.engine] if best else judge

    def _note(self, taken: str, found: Dict[str, Measured], images: int) -> None:
        self.record = {"taken": taken, "images": images, "judge": self._judge.about,
                       "measured": [one._asdict() for one in found.values()]}
        notice(f"--engine auto takes {taken}; on {images} images beside {self._judge.about}: "
               + "; ".join(str(one) for one in found.values()))


def relative_difference(rows: np.ndarray, expected: np.ndarray) -> float:
    """The largest distance of a row (n, d) to the expected one, as a share of the latter's length; inf for NaN."""
    if rows.shape != expected.shape:
        return float("inf")
    wide = expected.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1)
    share = np.linalg.norm(rows - wide, axis=1) / np.maximum(lengths, np.finfo(np.float32).tiny)
    return float(share.max()) if np.isfinite(share).all() else float("inf")


def fastest_passes(networks: Dict[str, Network], images: np.ndarray, batch_size: int) -> Dict[str, float]:
    """Seconds of each network's fastest pass, in turns, so that other work on the machine meets all of them."""
    best: Dict[str, float] = {}
    for _ in range(_ROUNDS):
        limit = _HOPELESS * min(best.values(), default=float("inf"))
        for name, one in networks.items():
            if best.get(name, 0.0) > limit:
                continue
            began = time.perf_counter()
            one.embed(images, batch_size)
            best[name] = min(best.get(name, float("inf")), time.perf_counter() - began)
    return best
