"""A checkpoint in MXNet's published form: PREFIX-symbol.json and PREFIX-NNNN.params, read with care and written whole.

docs/original.md, sections 2.9 and 4.5. Written files have a checksum beside them; a file whose checksum does not hold,
that is truncated, or whose symbol and parameters disagree, is refused with one line.
"""
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Collection, Mapping, NamedTuple, Optional, Sequence, Tuple

from arcface_mxnet.graph.nodes import Graph, Node, disagreeing_shape, is_input
from arcface_mxnet.graph.params_file import Arrays, as_float32, read_arrays, split_kinds, write_arrays
from arcface_mxnet.graph.safetensors_file import SUFFIX, read_safetensors, write_safetensors
from arcface_mxnet.graph.symbol import Symbol
from arcface_mxnet.graph.symbol_json import Entry, read_file
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import CHECKSUM_SUFFIX, atomic_path, verify_checksum, write_checksum

EMBEDDING_OUTPUT = "fc1_output"
HEAD_PREFIX = "fc7"
DENSE_NAMES = ("fc1_weight", "pre_fc1_weight")  # the published y1 has the first, later code writes the second

DATA = "data"
FOLDER_STEM = "model"  # of the files in a folder that is named instead of PREFIX,EPOCH
_FLOATS = ("float16", "float32", "float64")


@dataclass(frozen=True)
class Checkpoint:
    """A graph and its values; `args` are the learnt parameters, `aux` the statistics of the normalisations."""

    symbol: Symbol
    args: Arrays
    aux: Arrays


class Trust(NamedTuple):
    """What a user says a checkpoint may hold although it looks wrong: further operators by name, NaN and infinity."""

    operators: Tuple[str, ...] = ()
    nonfinite: bool = False


NO_TRUST = Trust()


def parse_model(text: str) -> Tuple[str, int]:
    """(prefix, epoch) of "PREFIX,EPOCH" (the original's --model), or of a folder that `export safetensors` wrote.

    Raises InputError when it is of another form.
    """
    if Path(text).is_dir():
        if not Path(text, FOLDER_STEM + SUFFIX).is_file():
            raise InputError(f"model '{text}': the folder holds no {FOLDER_STEM}{SUFFIX}; give PREFIX,EPOCH, or a "
                             "folder that `export safetensors` wrote")
        return str(Path(text, FOLDER_STEM)), 0
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


def values_path(prefix: str, epoch: int) -> Path:
    """The file that values of an epoch are read from: PREFIX-NNNN.params, or else PREFIX.safetensors for epoch 0."""
    published, other = params_path(prefix, epoch), Path(f"{prefix}{SUFFIX}")
    return other if epoch == 0 and not published.exists() and other.exists() else published


def load(prefix: str, epoch: int, symbol: Optional[Symbol] = None, trust: Trust = NO_TRUST) -> Checkpoint:
    """Read PREFIX-symbol.json (or take `symbol`) and the values of the epoch, and check that they belong together.

    Nothing in either file is believed before it is checked (graph.symbol_json, graph.params_file); `trust` says what is
    let through. Graphs of MXNet 0.8 and later load. The last dense weight may be stored as
    fc1_weight or pre_fc1_weight: it gets the name the symbol uses. An input of another name becomes `data`. Half
    precision, of parameters and of casts in the graph, becomes float32, which every device can run. Parameters of a
    classification head (fc7*) that the symbol lacks are left out.
    Raises InputError naming the file, or the parameter, for whatever is missing, damaged or does not fit.
    """
    if symbol is None:
        symbol = load_symbol(symbol_path(prefix), trust)
    path = values_path(prefix, epoch)
    args, aux = load_params(path, symbol.list_auxiliary_states(), trust)
    return align(in_float32(symbol), args, aux, str(path))


def load_symbol(path: Path, trust: Trust = NO_TRUST) -> Symbol:
    """Read a graph; raises InputError naming the file when it is missing, or is no graph this program runs."""
    _require(path)
    verify_checksum(path)
    return Symbol(read_file(path, trust.operators))


def load_params(path: Path, states: Collection[str] = (), trust: Trust = NO_TRUST) -> Tuple[Arrays, Arrays]:
    """Read a parameter file (.params or .safetensors) into (args, aux), float32 for every floating type.

    `states`: the names of the auxiliary states, for a file whose names do not say what is one. Raises InputError when
    it is missing, damaged or of another kind.
    """
    _require(path)
    verify_checksum(path)
    read = read_safetensors if path.suffix == SUFFIX else read_arrays
    args, aux = split_kinds(read(path, trust.nonfinite), states, str(path))
    for group in (args, aux):
        for name, value in group.items():
            if value.dtype.kind == "f":
                group[name] = as_float32(value, name, str(path))
    return args, aux


