"""Every line a training run prints: one writer and one pattern side by side.

The shapes are the original MXNet code's (2018 to 2021), so that scripts written for its logs read ours and our parser
reads its logs. Where two generations differ, the writer has the newer shape and the pattern reads both.

A step is one update of the parameters, counted from 1 over the whole run. A batch is counted from 0 inside its epoch:
step = epoch * batches_per_epoch + batch + 1. Rates are the optimiser's learning rate; accuracies are fractions.
Source: the original's printed lines (docs/original.md, section 4.4); the last section is our own. What only other
programs print is in `arcface_mxnet.logs.original_format`.
"""
import ast
import re
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, Optional, Pattern, Sequence

# One printed line: the function that writes it and the regular expression that reads it, held together.


Reader = Callable[[str], Any]
NUMBER = r"-?[\d.]+(?:[eE][-+]?\d+)?|nan|-?inf"
LOGGER = r"(?:INFO:root:)?"  # the prefix of Python's logging, where a program had it on


@dataclass(frozen=True)
class Line:
    """A kind of line in a training log.

    Calling it writes the line (no newline at the end); `read` gives the values back. For every line that is written,
    `line.read(line(**values)) == values` up to the digits that are printed.
    """

    name: str
    write: Callable[..., str]
    pattern: Pattern[str]
    readers: Dict[str, Reader]

    def __call__(self, *args: Any, **values: Any) -> str:
        """The text of the line for these values."""
        return self.write(*args, **values)

    def read(self, text: str) -> Optional[Dict[str, Any]]:
        """The typed values of a line of this kind, None for any other line; groups that are absent are left out."""
        match = self.pattern.match(text)
        if match is None:
            return None
        return self.values(match.groupdict())

    def values(self, groups: Dict[str, Optional[str]]) -> Dict[str, Any]:
        """The matched texts turned into their types."""
        return {key: self.readers.get(key, str)(text) for key, text in groups.items() if text is not None}


def line(registry: List[Line], pattern: str, **readers: Reader) -> Callable[[Callable[..., str]], Line]:
    """Decorate a writer with the pattern that reads it back; named groups are values, `readers` give their types.

    The pattern is anchored at both ends.
    """
    def wrap(write: Callable[..., str]) -> Line:
        made = Line(write.__name__, write, re.compile(f"^{pattern}$"), readers)
        registry.append(made)
        return made
    return wrap


# How values inside a printed line are read back.


FLOPS_UNITS = ("", "K", "M", "G", "T")


def read_numbers(text: str) -> List[float]:
    """Numbers separated by commas or spaces; whole ones as integers."""
    return [float(part) if "." in part or "e" in part else int(part) for part in text.replace(",", " ").split()]


def read_truth(text: str) -> bool:
    """A flag printed as True or 1."""
    return text in ("True", "1")


def read_namespace(text: str) -> Dict[str, Any]:
    """The values of a printed argparse Namespace, with those of the dictionary that later code prints behind it.

    What is no Python literal is left as text; a line that is no Namespace at all comes back under `unparsed`.
    """
    for end in (place for place, letter in enumerate(text, 1) if letter == ")"):
        try:
            call = ast.parse(f"f{text[:end]}", mode="eval").body
        except SyntaxError:
            continue
        return {**_literal_dict(text[end:]), **_keywords(call, f"f{text[:end]}")}
    return {"unparsed": text}


def _keywords(call: ast.expr, text: str) -> Dict[str, Any]:
    values: Dict[str, Any] = {}
    for keyword in getattr(call, "keywords", []):
        try:
            values[str(keyword.arg)] = ast.literal_eval(keyword.value)
        except ValueError:
            values[str(keyword.arg)] = ast.get_source_segment(text, keyword.value)
    return values


def _literal_dict(text: str) -> Dict[str, Any]:
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError):
        return {}
    return dict(value) if isinstance(value, dict) else {}


def read_flops(text: str) -> int:
    """A count of operations such as 439.8M."""
    unit = text[-1] if text[-1] in FLOPS_UNITS[1:] else ""
    return round(float(text[:len(text) - len(unit)]) * 1000 ** FLOPS_UNITS.index(unit))


LINES: List[Line] = []


def _line(pattern: str, **readers: Reader) -> Callable[[Callable[..., str]], Line]:
    return line(LINES, pattern, **readers)


# ---- the start of a run

@_line(r"gpu num: (?P<count>\d+)", count=int)
def gpu_num(count: int) -> str:
    """How many GPUs the run uses."""
    return f"gpu num: {count}"


@_line(r"use cpu")
def use_cpu() -> str:
    """The run has no GPU."""
    return "use cpu"


@_line(r"prefix (?P<path>.+)")
def prefix(path: str) -> str:
    """Where the checkpoints go."""
    return f"prefix {path}"


@_line(r"image_size \[?\(?(?P<height>\d+), (?P<width>\d+)\)?\]?", height=int, width=int)
def image_size(height: int, width: int) -> str:
    """Size of the input image in pixels."""
    return f"image_size [{height}, {width}]"


