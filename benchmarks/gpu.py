"""The PyTorch engine on a GPU: is it right, how fast does it train and embed, beside plain PyTorch in the same process.

Results are printed as they come, the most wanted first; nothing is begun after --minutes. `--out` keeps them as JSON.
"""
import argparse
import gc
import json
import math
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from arcface_mxnet.engines.base import DATA, LABEL, Centres, Numerics, Program
from arcface_mxnet.engines.draws import dropout_mask, mask_keys
from arcface_mxnet.engines.initial import family_law, initial_values
from arcface_mxnet.engines.sampling import Rule
from arcface_mxnet.engines.torch import engine
from arcface_mxnet.engines.torch.devices import Where
from arcface_mxnet.engines.torch.module import mask
from arcface_mxnet.engines.torch.sgd import MomentumSGD
from arcface_mxnet.graph import symbol
from arcface_mxnet.graph.checkpoint import Checkpoint, embedding_only
from arcface_mxnet.recognition.losses import attach
from arcface_mxnet.recognition.losses.arcface import changed_logits
from arcface_mxnet.recognition.losses.common import SMALLEST_PROBABILITY, unit_rows
from arcface_mxnet.recognition.losses.head import HeadNames, Sizes
from arcface_mxnet.recognition.networks import build
from arcface_mxnet.recognition.settings import resolve

import numpy as np
import torch

SIDE = 112
CLASSES, FEW = 85742, 1000
MARGIN, SCALE = 0.5, 64.0
SECONDS, WARM, LEAST = 2.0, 4, 5  # of one timing; steps before it; steps of it at least
FLOAT32 = Numerics()
MODES: Dict[str, Numerics] = {
    "float32": FLOAT32, "float32 graphs": Numerics(graphs=True), "TF32": Numerics(tf32=True),
    "TF32 graphs": Numerics(tf32=True, graphs=True), "bf16": Numerics(bf16=True),
    "bf16 graphs": Numerics(bf16=True, graphs=True), "fp16": Numerics(fp16=True, loss_scale=1024.0),
    "float32 autotuned": Numerics(autotune=True), "bf16 NCHW": Numerics(bf16=True, channels_last=False),
    "float32 NHWC": Numerics(channels_last=True),
    "bf16 compiled": Numerics(bf16=True, compile=True), "TF32 compiled": Numerics(tf32=True, compile=True)}


class Composed(NamedTuple):
    """A training graph, its network with and without unit length, the margin alone, and first values."""

    program: Program
    backbone: Program
    embedding: symbol.Symbol
    margin: symbol.Symbol
    arguments: Dict[str, np.ndarray]
    auxiliary: Dict[str, np.ndarray]

    @property
    def checkpoint(self) -> Checkpoint:
        """The network as it is stored."""
        return embedding_only(Checkpoint(self.embedding, self.arguments, self.auxiliary))


def composed(network: str, batch: int, classes: int) -> Composed:
    """The ArcFace training graph of a network preset for batches of `batch` images of `classes` identities."""
    settings = resolve(network, "arcface", "own", {})
    with symbol.NameManager():
        embedding = build(settings.network)
    head = attach(embedding, settings.loss, classes, batch, settings.network.emb_size)
    with HeadNames():
        margin = changed_logits(symbol.Variable("logits", shape=(batch, 1)), symbol.Variable("label", shape=(batch,)),
                                settings.loss, Sizes(1, batch, 0))[0]
    shapes, _, states = head.symbol.infer_shape(data=(batch, 3, SIDE, SIDE), softmax_label=(batch,))
    known = {name: shape for name, shape in zip(head.symbol.list_arguments(), shapes) if name not in (DATA, LABEL)}
    attributes, law = head.symbol.attr_dict(), family_law(settings.network.net_name)
    arguments, auxiliary = (initial_values(part, attributes, law, 0) for part in
                            (known, dict(zip(head.symbol.list_auxiliary_states(), states))))
    return Composed(Program(head.symbol, head.roles, {}, attributes, (), "fc1"),
                    Program(unit_rows(embedding), ("embedding",), {}, attributes, (), "fc1"),
                    embedding, margin, arguments, auxiliary)


