"""A graph's JSON, read with suspicion and written as MXNet 1.9.1 writes it, byte for byte.

A graph is a program, and a file may come from anybody: MXNet takes an attribute of a node `_Native` for an address and
jumps there, reads past the inputs of a node that has too few, divides by a num_group of 0. So a text is read here
first: known operators only (graph.operators), each with its number of inputs, its attributes in type and range, inputs
that stand before it, bounded size, depth and count. What comes out may be executed; MXNet gets the text of `write_json`
of it, never the file's own.

Old files load as MXNet loads them: "attr" and "param" for "attrs" (before 1.0), entries of two numbers, statistics that
are no inputs yet (before 0.9), multipliers without underscores (src/nnvm/legacy_json_util.cc).
"""
import ast
import json
import os
import re
from typing import Any, Collection, Dict, Iterator, List, Mapping, NoReturn, Optional, Sequence, Tuple

from arcface_mxnet.graph.operators import (
    FORBIDDEN,
    OPERATORS,
    input_names,
    is_note,
    output_counts,
    state_inputs,
    values,
)
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import PathLike
from arcface_mxnet.runtime.reading import read_file as read_bytes

Entry = Tuple["Node", int]  # a node and which of its outputs

MXNET_VERSION = 10901
_UNSTATED_VERSION = 800
_MOST_BYTES = 16 * 2 ** 20
_MOST_NODES = 100_000
_MOST_HEADS = 4096
_MOST_INPUTS = 4096
_DEEPEST = 24  # a graph with a graph in a node has 10 levels
_LONGEST_NAME = 1000
_LONGEST_TEXT = 2 ** 16
_OUTPUTS_OF_OTHERS = 64  # of an operator that only a flag admits, and whose outputs are not known
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]')
_OLD_NOTES = ("ctx_group", "lr_mult", "wd_mult", "force_mirroring", "mirror_stage")
_INSIDE = frozenset(("Convolution", "FullyConnected", "Activation", "LeakyReLU", "elemwise_add", "clip"))
_NOTES = {"__shape__": re.compile(r"[(\[][-\d\s,]*[)\]]"), "__dtype__": re.compile(r"-?\d{1,2}"),
          "__storage_type__": re.compile(r"-?\d{1,2}")}
# What MXNet notes on a variable when it becomes this input of an operator, unless it has an initial value.
_FIRST_VALUES: Mapping[Tuple[str, int], str] = {
    ("BatchNorm", 3): '["zero", {}]', ("BatchNorm", 4): '["one", {}]',
    ("LeakyReLU", 1): '["Constant", {"value": 0.25}]'}


class Node:
    """One operator, or a variable when `op` is "null"; attributes are text, as MXNet stores them.

    `rest` holds the raw "subgraphs" of fused operators. `values` gives the attributes typed, defaults filled in.
    """

    def __init__(self, op: str, name: str, attrs: Optional[Mapping[str, str]] = None, inputs: Sequence[Entry] = (),
                 rest: Optional[Mapping[str, Any]] = None) -> None:
        self.op = op
        self.name = name
        self.attrs: Dict[str, str] = dict(attrs or {})
        self.inputs: List[Entry] = list(inputs)
        self.rest: Dict[str, Any] = dict(rest or {})

    @property
    def is_variable(self) -> bool:
        """Whether the node is an argument or a state rather than an operator."""
        return self.op == "null"

    def values(self) -> Dict[str, Any]:
        """Every attribute of the operator with its type (see graph.operators.values)."""
        return values(self.op, self.attrs)

    def flag(self, key: str, default: bool = False) -> bool:
        """A boolean attribute."""
        return self.attrs.get(key, str(default)) in ("True", "1", "true")

    def number(self, key: str, default: float) -> float:
        """A numeric attribute."""
        return float(self.attrs.get(key, default))

    def numbers(self, key: str, default: Sequence[int]) -> Tuple[int, ...]:
        """A tuple attribute, as kernel or pad."""
        text = self.attrs.get(key)
        return tuple(ast.literal_eval(text)) if text else tuple(default)

    def __repr__(self) -> str:
        return f"<{self.op} {self.name}>"


def ordered(heads: Sequence[Entry]) -> Iterator[Node]:
    """All nodes that `heads` reach, inputs before what uses them, in MXNet's depth-first order."""
    seen = set()
    for head, _ in heads:
        stack: List[Tuple[Node, int]] = [(head, 0)]
        while stack:
            node, position = stack.pop()
            if position == 0:
                if id(node) in seen:
                    continue
                seen.add(id(node))
            if position < len(node.inputs):
                stack.append((node, position + 1))
                if id(node.inputs[position][0]) not in seen:
                    stack.append((node.inputs[position][0], 0))
            else:
                yield node


