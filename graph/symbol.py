"""Graphs written down in Python, without MXNet: `symbol.Convolution(data, ...)` stands for `mx.sym.Convolution`.

A Symbol is some outputs of nodes. The functions of this module are the operators of graph.operators under the names
MXNet's users know; names of nodes, variables that appear by themselves, attributes and their text follow MXNet 1.9.1,
so that `Symbol.tojson` gives its bytes. Arguments are inputs in the operator's order, then attributes in MXNet's order
or by name; `name` is the node's.
"""
import json
import threading
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, NoReturn, Optional, Sequence, Tuple, Union

from arcface_mxnet.graph.operators import (
    OPERATORS,
    input_names,
    output_counts,
    output_names,
    state_inputs,
    values,
)
from arcface_mxnet.graph.shape_inference import Shape, ShapeError, ShapeInference
from arcface_mxnet.graph.symbol_json import Entry, Node, note_first_value, ordered, write_json

import numpy

Number = Union[int, float]
_ALIASES: Mapping[str, str] = {"concat": "Concat", "flatten": "Flatten", "identity": "_copy", "reshape": "Reshape",
                               "split": "SliceChannel", "stop_gradient": "BlockGrad"}
_CONTRIB = "_contrib_"


class Initial(NamedTuple):
    """How a variable starts: one of MXNet's initializers by its name in small letters, and its settings."""

    kind: str
    settings: Mapping[str, Any] = {}

    def note(self) -> str:
        """The text of the attribute __init__."""
        return json.dumps([self.kind, dict(self.settings)])


class NameManager:
    """Names for nodes without one: the hint, counted from 0. Entered, it is the one in use."""

    def __init__(self) -> None:
        self._next: Dict[str, int] = {}

    def get(self, name: Optional[str], hint: str) -> str:
        """The explicit `name` if there is one, else a fresh one made of `hint`."""
        if name:
            return name
        number = self._next.get(hint, 0)
        self._next[hint] = number + 1
        return f"{hint}{number}"

    def __enter__(self) -> "NameManager":
        _managers().append(self)
        return self

    def __exit__(self, *exception: object) -> None:
        _managers().pop()


class _Local(threading.local):
    """Each thread has its own managers in use."""

    def __init__(self) -> None:
        self.managers: List[NameManager] = [NameManager()]


_LOCAL = _Local()


def _managers() -> List[NameManager]:
    return _LOCAL.managers


