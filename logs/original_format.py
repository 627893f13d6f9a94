"""Lines that only other programs print: the original's 2018, model-parallel, sub-center and partial-FC code.

Written by none of ours but in tests; in the same form as `logs.format`, whose remarks on steps and batches hold here.
"""
from typing import Callable, List

from arcface_mxnet.logs.format import LOGGER, NUMBER, Line, Reader, line

LINES: List[Line] = []


def _line(pattern: str, **readers: Reader) -> Callable[[Callable[..., str]], Line]:
    return line(LINES, pattern, **readers)


@_line(r"num_layers (?P<count>\d+)", count=int)
def num_layers(count: int) -> str:
    """Depth of the network (2018 code; 1 for MobileFaceNet)."""
    return f"num_layers {count}"


@_line(r"init (?P<family>\w+) (?P<depth>\d+)", depth=int)
def init_network(family: str, depth: int) -> str:
    """The network is being built (2018 code)."""
    return f"init {family} {depth}"


@_line(r"(?P<se>[01]) (?P<input>[01]) (?P<output>[A-Z]+) (?P<unit>[1-4])(?: (?P<act>\w+))?",
       se=int, input=int, unit=int)
def network_versions(se: int, input: int, output: str, unit: int, act: str) -> str:
    """Its variant: squeeze-and-excitation, input stem, output head, residual unit, activation."""
    return f"{se} {input} {output} {unit} {act}"


@_line(r"loading bin (?P<index>\d+)", index=int)
def loading_bin(index: int) -> str:
    """Progress while a verification pack is decoded."""
    return f"loading bin {index}"


@_line(r"\((?P<count>\d+)L?, 3L?, (?P<height>\d+)L?, (?P<width>\d+)L?\)", count=int, height=int, width=int)
def pack_shape(count: int, height: int = 112, width: int = 112) -> str:
    """Shape of a decoded verification pack (Python 2 prints long integers with an L)."""
    return f"({count}, 3, {height}, {width})"


@_line(LOGGER + r"loading recordio (?P<path>.+?)\.\.\.")
def loading_recordio(path: str) -> str:
    """The iterator opens a record set."""
    return f"loading recordio {path}..."


@_line(LOGGER + r"Iter\[(?P<epoch>\d+)\] Batch \[(?P<last>\d+)\]\tSpeed: (?P<speed>[\d.]+|inf) samples/sec",
       epoch=int, last=int, speed=float)
def iter_batch(epoch: int, last: int, speed: float) -> str:
    """The same without a metric: the original's model-parallel program."""
    return f"Iter[{epoch}] Batch [{last}]\tSpeed: {speed:.2f} samples/sec"


@_line(rf"\{{fc7_acc\}} (?P<step>\d+) (?P<acc>{NUMBER})", step=int, acc=float)
def fc7_acc(step: int, acc: float) -> str:
    """Training accuracy of the model-parallel head."""
    return f"{{fc7_acc}} {step} {acc:.6f}"


@_line(rf"CELOSS,(?P<step>\d+),(?P<loss>{NUMBER})", step=int, loss=float)
def celoss(step: int, loss: float) -> str:
    """Cross-entropy of the sub-center program."""
    return f"CELOSS,{step},{loss:.6f}"


@_line(rf"\[(?P<step>\d+)\]Accuracy-Highest ?\((?P<target>\w+)\): (?P<accuracy>{NUMBER})", step=int, accuracy=float)
def accuracy_highest_of(step: int, target: str, accuracy: float) -> str:
    """Best accuracy so far on a named verification set (forks of the 2018 code)."""
    return f"[{step}]Accuracy-Highest({target}): {accuracy:1.5f}"


@_line(rf"\[(?P<step>\d+)\]\[MARGIN\](?P<before>{NUMBER}),(?P<after>{NUMBER})", step=int, before=float, after=float)
def margin(step: int, before: float, after: float) -> str:
    """Mean target cosine before and after the margin (2018 code)."""
    return f"[{step}][MARGIN]{before:.6f},{after:.6f}"


@_line(r"(?:INFO:\w+:)?rank-id:(?P<rank>\d+):(?P<time>.*?)-Iter:(?P<step>\d+) Rank:(?P<rank_speed>[\d.]+) it/sec "
       rf"Total:(?P<speed>[\d.]+) it/sec \[(?P<epoch>\d+)\]\[(?P<metric>\w+)\]:(?P<loss>{NUMBER}).*",
       rank=int, step=int, rank_speed=float, speed=float, epoch=int, loss=float)
def partial_fc(rank: int, time: str, step: int, rank_speed: float, speed: float, epoch: int, loss: float,
               metric: str = "loss") -> str:
    """The original's partial-FC program; "it" are images."""
    return (f"rank-id:{rank}:{time}-Iter:{step} Rank:{rank_speed:.2f} it/sec Total:{speed:.2f} it/sec "
            f"[{epoch}][{metric}]:{loss:.4f}")