def read_file(path: PathLike, allow: Collection[str] = ()) -> List[Entry]:
    """The heads of the graph in a file; see `read_json`. InputError also when it is missing, a Git LFS pointer, or
    larger than any graph.
    """
    content = read_bytes(path, "give the symbol file of a checkpoint", _MOST_BYTES)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{os.fspath(path)}: not an MXNet symbol (it is not UTF-8 text); use another copy") from None
    return read_json(text, os.fspath(path), allow)


def read_json(text: str, origin: str, allow: Collection[str] = ()) -> List[Entry]:
    """The heads of the graph in a text, checked whole; `origin` is named in errors.

    `allow` names operators that are admitted although nothing is known about them (their inputs and attributes are
    then unchecked); those of `operators.FORBIDDEN` never are. Raises InputError, in one line with file, node, operator
    and what is wrong.
    """
    graph = _parsed(text, origin)
    version = _version(graph, origin)
    return _Reader(origin, version, frozenset(allow)).heads(graph)


def write_json(heads: Sequence[Entry]) -> str:
    """The text MXNet 1.9.1's `Symbol.tojson(remove_amp_cast=False)` gives for the same graph, built by its functions.

    The third number of an entry counts the changes of a state before that use; files that never knew it get it too.
    """
    order = list(ordered(heads))
    index = {id(node): position for position, node in enumerate(order)}
    written: Dict[int, int] = {}  # how often an operator before has changed a variable
    nodes: List[Dict[str, Any]] = []
    rows = [0]
    for node in order:
        states = state_inputs(node.op)
        inputs = []
        for position, (source, which) in enumerate(node.inputs):
            if position in states:
                written[id(source)] = written.get(id(source), 0) + 1
            inputs.append([index[id(source)], which, written.get(id(source), 0)])
        entry: Dict[str, Any] = {"op": node.op, "name": node.name}
        if node.attrs:
            entry["attrs"] = {key: node.attrs[key] for key in sorted(node.attrs)}
        nodes.append({**entry, "inputs": inputs, **node.rest})
        rows.append(rows[-1] + (1 if node.is_variable else output_counts(node.op, node.attrs)[0]))
    return _dumped({
        "nodes": nodes, "arg_nodes": [position for position, node in enumerate(order) if node.is_variable],
        "node_row_ptr": rows, "heads": [[index[id(node)], which, 0] for node, which in heads],
        "attrs": {"mxnet_version": ["int", MXNET_VERSION]}}, 0)


def held_graph(node: Node) -> List[Entry]:
    """The heads of the graph a fused operator holds; raises InputError as `read_json` does."""
    return _Reader(node.name, MXNET_VERSION, (), inside=True).heads(node.rest["subgraphs"][0])


def note_first_value(op: str, position: int, variable: Node) -> None:
    """Note on a variable how it starts, as MXNet does when it becomes this input of an operator without such a note."""
    text = _FIRST_VALUES.get((op, position))
    if text is not None and variable.is_variable:
        variable.attrs.setdefault("__init__", text)


def _dumped(value: Any, depth: int) -> str:
    """JSON in dmlc's layout: objects of one entry and short lists of plain values on one line."""
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return '"' + escaped.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") + '"'
    if not isinstance(value, (dict, list)):
        return str(value)
    if isinstance(value, dict):
        several = len(value) > 1 or depth == 0
        parts = [f'"{key}": {_dumped(item, depth + several)}' for key, item in value.items()]
    else:
        several = len(value) > 10 or any(isinstance(item, dict) for item in value)
        parts = [_dumped(item, depth + several) for item in value]
    opened, closed = "{}" if isinstance(value, dict) else "[]"
    if not several or not parts:
        return opened + ", ".join(parts) + closed
    inner = "\n" + "  " * (depth + 1)
    return opened + inner + f", {inner}".join(parts) + "\n" + "  " * depth + closed


def _parsed(text: str, origin: str) -> Dict[str, Any]:
    """The JSON object of a graph; its depth is bounded before it is parsed, so that no parser recurses without end."""
    depth = 0
    for match in _BRACKETS.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(match.group(), 0)
        if depth > _DEEPEST:
            raise InputError(f"{origin}: not an MXNet symbol (it is nested more than {_DEEPEST} levels deep)")
    try:
        graph = json.loads(text, parse_int=_small_int, parse_constant=_no_constant)
    except ValueError as error:
        raise InputError(f"{origin}: not an MXNet symbol ({error}); use another copy") from None
    if not isinstance(graph, dict) or not isinstance(graph.get("nodes"), list):
        raise InputError(f"{origin}: not an MXNet symbol (it has no nodes); use another copy")
    return graph