class Symbol:
    """Some outputs of a graph (`heads`). Arithmetic makes new nodes; nothing changes a symbol that exists."""

    def __init__(self, heads: Sequence[Entry]) -> None:
        self.heads: List[Entry] = list(heads)

    @property
    def name(self) -> str:
        """The name of the node, of a symbol of one output."""
        return self._single()[0].name

    def nodes(self) -> List[Node]:
        """All nodes, inputs before what uses them, in MXNet's depth-first order."""
        return list(ordered(self.heads))

    def __len__(self) -> int:
        return len(self.heads)

    def __iter__(self) -> Iterator["Symbol"]:
        return (Symbol([head]) for head in self.heads)

    def __getitem__(self, which: Union[int, str]) -> "Symbol":
        """One output, by its number or its name; raises IndexError or KeyError."""
        if isinstance(which, int):
            return Symbol([self.heads[which]])
        found = [number for number, name in enumerate(self.list_outputs()) if name == which]
        if len(found) != 1:
            raise KeyError(f"{len(found)} outputs are named {which}")
        return Symbol([self.heads[found[0]]])

    def list_outputs(self) -> List[str]:
        """The names of the outputs."""
        return [_output_name(node, which) for node, which in self.heads]

    def list_arguments(self) -> List[str]:
        """The names of what is fed or learnt, in graph order."""
        states = self._states()
        return [node.name for node in self.nodes() if node.is_variable and id(node) not in states]

    def list_auxiliary_states(self) -> List[str]:
        """The names of the statistics of normalisations, in graph order."""
        states = self._states()
        return [node.name for node in self.nodes() if id(node) in states]

    def list_inputs(self) -> List[str]:
        """The names of all variables, in graph order."""
        return [node.name for node in self.nodes() if node.is_variable]

    def get_internals(self) -> "Symbol":
        """The outputs of all nodes."""
        return Symbol([(node, which) for node in self.nodes()
                       for which in range(1 if node.is_variable else output_counts(node.op, node.attrs)[1])])

    def attr_dict(self) -> Dict[str, Dict[str, str]]:
        """The attributes of all nodes that have any, by the name of the node."""
        return {node.name: dict(node.attrs) for node in self.nodes() if node.attrs}

    def infer_shape(self, **given: Sequence[int]) -> Tuple[List[Shape], List[Shape], List[Shape]]:
        """Shapes of (arguments, outputs, auxiliary states), given those of the inputs.

        Raises ShapeError (a ValueError) when the graph cannot take them, or names what cannot be told.
        """
        groups = self._shapes(given)
        names = (self.list_arguments(), self.list_outputs(), self.list_auxiliary_states())
        for group, of in zip(groups, names):
            if None in group:
                raise ShapeError(f"the shape of {of[group.index(None)]} cannot be told from those given")
        arguments, outputs, states = ([shape for shape in group if shape is not None] for group in groups)
        return arguments, outputs, states

    def infer_shape_partial(self, **given: Sequence[int]) -> Tuple[List[Optional[Shape]], ...]:
        """The same with None for what cannot be told; raises ShapeError when the graph cannot take the given ones."""
        return self._shapes(given)

    def tojson(self) -> str:
        """The text of MXNet's JSON."""
        return write_json(self.heads)

    def _shapes(self, given: Mapping[str, Sequence[int]]) -> Tuple[List[Optional[Shape]], ...]:
        inference = ShapeInference(self.heads)
        found = inference.run(given)
        states = self._states()
        variables = [node for node in inference.nodes if node.is_variable]
        return ([found.get((id(node), 0)) for node in variables if id(node) not in states],
                [found.get((id(node), which)) for node, which in self.heads],
                [found.get((id(node), 0)) for node in variables if id(node) in states])

    def _states(self) -> Dict[int, Node]:
        found = {}
        for node in self.nodes():
            for position in state_inputs(node.op):
                found[id(node.inputs[position][0])] = node.inputs[position][0]
        return found

    def _single(self) -> Entry:
        if len(self.heads) != 1:
            raise ValueError(f"a symbol of {len(self.heads)} outputs where one is needed")
        return self.heads[0]

    def __add__(self, other: "Operand") -> "Symbol":
        return _arithmetic("plus", "elemwise_add", self, other)

    __radd__ = __add__

    def __sub__(self, other: "Operand") -> "Symbol":
        return _arithmetic("minus", "elemwise_sub", self, other)

    def __rsub__(self, other: Number) -> "Symbol":
        return _arithmetic("rminus", "", self, other)

    def __mul__(self, other: "Operand") -> "Symbol":
        return _arithmetic("mul", "elemwise_mul", self, other)

    __rmul__ = __mul__

    def __truediv__(self, other: "Operand") -> "Symbol":
        return _arithmetic("div", "elemwise_div", self, other)

    def __rtruediv__(self, other: Number) -> "Symbol":
        return _arithmetic("rdiv", "", self, other)

    def __neg__(self) -> "Symbol":
        return self * -1.0

    def __lt__(self, other: "Operand") -> "Symbol":
        return _comparison("lesser", self, other)

    def __le__(self, other: "Operand") -> "Symbol":
        return _comparison("lesser_equal", self, other)

    def __gt__(self, other: "Operand") -> "Symbol":
        return _comparison("greater", self, other)

    def __ge__(self, other: "Operand") -> "Symbol":
        return _comparison("greater_equal", self, other)

    def __bool__(self) -> NoReturn:
        raise TypeError("a symbol has no truth value: a comparison of symbols is a node")

    def __repr__(self) -> str:
        return f"<Symbol {', '.join(self.list_outputs())}>"


Operand = Union[Symbol, int, float]


def Variable(name: str, shape: Optional[Sequence[int]] = None, lr_mult: Optional[float] = None,  # noqa: N802
             wd_mult: Optional[float] = None, init: Optional[Initial] = None,
             attr: Optional[Mapping[str, str]] = None) -> Symbol:
    """Something fed or learnt, with notes for the optimizer and for how it starts; `attr` holds further ones."""
    notes = {"__shape__": None if shape is None else str(tuple(shape)),
             "__lr_mult__": None if lr_mult is None else str(lr_mult),
             "__wd_mult__": None if wd_mult is None else str(wd_mult),
             "__init__": None if init is None else init.note()}
    stated = {key: text for key, text in notes.items() if text is not None}
    return Symbol([(Node("null", name, {**(attr or {}), **stated}), 0)])


