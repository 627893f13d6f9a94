"""A checkpoint in MXNet's published form: PREFIX-symbol.json and PREFIX-NNNN.params, read with care and written whole.

docs/original.md, sections 2.9 and 4.5. Written files have a checksum beside them; a file whose checksum does not hold,
that is truncated, or whose symbol and parameters disagree, is refused with one line.
"""
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, Optional, Sequence, Tuple

from arcface_mxnet.graph.nodes import disagreeing_shape, is_input
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import CHECKSUM_SUFFIX, atomic_path, verify_checksum, write_checksum
from arcface_mxnet.runtime.mx import mx

EMBEDDING_OUTPUT = "fc1_output"
HEAD_PREFIX = "fc7"
DENSE_NAMES = ("fc1_weight", "pre_fc1_weight")  # the published y1 has the first, later code writes the second

NDArrays = Dict[str, "mx.nd.NDArray"]


@dataclass(frozen=True)
class Checkpoint:
    """A graph and its values; `args` are the learnt parameters, `aux` the statistics of the normalisations."""

    symbol: "mx.sym.Symbol"
    args: NDArrays
    aux: NDArrays


def parse_model(text: str) -> Tuple[str, int]:
    """Split "PREFIX,EPOCH" (the original's --model) into its parts; raises InputError when it is of another form."""
    prefix, separator, epoch = text.rpartition(",")
    if not separator or not prefix or not epoch.strip().isdigit():
        raise InputError(f"model '{text}': expected PREFIX,EPOCH, for example models/model,0 "
                         f"for models/model-symbol.json and models/model-0000.params")
    return prefix, int(epoch)


def symbol_path(prefix: str) -> Path:
    """The file that holds the graph."""
    return Path(f"{prefix}-symbol.json")


def params_path(prefix: str, epoch: int) -> Path:
    """The file that holds the values of one epoch."""
    return Path(f"{prefix}-{epoch:04d}.params")


def load(prefix: str, epoch: int, symbol: Optional["mx.sym.Symbol"] = None) -> Checkpoint:
    """Read PREFIX-symbol.json (or take `symbol`) and PREFIX-NNNN.params, and check that they belong together.

    Graphs of MXNet 0.8 and later load. The last dense weight may be stored as fc1_weight or pre_fc1_weight: it gets the
    name the symbol uses. Parameters of a classification head (fc7*) that the symbol lacks are left out.
    Raises InputError naming the file, or the parameter, for whatever is missing, damaged or does not fit.
    """
    if symbol is None:
        symbol = load_symbol(symbol_path(prefix))
    path = params_path(prefix, epoch)
    args, aux = load_params(path)
    return align(symbol, args, aux, str(path))


def load_symbol(path: Path) -> "mx.sym.Symbol":
    """Read a graph; raises InputError naming the file when it is missing or is no graph."""
    _require(path)
    verify_checksum(path)
    try:
        text = path.read_text(encoding="utf-8")
        if "nodes" not in json.loads(text):
            raise ValueError("it has no nodes")
        return mx.sym.load_json(text)
    except (ValueError, TypeError, mx.base.MXNetError) as error:
        raise InputError(f"{path}: not an MXNet symbol ({_first_line(error)}); use another copy") from None


def load_params(path: Path) -> Tuple[NDArrays, NDArrays]:
    """Read a parameter file into (args, aux); raises InputError when it is missing, damaged or of another kind."""
    _require(path)
    verify_checksum(path)
    try:
        stored = mx.nd.load(os.fspath(path))
    except mx.base.MXNetError as error:
        raise InputError(f"{path}: truncated or not an MXNet parameter file ({_first_line(error)}); "
                         f"use another copy") from None
    if not isinstance(stored, dict):
        raise InputError(f"{path}: holds arrays without names; give the file that belongs to the symbol")
    args: NDArrays = {}
    aux: NDArrays = {}
    for key, value in stored.items():
        kind, separator, name = key.partition(":")
        if not separator or kind not in ("arg", "aux"):
            raise InputError(f"{path}: '{key}' is neither arg:NAME nor aux:NAME; give a file saved with its symbol")
        (args if kind == "arg" else aux)[name] = value
    return args, aux