def in_float32(symbol: Symbol) -> Symbol:
    """A graph without its casts between floating types; those of bfloat16 (`amp_cast`) stay, with what they return to.

    A graph with half precision runs on few devices, and its casts change nothing but the precision.
    """
    graph = Graph.of(symbol)
    lowered = any(node.op == "amp_cast" and node.attrs.get("dtype") == "bfloat16" for node in graph.nodes())

    def source(node: Node) -> Optional[Entry]:
        gone = node.op == "Cast" or node.op == "amp_cast" and not lowered
        return node.inputs[0] if gone and node.attrs.get("dtype") in _FLOATS else None

    cast = graph.replace(source)
    noted = [node for node in graph.nodes() if node.is_variable and node.attrs.get("__dtype__") in ("1", "2")]
    for node in noted:
        node.attrs["__dtype__"] = "0"
    return graph.symbol() if cast or noted else symbol


def align(symbol: Symbol, args: Arrays, aux: Arrays, origin: str) -> Checkpoint:
    """Give parameters the names `symbol` uses and check names and shapes; `origin` is named in errors (InputError).

    Where the graph has no input named `data`, the one variable that has no value and is no label is it.
    """
    wanted = set(symbol.list_arguments())
    args = dict(args)
    for given, other in (DENSE_NAMES, DENSE_NAMES[::-1]):
        if given in args and given not in wanted and other in wanted and other not in args:
            args[other] = args.pop(given)
    args = {name: value for name, value in args.items() if name in wanted or not name.startswith(HEAD_PREFIX)}
    symbol = _with_data(symbol, args)
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
    """Write PREFIX-symbol.json and PREFIX-NNNN.params, each atomically and with a .sha256 beside it, or neither."""
    _write_both(checkpoint, prefix, params_path(prefix, epoch), lambda path: write_arrays(path, _stored(checkpoint)))


def save_folder(checkpoint: Checkpoint, folder: Path, metadata: Mapping[str, str]) -> Path:
    """Write model-symbol.json and model.safetensors, which carries `metadata`, as `save`; returns the latter's path."""
    folder.mkdir(parents=True, exist_ok=True)
    prefix = str(folder / FOLDER_STEM)
    path = Path(f"{prefix}{SUFFIX}")
    _write_both(checkpoint, prefix, path, lambda temporary: write_safetensors(temporary, _stored(checkpoint), metadata))
    return path


def _stored(checkpoint: Checkpoint) -> Arrays:
    stored = {f"arg:{name}": value for name, value in checkpoint.args.items()}
    stored.update({f"aux:{name}": value for name, value in checkpoint.aux.items()})
    return stored


def _write_both(checkpoint: Checkpoint, prefix: str, path: Path, write_values: Callable[[Path], object]) -> None:
    """The values first, under a name that is not theirs yet: a full disk then leaves no graph without parameters."""
    def write(temporary: Path) -> None:
        write_values(temporary)
        _write_symbol(checkpoint, prefix)

    _write(path, write)


def _write_symbol(checkpoint: Checkpoint, prefix: str) -> None:
    text = checkpoint.symbol.tojson().encode("utf-8")
    _write(symbol_path(prefix), lambda path: path.write_bytes(text))


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


def _with_data(symbol: Symbol, args: Collection[str]) -> Symbol:
    """The graph with its one free variable named `data`."""
    free = [name for name in symbol.list_arguments() if name not in args and not name.endswith("label")]
    if len(free) != 1 or DATA in symbol.list_inputs() or is_input(free[0]):
        return symbol
    graph = Graph.of(symbol)
    for node in graph.nodes():
        if node.is_variable and node.name == free[0]:
            node.name = DATA
    return graph.symbol()


def _same_names(kind: str, wanted: Sequence[str], given: Collection[str], origin: str) -> None:
    missing = [name for name in wanted if name not in given]
    extra = sorted(set(given) - set(wanted))
    if missing or extra:
        what = f"lacks {kind} {missing[0]} of" if missing else f"has {kind} {extra[0]}, unknown to"
        more = len(missing) + len(extra) - 1
        raise InputError(f"{origin}: {what} the symbol{f' ({more} more)' if more else ''}; "
                         f"these files do not belong together")


def _write(path: Path, write: Callable[[Path], object]) -> None:
    """Write atomically; the old checksum goes first, so that a stop in between leaves a good file, no false alarm."""
    beside = Path(f"{path}{CHECKSUM_SUFFIX}")
    with atomic_path(path) as temporary:
        write(temporary)
        if beside.exists():
            beside.unlink()
    write_checksum(path)