def Group(symbols: Sequence[Symbol]) -> Symbol:  # noqa: N802
    """All outputs of several symbols as one."""
    return Symbol([head for symbol in symbols for head in symbol.heads])


def maximum(left: Operand, right: Operand) -> Symbol:
    """The greater of two, elementwise; at least one is a symbol."""
    return _either("maximum", left, right)


def minimum(left: Operand, right: Operand) -> Symbol:
    """The lesser of two, elementwise; at least one is a symbol."""
    return _either("minimum", left, right)


class _Contrib:
    """The operators of mx.sym.contrib."""

    def __getattr__(self, name: str) -> Callable[..., Symbol]:
        if _CONTRIB + name not in OPERATORS:
            raise AttributeError(name)
        return _function(_CONTRIB + name, name)


contrib = _Contrib()


def __getattr__(name: str) -> Callable[..., Symbol]:
    """The function of an operator, by MXNet's name for it."""
    op = _ALIASES.get(name, name)
    if op not in OPERATORS or name.startswith("_"):
        raise AttributeError(f"no operator is called {name}")
    return _function(op, name)


def _function(op: str, name: str) -> Callable[..., Symbol]:
    def call(*arguments: Any, **keywords: Any) -> Symbol:
        return make(op, name.lower(), arguments, keywords)
    call.__name__ = name
    return call


def make(op: str, hint: str, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> Symbol:
    """A node of an operator; `hint` names it where no name is given. Raises ValueError, TypeError for a wrong use."""
    keywords = dict(keywords)
    name = keywords.pop("name", None)
    inputs, attrs = _parted(op, arguments, keywords)
    values(op, attrs)
    node = Node(op, _managers()[-1].get(name, hint), attrs)
    for position, wanted in enumerate(input_names(op, attrs)):
        given = inputs.pop(wanted, None)
        entry = given._single() if given is not None else (Node("null", f"{node.name}_{wanted}", attrs), 0)
        node.inputs.append(entry)
        note_first_value(op, position, entry[0])
    if inputs:
        raise TypeError(f"{op} takes no input {next(iter(inputs))} here")
    return Symbol([(node, which) for which in range(output_counts(op, attrs)[1])])


def _parted(op: str, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> Tuple[Dict[str, Symbol], Dict[str, str]]:
    """(inputs by name, attributes as MXNet's text) of a call."""
    operator = OPERATORS[op]
    if operator.variadic:
        inputs = {f"arg{index}": argument for index, argument in enumerate(arguments)}
        given = {**keywords, "num_args": len(arguments)}
    else:
        order = [*operator.inputs, *operator.attributes]
        if len(arguments) > len(order):
            raise TypeError(f"{op} takes {len(order)} arguments")
        given = {**dict(zip(order, arguments)), **keywords}
        inputs = {key: given.pop(key) for key in operator.inputs if key in given}
    for key, value in inputs.items():
        if value is not None and not isinstance(value, Symbol):
            raise TypeError(f"{op}: {key} must be a Symbol, it is {type(value).__name__}")
    return ({key: value for key, value in inputs.items() if value is not None},
            {key: _text(key, value) for key, value in given.items()})


def _text(key: str, value: Any) -> str:
    if key == "dtype":
        return "bfloat16" if value == "bfloat16" else numpy.dtype(value).name
    return str(value)


def _arithmetic(word: str, op: str, left: Symbol, right: Operand) -> Symbol:
    if isinstance(right, Symbol) and op:
        return make(op, f"_{word}", (left, right), {})
    if not isinstance(right, (int, float, numpy.number)):
        return NotImplemented
    return make(f"_{word}_scalar", f"_{word}scalar", (left,), {"scalar": right})


def _comparison(word: str, left: Symbol, right: Operand) -> Symbol:
    if isinstance(right, Symbol):
        return make(f"_{word}", f"_{word}", (left, right), {})
    if not isinstance(right, (int, float, numpy.number)):
        return NotImplemented
    return make(f"_{word}_scalar", f"_{word}_scalar", (left,), {"scalar": right})


def _either(word: str, left: Operand, right: Operand) -> Symbol:
    if not isinstance(left, Symbol):
        left, right = right, left
    if not isinstance(left, Symbol):
        raise TypeError(f"{word} needs a symbol")
    return _arithmetic(word, f"_{word}", left, right)


def _output_name(node: Node, which: int) -> str:
    if node.is_variable:
        return node.name
    return f"{node.name}_{output_names(node.op, node.attrs)[which]}"