def noise(batch: int, classes: int, seed: int = 0) -> Tuple[np.ndarray, np.ndarray]:
    """Images and labels of one batch, float32."""
    chance = np.random.default_rng(seed)
    return (chance.integers(0, 256, (batch, 3, SIDE, SIDE)).astype(np.float32),
            chance.integers(0, classes, batch).astype(np.float32))


def say(text: str) -> None:
    """A line, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class Results:
    """What was measured, printed and kept."""

    def __init__(self, minutes: float, out: Optional[Path]) -> None:
        self._end, self._out = time.monotonic() + 60 * minutes, out
        self.rows: List[Dict[str, Any]] = []

    @property
    def over(self) -> bool:
        """Whether the time is used up."""
        return time.monotonic() > self._end

    def add(self, kind: str, **row: Any) -> None:
        """Print a row and keep it."""
        self.rows.append({"kind": kind, **row})
        say(f"{kind:<11}" + "  ".join(f"{key} {value:.5g}" if isinstance(value, float) else f"{key} {value}"
                                      for key, value in row.items()))
        if self._out is not None:
            self._out.write_text(json.dumps(self.rows, indent=1), encoding="utf-8")

    def run(self, what: str, work: Callable[[], None]) -> None:
        """Do one piece of work, unless the time is over; a piece that fails is named and the next one follows."""
        if self.over:
            say(f"left out: {what} (time is over)")
            return
        started = time.monotonic()
        try:
            work()
        except Exception as error:  # noqa: BLE001  one failing piece must not cost the others
            say(f"FAILED {what}: {type(error).__name__}: {str(error)[:600]}")
        finally:
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            say(f"    ({what}: {time.monotonic() - started:.0f} s)")


def begun(made: Composed, place: Where, batch: int, numerics: Numerics, centres: Optional[Centres] = None) -> Any:
    """A step with first values and momentum."""
    step = engine.step(made.backbone if centres else made.program, place, batch, (SIDE, SIDE, 3), numerics, centres)
    step.set_parameters(made.arguments, made.auxiliary)
    step.set_optimizer(0.9, 5e-4, "uniform")
    return step


def apart(found: Dict[str, np.ndarray], expected: Dict[str, np.ndarray], kind: str) -> float:
    """The l2 difference of all arrays of a kind, relative to their l2 length."""
    names = [name for name in expected if name.startswith(kind)]
    difference = sum(float(np.square(found[name].astype(np.float64) - expected[name]).sum()) for name in names)
    return math.sqrt(difference / max(sum(float(np.square(expected[name].astype(np.float64)).sum())
                                          for name in names), 1e-300))


# Is it right.


def check_masks(results: Results, place: Where) -> None:
    """Dropout masks of the device and NumPy's."""
    keys, shape = mask_keys(5, 1), (7, 512, 7, 7)
    found = mask(torch.ones(shape, device=place.device), torch.tensor(keys, device=place.device), 0.4, 3)
    equal = (found.cpu().numpy() == dropout_mask(shape, keys, 0.4, 3)).all()
    results.add("right", check="dropout masks are NumPy's", equal=bool(equal))


def check_sgd(results: Results, place: Where) -> None:
    """A small rate: 1 + rate in float32 would lose its digits."""
    weight, gradient = (torch.from_numpy(np.random.default_rng(seed).standard_normal(1000)) for seed in range(2))
    weights = {"w": weight.float().to(place.device)}
    optimizer = MomentumSGD(weights, 0.9, 5e-4, 1.0, {})
    optimizer.update(weights, {"w": gradient.float().to(place.device)}, 1e-5)
    expected = -1e-5 * (gradient + 5e-4 * weight)
    error = (optimizer.state["momentum:w"].cpu().double() - expected).abs().max() / expected.abs().max()
    results.add("right", check="momentum at a rate of 1e-5", difference=float(error))