def align(symbol: "mx.sym.Symbol", args: NDArrays, aux: NDArrays, origin: str) -> Checkpoint:
    """Give parameters the names `symbol` uses and check names and shapes; `origin` is named in errors (InputError)."""
    wanted = set(symbol.list_arguments())
    args = dict(args)
    for given, other in (DENSE_NAMES, DENSE_NAMES[::-1]):
        if given in args and given not in wanted and other in wanted and other not in args:
            args[other] = args.pop(given)
    args = {name: value for name, value in args.items() if name in wanted or not name.startswith(HEAD_PREFIX)}
    parameters = [name for name in symbol.list_arguments() if not is_input(name)]
    _same_names("parameter", parameters, args, origin)
    _same_names("auxiliary state", symbol.list_auxiliary_states(), aux, origin)
    values = {**args, **aux}
    wrong = disagreeing_shape(symbol, {name: value.shape for name, value in values.items()})
    if wrong is not None:
        name, expected = wrong
        raise InputError(f"{origin}: parameter {name} has shape {values[name].shape}, the symbol needs {expected}; "
                         f"these files do not belong together")
    return Checkpoint(symbol, args, aux)


def save(checkpoint: Checkpoint, prefix: str, epoch: int) -> None:
    """Write PREFIX-symbol.json and PREFIX-NNNN.params, each atomically and with a .sha256 beside it."""
    stored = {f"arg:{name}": value for name, value in checkpoint.args.items()}
    stored.update({f"aux:{name}": value for name, value in checkpoint.aux.items()})
    _write(symbol_path(prefix), lambda path: checkpoint.symbol.save(path, remove_amp_cast=False))
    _write(params_path(prefix, epoch), lambda path: save_arrays(path, stored))


def save_arrays(path: str, arrays: NDArrays) -> None:
    """mx.nd.save, with MXNet's C++ stack on a failed write turned into an InputError that names the file."""
    try:
        mx.nd.save(path, arrays)
    except mx.base.MXNetError as error:
        raise InputError(f"{path}: could not be written whole ({_first_line(error)}); "
                         f"make room on the disk or choose another folder") from None


def embedding_only(checkpoint: Checkpoint) -> Checkpoint:
    """Cut at fc1_output and drop what the cut graph does not use (fc7*); docs/original.md, section 4.5.

    Raises InputError when the graph has no fc1_output, unless it already ends in one output other than a softmax
    (output type Z of the original ends in dropout0).
    """
    outputs = checkpoint.symbol.get_internals().list_outputs()
    symbol = checkpoint.symbol
    if EMBEDDING_OUTPUT in outputs:
        symbol = symbol.get_internals()[EMBEDDING_OUTPUT]
    elif len(symbol.list_outputs()) != 1 or "softmax" in symbol.list_outputs()[0]:
        raise InputError(f"the graph has no {EMBEDDING_OUTPUT}; its outputs are {', '.join(symbol.list_outputs())}")
    arguments, states = set(symbol.list_arguments()), set(symbol.list_auxiliary_states())
    return Checkpoint(symbol, {name: value for name, value in checkpoint.args.items() if name in arguments},
                      {name: value for name, value in checkpoint.aux.items() if name in states})


def _require(path: Path) -> None:
    """Raise InputError, with what stands in its place, when there is no such file."""
    if path.is_file():
        return
    prefix = re.sub(r"-(symbol\.json|\d{4,}\.params)$", "", path.name)
    beside = sorted(p.name for p in path.parent.glob(f"{prefix}-*.params")) if path.parent.is_dir() else []
    hint = f"there are {', '.join(beside[:6])}" if beside else "give --model PREFIX,EPOCH of files that exist"
    raise InputError(f"{path}: not found; {hint}")


def _same_names(kind: str, wanted: Sequence[str], given: NDArrays, origin: str) -> None:
    missing = [name for name in wanted if name not in given]
    extra = sorted(set(given) - set(wanted))
    if missing or extra:
        what = f"lacks {kind} {missing[0]} of" if missing else f"has {kind} {extra[0]}, unknown to"
        more = len(missing) + len(extra) - 1
        raise InputError(f"{origin}: {what} the symbol{f' ({more} more)' if more else ''}; "
                         f"these files do not belong together")


def _write(path: Path, write: Callable[[str], None]) -> None:
    """Write atomically; the old checksum goes first, so that a stop in between leaves a good file, no false alarm."""
    beside = Path(f"{path}{CHECKSUM_SUFFIX}")
    with atomic_path(path) as temporary:
        write(os.fspath(temporary))
        if beside.exists():
            beside.unlink()
    write_checksum(path)


def _first_line(error: Exception) -> str:
    """The telling part of an MXNet error, whose first lines are a C++ stack."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = next((line for line in lines if "Check failed" in line), lines[-1] if lines else "unreadable")
    return telling.split("MXNetError: ")[-1][:160]