@_line(r"num_classes (?P<count>\d+)", count=int)
def num_classes(count: int) -> str:
    """How many identities the head tells apart."""
    return f"num_classes {count}"


@_line(r"Called with argument: Namespace(?P<settings>\(.*)", settings=read_namespace)
def called_with(settings: Mapping[str, Any]) -> str:
    """Every setting of the run, as argparse prints its namespace, keys sorted."""
    inside = ", ".join(f"{key}={settings[key]!r}" for key in sorted(settings))
    return f"Called with argument: Namespace({inside})"


@_line(r"Network FLOPs: (?P<flops>[\d.]+[KMGT]?)", flops=read_flops)
def network_flops(flops: int) -> str:
    """Floating-point operations of one forward pass of one image (twice the multiply-adds): `439.8M`."""
    value, unit = float(flops), 0
    while value >= 1000 and unit < len(FLOPS_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"Network FLOPs: {value:.1f}{FLOPS_UNITS[unit]}"


@_line(r"loading (?!bin )\[?'?(?P<prefix>[^\s',]+?)'?,? '?(?P<epoch>\d+)'?\]?", epoch=int)
def loading_pretrained(prefix: str, epoch: int) -> str:
    """The checkpoint the run starts from (2018: printed as a Python list)."""
    return f"loading {prefix} {epoch}"


# ---- the data

@_line(r"loading: (?P<path>\S+) (?P<shuffled>True|False)", shuffled=read_truth)
def loading_records(path: str, shuffled: bool) -> str:
    """The training record, and whether it is a shuffled one without an index."""
    return f"loading: {path} {shuffled}"


@_line(r"header0 label \[\s*(?P<first>[\d.]+)\s+(?P<last>[\d.]+)\s*\]", first=float, last=float)
def header_label(first: float, last: float) -> str:
    """The header record: first key after the images, and one past the last identity's key."""
    return f"header0 label [{first:.0f}. {last:.0f}.]"


@_line(r"id2range (?P<count>\d+)", count=int)
def id2range(count: int) -> str:
    """How many identities passed the filter."""
    return f"id2range {count}"


@_line(r"(?P<count>\d+)", count=int)
def image_count(count: int) -> str:
    """How many images an epoch draws from: a line with this number alone."""
    return f"{count}"


@_line(r"rand_mirror (?P<on>True|False|0|1)", on=read_truth)
def rand_mirror(on: bool) -> str:
    """Whether training images are mirrored at random."""
    return f"rand_mirror {on}"


@_line(r"ver (?P<target>\w+)")
def ver(target: str) -> str:
    """A verification pack is ready."""
    return f"ver {target}"


@_line(r"lr_steps \[(?P<steps>.*)\]", steps=read_numbers)
def lr_steps(steps: Sequence[int]) -> str:
    """The steps at which the rate drops to a tenth."""
    return f"lr_steps {list(steps)}"


@_line(r"call reset\(\)")
def call_reset() -> str:
    """A new epoch's order has been drawn."""
    return "call reset()"


# ---- the loop

@_line(LOGGER + r"Epoch\[(?P<epoch>\d+)\] Batch \[(?:(?P<first>\d+)-)?(?P<last>\d+)\]\tSpeed: (?P<speed>[\d.]+|inf) "
       rf"samples/sec(?:\tacc=(?P<acc>{NUMBER}))?(?:\tlossvalue=(?P<loss>{NUMBER}))?",
       epoch=int, first=int, last=int, speed=float, acc=float, loss=float)
def epoch_batch(epoch: int, first: int, last: int, speed: float, acc: float, loss: Optional[float] = None) -> str:
    """Batches `first` to `last` of an epoch: images per second, accuracy under the margin, mean cross-entropy.

    MXNet before 1.3 printed the last batch only.
    """
    tail = "" if loss is None else f"\tlossvalue={loss:.6f}"
    return f"Epoch[{epoch}] Batch [{first}-{last}]\tSpeed: {speed:.2f} samples/sec\tacc={acc:.6f}{tail}"


@_line(rf"lr-batch-epoch: (?P<lr>{NUMBER})(?: (?P<head_lr>{NUMBER}))? (?P<batch>\d+) (?P<epoch>\d+)",
       lr=float, head_lr=float, batch=int, epoch=int)
def lr_batch_epoch(lr: float, batch: int, epoch: int, head_lr: Optional[float] = None) -> str:
    """Every 1000 steps: the rate (and the head's, where it has its own optimiser), batch and epoch."""
    rates = f"{lr}" if head_lr is None else f"{lr} {head_lr}"
    return f"lr-batch-epoch: {rates} {batch} {epoch}"


@_line(rf"lr change to (?P<lr>{NUMBER})(?: (?P<head_lr>{NUMBER}))?", lr=float, head_lr=float)
def lr_change(lr: float, head_lr: Optional[float] = None) -> str:
    """The rate has dropped."""
    return f"lr change to {lr}" if head_lr is None else f"lr change to {lr} {head_lr}"


@_line(LOGGER + rf"Epoch\[(?P<epoch>\d+)\] Train-(?P<metric>acc|lossvalue)=(?P<value>{NUMBER})", epoch=int, value=float)
def train_metric(epoch: int, value: float, metric: str = "acc") -> str:
    """End of an epoch: the training metric, `acc` or `lossvalue`."""
    return f"Epoch[{epoch}] Train-{metric}={value:.6f}"


@_line(LOGGER + r"Epoch\[(?P<epoch>\d+)\] Time cost=(?P<seconds>[\d.]+)", epoch=int, seconds=float)
def time_cost(epoch: int, seconds: float) -> str:
    """End of an epoch: its wall-clock time in seconds."""
    return f"Epoch[{epoch}] Time cost={seconds:.3f}"


# ---- a validation, one block per set, in this order

@_line(r"testing verification\.\.")
def testing_verification() -> str:
    """A verification set is being embedded."""
    return "testing verification.."


@_line(r"\((?P<images>\d+)L?, (?P<dimension>\d+)L?\)", images=int, dimension=int)
def embedding_shape(images: int, dimension: int) -> str:
    """Shape of its embeddings."""
    return f"({images}, {dimension})"


@_line(r"infer time (?P<seconds>[\d.e-]+)", seconds=float)
def infer_time(seconds: float) -> str:
    """Seconds the network took."""
    return f"infer time {seconds:.6f}"


@_line(rf"\[(?P<target>\w+)\]\[(?P<step>\d+)\]XNorm: (?P<xnorm>{NUMBER})", step=int, xnorm=float)
def xnorm(target: str, step: int, xnorm: float) -> str:
    """Mean length of the un-normalised embeddings."""
    return f"[{target}][{step}]XNorm: {xnorm:.6f}"


@_line(rf"\[(?P<target>\w+)\]\[(?P<step>\d+)\]Accuracy-Flip: (?P<accuracy>{NUMBER})\+-(?P<std>{NUMBER})",
       step=int, accuracy=float, std=float)
def accuracy_flip(target: str, step: int, accuracy: float, std: float) -> str:
    """10-fold accuracy of summed original and mirrored embeddings, and its deviation over the folds."""
    return f"[{target}][{step}]Accuracy-Flip: {accuracy:1.5f}+-{std:1.5f}"


@_line(r"saving (?:last )?(?P<number>\d+)", number=int)
def saving(number: int) -> str:
    """A checkpoint with this number is about to be written (model-parallel, at the end: `saving last 0`)."""
    return f"saving {number}"


@_line(LOGGER + r"Saved checkpoint to \"(?P<path>.+-\d{4}\.params)\"")
def saved_checkpoint(path: str) -> str:
    """It is written."""
    return f'Saved checkpoint to "{path}"'


@_line(rf"\[(?P<step>\d+)\]Accuracy-Highest: (?P<accuracy>{NUMBER})", step=int, accuracy=float)
def accuracy_highest(step: int, accuracy: float) -> str:
    """Best accuracy so far on the last verification set."""
    return f"[{step}]Accuracy-Highest: {accuracy:1.5f}"


# ---- our own

@_line(r"data manifest (?P<sha256>[0-9a-f]{12,64})")
def data_manifest(sha256: str) -> str:
    """What the run was trained on: the first digits of the SHA-256 over its manifest (datasets/manifest.py)."""
    return f"data manifest {sha256}"


@_line(r"resuming (?P<path>.+) at step (?P<step>\d+) \(epoch (?P<epoch>\d+), batch (?P<batch>\d+)\)",
       step=int, epoch=int, batch=int)
def resuming(path: str, step: int, epoch: int, batch: int) -> str:
    """`step` updates are done; the next batch is `batch` of `epoch`. Anything printed after `step` before is void."""
    return f"resuming {path} at step {step} (epoch {epoch}, batch {batch})"


@_line(r"parameters (?P<kind>loaded|new|ignored) (?P<count>\d+)(?:: (?P<names>.*))?",
       count=int, names=lambda text: text.split(", "))
def parameters(kind: str, count: int, names: Sequence[str] = ()) -> str:
    """What became of a pretrained checkpoint's arrays: `kind` is loaded, new (freshly initialised) or ignored."""
    return f"parameters {kind} {count}" + (f": {', '.join(names)}" if names else "")


@_line(r"saved last at step (?P<step>\d+)", step=int)
def saved_last(step: int) -> str:
    """Everything a resumed run needs has been written."""
    return f"saved last at step {step}"


@_line(r"not finite: (?P<what>.+) between step (?P<first>\d+) and step (?P<last>\d+)", first=int, last=int)
def not_finite(what: str, first: int, last: int) -> str:
    """`what` (the loss, a gradient) was finite at step `first` and is not at step `last`."""
    return f"not finite: {what} between step {first} and step {last}"


@_line(r"stopped at step (?P<step>\d+): (?P<reason>.+)", step=int)
def stopped(step: int, reason: str) -> str:
    """The run ends here, and why (all steps done, a signal, a number that is not finite)."""
    return f"stopped at step {step}: {reason}"


@_line(r"note: (?P<text>.+)")
def note(text: str) -> str:
    """Anything else worth a line."""
    return f"note: {text}"