def check_step(results: Results, place: Where, network: str, batch: int = 16) -> None:
    """Two steps on the GPU in float32, and in float64-free reduced modes, against the same steps on the CPU."""
    made = composed(network, batch, FEW)
    expected: Dict[str, np.ndarray] = {}
    for name, where, numerics in (
            ("cpu", Where(torch.device("cpu")), FLOAT32), ("cpu NCHW", Where(torch.device("cpu")),
                                                           Numerics(channels_last=False)),
            ("gpu", place, FLOAT32), ("gpu again", place, FLOAT32), ("gpu graphs", place, Numerics(graphs=True)),
            ("gpu TF32", place, Numerics(tf32=True)), ("gpu bf16", place, Numerics(bf16=True)),
            ("gpu fp16", place, Numerics(fp16=True, loss_scale=1024.0))):
        step = begun(made, where, batch, numerics)
        for number in range(2):
            step.seed(number)
            outcome = step.forward_backward(*noise(batch, FEW, number))
            step.update(0.001)
        arrays = step.restart_arrays()
        if not expected:
            expected = arrays
        if name == "gpu":
            same = arrays
        bits = all((arrays[key] == same[key]).all() for key in same) if name in ("gpu again", "gpu graphs") else None
        results.add("right", check=f"{network} after 2 steps, {name}", momentum=apart(arrays, expected, "momentum:"),
                    parameters=apart(arrays, expected, "arg:"), statistics=apart(arrays, expected, "aux:"),
                    loss=float(outcome.losses[0]), same_bits=str(bits))


def check_embedding(results: Results, place: Where, network: str) -> None:
    """Embeddings on the GPU against the CPU's, relative to the largest."""
    made = composed(network, 16, FEW)
    images = noise(16, FEW)[0]
    outcome: List[np.ndarray] = []
    for name, where, numerics in (("cpu", Where(torch.device("cpu")), FLOAT32), ("gpu", place, FLOAT32),
                                  ("gpu TF32", place, Numerics(tf32=True)), ("gpu bf16", place, Numerics(bf16=True))):
        found = engine.network(made.checkpoint, where, False, numerics).embed(images, 16)
        outcome.append(found)
        results.add("right", check=f"{network} embeddings, {name}",
                    difference=float(np.abs(found - outcome[0]).max() / np.abs(outcome[0]).max()))


def check_heads(results: Results, place: Where) -> None:
    """The sharded head on the GPU against the head in the graph there, and the sampled one against the CPU."""
    batch = 16
    made = composed("demo", batch, FEW)
    found = {}
    cpu = Where(torch.device("cpu"))
    for name, where, centres in (("graph", place, None), ("sharded", place, arcface_centres(made, FEW)),
                                 ("sampled", place, arcface_centres(made, FEW, Rule(0, 0.3))),
                                 ("sampled, cpu", cpu, arcface_centres(made, FEW, Rule(0, 0.3)))):
        step = begun(made, where, batch, FLOAT32, centres)
        for number in range(2):
            step.seed(number)
            step.forward_backward(*noise(batch, FEW, number))
            step.update(0.001)
        found[name] = step.restart_arrays()
    for left, right in (("sharded", "graph"), ("sampled", "sampled, cpu")):
        results.add("right", check=f"head {left} against {right}",
                    momentum=apart(found[left], found[right], "momentum:"),
                    parameters=apart(found[left], found[right], "arg:"))


def arcface_centres(made: Composed, classes: int, sample: Optional[Rule] = None) -> Centres:
    """ArcFace centres beside the network."""
    return Centres(classes, 1, made.arguments["fc7_weight"].shape[1], SCALE, SMALLEST_PROBABILITY, made.margin, sample)


# How fast.


def timed(run: Callable[[int], Any], batch: int) -> Tuple[float, float, float]:
    """(images a second, median milliseconds of a step, peak gigabytes); waits one step behind, as training does."""
    torch.cuda.reset_peak_memory_stats()
    for number in range(WARM):
        float(run(number))
    torch.cuda.synchronize()
    begun_at, times, last = time.monotonic(), [], None
    mark = begun_at
    while len(times) < LEAST or time.monotonic() - begun_at < SECONDS:
        value = run(len(times))
        if last is not None:
            float(last)
        last = value
        now = time.monotonic()
        times.append(now - mark)
        mark = now
    torch.cuda.synchronize()
    seconds = time.monotonic() - begun_at
    return (batch * len(times) / seconds, 1000 * float(np.median(times)),
            torch.cuda.max_memory_allocated() / 2 ** 30)