def _small_int(text: str) -> int:
    if len(text) > 19:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")


def _version(graph: Mapping[str, Any], origin: str) -> int:
    """The MXNet that wrote a graph, as 10901 for 1.9.1."""
    attrs = graph.get("attrs", {})
    stated = attrs.get("mxnet_version", ["int", _UNSTATED_VERSION]) if isinstance(attrs, dict) else None
    if not isinstance(stated, list) or len(stated) != 2 or not _is_count(stated[1]):
        raise InputError(f"{origin}: not an MXNet symbol (its mxnet_version is no number); use another copy")
    return int(stated[1])


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_NAME and value.isprintable()


class _Reader:
    """Reads one graph (`inside`: the graph of a fused operator's node)."""

    def __init__(self, origin: str, version: int, allow: Collection[str], inside: bool = False) -> None:
        self.origin, self.version, self.allow, self.inside = origin, version, allow, inside
        self.nodes: List[Node] = []

    def heads(self, graph: Mapping[str, Any]) -> List[Entry]:
        """Check every node of a parsed graph, and return what the graph's outputs are."""
        stored = graph["nodes"]
        if not 0 < len(stored) <= _MOST_NODES:
            raise InputError(f"{self.origin}: not an MXNet symbol (it has {len(stored)} nodes)")
        for position, entry in enumerate(stored):
            self.nodes.append(self._node(position, entry))
        self._distinct_variables()
        given = graph.get("heads")
        if not isinstance(given, list) or not 0 < len(given) <= _MOST_HEADS:
            raise InputError(f"{self.origin}: not an MXNet symbol (it has no heads); use another copy")
        return [self._entry(item, len(self.nodes), "the graph's outputs") for item in given]

    def fail(self, where: str, what: str) -> InputError:
        return InputError(f"{self.origin}: {where}: {what}; this graph is not run, use another copy")

    def _node(self, position: int, entry: Any) -> Node:
        if not isinstance(entry, dict) or not _is_name(entry.get("op")) or not _is_name(entry.get("name")):
            raise self.fail(f"node {position}", "it has no operator and name")
        op, name = entry["op"], entry["name"]
        where = f"node {name[:80]} ({op[:80]})"
        self._admitted(op, where)
        attrs = self._attributes(entry, where)
        stored = entry.get("inputs", [])
        if not isinstance(stored, list) or len(stored) > _MOST_INPUTS:
            raise self.fail(where, "its inputs are no list of nodes")
        if entry.get("control_deps"):
            raise self.fail(where, "it has control dependencies")
        inputs = [self._entry(item, position, where) for item in stored]
        node = Node(op, name, attrs, inputs, {key: entry[key] for key in ("subgraphs",) if entry.get(key)})
        if node.is_variable:
            self._check_variable(node, where)
        elif op in OPERATORS:
            self._upgrade(node, where)
            self._check_operator(node, where)
        elif node.rest:
            raise self.fail(where, "it holds a graph of its own")
        return node

    def _admitted(self, op: str, where: str) -> None:
        if op in FORBIDDEN:
            raise self.fail(where, "this operator runs code that the file names")
        if op == "null" or op in (_INSIDE if self.inside else OPERATORS):
            return
        if self.inside or op not in self.allow:
            raise InputError(f"{self.origin}: {where}: not an operator this program knows; if you trust the file, "
                             f"extract, export and the evaluation commands admit it by --allow-operator {op[:80]}")

    def _attributes(self, entry: Mapping[str, Any], where: str) -> Dict[str, str]:
        found: Dict[str, str] = {}
        for key in ("param", "attr", "attrs"):
            given = entry.get(key)
            if given is None:
                continue
            if not isinstance(given, dict) or not all(
                    _is_name(name) and isinstance(text, str) and len(text) <= _LONGEST_TEXT
                    for name, text in given.items()):
                raise self.fail(where, "its attributes are no texts by name")
            found.update(given)
        return found

    def _entry(self, item: Any, before: int, where: str) -> Entry:
        """An input as [node, output] or [node, output, version]; the node must stand before the one that uses it."""
        if not isinstance(item, list) or len(item) not in (2, 3) or not all(_is_count(part) for part in item):
            raise self.fail(where, f"{str(item)[:60]} is no input")
        number, which = item[:2]
        if number >= before:
            raise self.fail(where, f"it takes node {number}, which does not stand before it")
        source = self.nodes[number]
        known = source.is_variable or source.op in OPERATORS
        count = output_counts(source.op, source.attrs)[1] if known else _OUTPUTS_OF_OTHERS
        if which >= count:
            raise self.fail(where, f"it takes output {which} of {source.name[:80]}, which has {count}")
        return (source, which)

    def _distinct_variables(self) -> None:
        seen = set()
        for node in self.nodes:
            if node.is_variable:
                if node.name in seen:
                    raise InputError(f"{self.origin}: two variables are named {node.name[:80]}; use another copy")
                seen.add(node.name)

    def _check_variable(self, node: Node, where: str) -> None:
        if node.inputs or node.rest:
            raise self.fail(where, "a variable has no inputs")
        for key, pattern in _NOTES.items():
            if not pattern.fullmatch(node.attrs.get(key, "0" if key != "__shape__" else "()")):
                raise self.fail(where, f"{key} is {node.attrs[key][:60]!r}")
        for key in [key for key in node.attrs if key in _OLD_NOTES]:
            node.attrs[f"__{key}__"] = node.attrs.pop(key)

    def _upgrade(self, node: Node, where: str) -> None:
        """What MXNet does to a node of an older version's file."""
        if self.version < MXNET_VERSION:
            self._upgrade_notes(node)
        if self.version < 905 and node.op in ("argmax", "argmin") and node.attrs.get("axis") == "-1":
            del node.attrs["axis"]
        if self.version < 900 and state_inputs(node.op):
            names = self._checked(node, where)
            if len(node.inputs) == len(names) - len(state_inputs(node.op)):
                for name in names[len(node.inputs):]:
                    node.inputs.append((Node("null", f"{node.name}_{name}", node.attrs), 0))
        if self.version < 904:
            for position, (source, _) in enumerate(node.inputs):
                note_first_value(node.op, position, source)

    @staticmethod
    def _upgrade_notes(node: Node) -> None:
        """Multipliers without underscores: lr_mult becomes __lr_mult__, weight_lr_mult goes to the weight."""
        for key in [key for key in node.attrs if not is_note(key)]:
            for note in _OLD_NOTES:
                if key == note:
                    node.attrs[f"__{note}__"] = node.attrs.pop(key)
                elif key.endswith(f"_{note}"):
                    names = OPERATORS[node.op].inputs
                    place = names.index(key[:-len(note) - 1]) if key[:-len(note) - 1] in names else len(node.inputs)
                    if place < len(node.inputs) and node.inputs[place][0].is_variable:
                        node.inputs[place][0].attrs[f"__{note}__"] = node.attrs.pop(key)

    def _checked(self, node: Node, where: str) -> List[str]:
        try:
            values(node.op, node.attrs)
            return input_names(node.op, node.attrs, len(node.inputs))
        except ValueError as error:
            raise self.fail(where, str(error)) from None

    def _check_operator(self, node: Node, where: str) -> None:
        operator = OPERATORS[node.op]
        names = self._checked(node, where)
        if operator.subgraph:
            self._check_fused(node, where)
        elif node.rest:
            raise self.fail(where, "it holds a graph of its own")
        elif operator.variadic:
            stated = node.attrs.get("num_args", "")
            if not node.inputs or stated != str(len(node.inputs)):
                raise self.fail(where, f"it has {len(node.inputs)} inputs and a num_args of {stated[:20]!r}")
        elif len(node.inputs) != len(names):
            raise self.fail(where, f"it has {len(node.inputs)} inputs; it needs {len(names)}: {', '.join(names)}")
        for position in state_inputs(node.op):
            if not node.inputs[position][0].is_variable:
                raise self.fail(where, f"its {names[position]} is no variable")

    def _check_fused(self, node: Node, where: str) -> None:
        """A fused operator holds the graph it was made of; its inputs are that graph's, then ranges of eight bits."""
        held = node.rest.get("subgraphs")
        if self.inside or not isinstance(held, list) or len(held) != 1 or not isinstance(held[0], dict) \
                or not isinstance(held[0].get("nodes"), list):
            raise self.fail(where, "it must hold one graph")
        inner = _Reader(f"{self.origin}: inside {node.name[:80]}", MXNET_VERSION, (), inside=True)
        inner.heads(held[0])
        kinds = [part.op for part in inner.nodes]
        main = "Convolution" if node.op == "_sg_mkldnn_conv" else "FullyConnected"
        found = values(node.op, node.attrs)
        if kinds.count(main) != 1 or main == "Convolution" and found["with_sum"] != ("elemwise_add" in kinds):
            raise self.fail(where, f"the graph it holds is no {main} with what its attributes say")
        needed = taken = kinds.count("null")
        if found["quantized"] and main == "Convolution":
            needed += 4 if found["with_sum"] else 2
        elif found["quantized"]:
            needed += 2 if found["channel_wise_quantize"] else 2 * taken
        if len(node.inputs) != needed:
            raise self.fail(where, f"it has {len(node.inputs)} inputs; it needs {needed}")