def train(results: Results, place: Where, network: str, batch: int, mode: str,
          centres: Optional[str] = None) -> None:
    """Training images a second of this engine, arrays from the host included."""
    made = composed(network, batch, CLASSES)
    head = None
    if centres is not None:
        head = arcface_centres(made, CLASSES, Rule(0, 0.1) if centres == "sampled" else None)
    step = begun(made, place, batch, MODES[mode], head)
    batches = [noise(batch, CLASSES, number) for number in range(2)]

    def run(number: int) -> Any:
        step.seed(number)
        outcome = step.forward_backward(*batches[number % 2])
        step.update(0.01)
        return outcome.losses[0]

    speed, milliseconds, memory = timed(run, batch)
    results.add("train", network=network, batch=batch, mode=mode, head=centres or "graph", images_per_second=speed,
                ms=milliseconds, gigabytes=memory)


def set_peer_switches(numerics: Numerics) -> None:
    """What users of plain PyTorch set for speed: cuDNN tries its algorithms, TF32 where it is asked for."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = numerics.tf32
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = True, False
    torch.use_deterministic_algorithms(False)


def peer_step(network: str, batch: int, mode: str, sampled: bool) -> Callable[[int], Any]:
    """Plain PyTorch: iresnet or MobileFaceNet, autocast, torch.optim.SGD, an ArcFace head in full or 10 %."""
    from torch_networks import network as peer
    numerics = MODES[mode]
    engine_device = torch.device("cuda")
    set_peer_switches(numerics)
    net = peer(network).to(engine_device).train()
    low = torch.bfloat16 if numerics.bf16 else torch.float16
    by_pixel = numerics.bf16 or numerics.fp16 or numerics.tf32
    if by_pixel:
        net = net.to(memory_format=torch.channels_last)
    if numerics.compile:
        net = torch.compile(net)
    size = 128 if network == "y1" else 512
    rows = int(CLASSES * 0.1) if sampled else CLASSES
    centres = torch.nn.Parameter(torch.randn(rows, size, device=engine_device) * 0.01)
    optimizer = torch.optim.SGD([*net.parameters(), centres], lr=0.01, momentum=0.9, weight_decay=5e-4, foreach=True)
    pinned = [(torch.from_numpy(images).pin_memory(), torch.from_numpy(label).long() % rows)
              for images, label in (noise(batch, CLASSES, number) for number in range(2))]
    places = torch.arange(batch, device=engine_device)

    def run(number: int) -> Any:
        images, label = (part.to(engine_device, non_blocking=True) for part in pinned[number % 2])
        images = (images / 255 - 0.5) / 0.5
        if by_pixel:
            images = images.contiguous(memory_format=torch.channels_last)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cuda", low, enabled=numerics.bf16 or numerics.fp16):
            embedding = net(images)
        features = torch.nn.functional.normalize(embedding.float())
        cosine = torch.nn.functional.linear(features, torch.nn.functional.normalize(centres))
        target = cosine[places, label]
        sine = (1 - target * target).clamp(min=0).sqrt()
        moved = torch.where(target > -math.cos(MARGIN), target * math.cos(MARGIN) - sine * math.sin(MARGIN),
                            target - MARGIN * math.sin(MARGIN))
        logits = cosine.index_put((places, label), moved) * SCALE
        loss = torch.nn.functional.cross_entropy(logits, label)
        loss.backward()
        optimizer.step()
        return loss.detach()
    return run


def peer(results: Results, network: str, batch: int, mode: str, sampled: bool = False) -> None:
    """Training images a second of plain PyTorch, page-locked arrays from the host included."""
    speed, milliseconds, memory = timed(peer_step(network, batch, mode, sampled), batch)
    results.add("peer", network=network, batch=batch, mode=mode, head="10 % of centres" if sampled else "full",
                images_per_second=speed, ms=milliseconds, gigabytes=memory)


def embed(results: Results, place: Where, network: str, batch: int, mode: str) -> None:
    """Milliseconds a face for embedding, arrays to and from the host included."""
    net = engine.network(composed(network, 128, FEW).checkpoint, place, False, MODES[mode])
    images = noise(batch, 2)[0].astype(np.uint8)
    results.add("embed", network=network, batch=batch, mode=mode,
                ms_per_face=per_face(lambda: net.embed(images, batch), batch))


def peer_embed(results: Results, network: str, batch: int, mode: str) -> None:
    """Milliseconds a face of plain PyTorch, arrays to and from the host included."""
    from torch_networks import network as peer
    numerics = MODES[mode]
    set_peer_switches(numerics)
    net = peer(network).to("cuda").eval()
    by_pixel = numerics.bf16 or numerics.tf32
    if by_pixel:
        net = net.to(memory_format=torch.channels_last)
    pinned = torch.from_numpy(noise(batch, 2)[0].astype(np.uint8)).pin_memory()

    def run() -> np.ndarray:
        images = (pinned.to("cuda", non_blocking=True).float() / 255 - 0.5) / 0.5
        if by_pixel:
            images = images.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16, enabled=numerics.bf16):
            return np.asarray(torch.nn.functional.normalize(net(images).float()).cpu().numpy())

    results.add("peer embed", network=network, batch=batch, mode=mode, ms_per_face=per_face(run, batch))


def per_face(run: Callable[[], np.ndarray], batch: int) -> float:
    """Median milliseconds a face of embedding one batch, after three that do not count."""
    for _ in range(3):
        run()
    times: List[float] = []
    while len(times) < 5 or sum(times) < 1.0:
        started = time.monotonic()
        run()
        times.append(time.monotonic() - started)
    return 1000 * float(np.median(times)) / batch


def work(flags: argparse.Namespace, results: Results, place: Where) -> Iterator[Tuple[str, Callable[[], None]]]:
    """The pieces of work, the most wanted first."""
    yield "masks", lambda: check_masks(results, place)
    yield "sgd", lambda: check_sgd(results, place)
    for network in ("demo", "y1", "r50"):
        yield f"step {network}", lambda network=network: check_step(results, place, network)
    yield "heads", lambda: check_heads(results, place)
    for network in ("y1", "r50", "r100"):
        yield f"embeddings {network}", lambda network=network: check_embedding(results, place, network)
    yield from training_work(results, place, 128)
    for network in ("y1", "r50", "r100"):
        for batch, mode in ((1, "float32"), (128, "float32"), (1, "TF32"), (128, "TF32"), (1, "bf16"), (128, "bf16")):
            given = (network, batch, mode)
            yield f"embed {network} {batch} {mode}", lambda given=given: embed(results, place, *given)
            yield f"embed peer {network} {batch} {mode}", lambda given=given: peer_embed(results, *given)
    for head in ("sharded", "sampled"):
        yield f"head {head}", lambda head=head: train(results, place, "r50", 512, "bf16", head)
    yield "head peer", lambda: peer(results, "r50", 512, "bf16", sampled=True)
    yield from training_work(results, place, 512)
    for network, mode in (("y1", "float32 graphs"), ("y1", "TF32 graphs"), ("y1", "bf16 NCHW"), ("r50", "bf16 NCHW"),
                          ("r50", "float32 NHWC"), ("r50", "fp16"), ("y1", "bf16 compiled"),
                          ("r50", "bf16 compiled")):
        yield f"more {network} {mode}", lambda network=network, mode=mode: train(results, place, network, 128, mode)
    yield "more peer compiled", lambda: peer(results, "r50", 128, "bf16 compiled")


def training_work(results: Results, place: Where, batch: int) -> Iterator[Tuple[str, Callable[[], None]]]:
    """Training in every mode, plain PyTorch behind each that it has."""
    for mode in ("float32", "float32 autotuned", "TF32", "bf16", "bf16 graphs"):
        for network in ("y1", "r50", "r100"):
            given = (network, batch, mode)
            yield f"train {network} {batch} {mode}", lambda given=given: train(results, place, *given)
            if mode in ("float32", "TF32", "bf16"):
                yield f"peer {network} {batch} {mode}", lambda given=given: peer(results, *given)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Measure; returns 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="begin nothing after this time (default 10)")
    parser.add_argument("--gpus", help="device (default: the first GPU)")
    parser.add_argument("--only", default="", help="only pieces whose name begins so, several joined by commas")
    parser.add_argument("--out", type=Path, help="keep the rows here, as JSON")
    flags = parser.parse_args(argv)
    place = engine.devices(flags.gpus)
    results = Results(flags.minutes, flags.out)
    say(engine.describe(place))
    if place.device.type == "cuda":
        say(f"{torch.cuda.get_device_properties(place.device)}, CUDA {torch.version.cuda}, "
            f"cuDNN {torch.backends.cudnn.version()}")
    chosen = tuple(part for part in flags.only.split(",") if part)
    for what, piece in work(flags, results, place):
        if not chosen or what.startswith(chosen):
            results.run(what, piece)
    return 0


if __name__ == "__main__":
    sys.exit(main())
