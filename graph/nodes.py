"""A graph as objects that can be rewired: what every rewriting pass of this package works on.

MXNet's symbols cannot be changed in place; their JSON can. `Graph.of` reads it into nodes that point at each other,
a pass redirects what it must, `Graph.symbol` writes what the outputs still reach, in MXNet's own depth-first order.
"""
import ast
import json
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from arcface_mxnet.runtime.mx import mx

# Shapes: which parameter of a checkpoint does not fit its graph.


Shape = Tuple[int, ...]

_COMMON_SIZES = ((112, 112), (112, 96), (12, 12), (24, 24), (48, 48), (100, 100), (128, 128), (224, 224))


def is_input(name: str) -> bool:
    """Whether a graph's argument is fed (images, labels) rather than learnt."""
    return name.startswith("data") or name.endswith("label")


def inferred_shapes(symbol: "mx.sym.Symbol", image: Shape) -> Optional[Dict[str, Shape]]:
    """Shapes of all arguments and states for one image of shape (c, h, w); None when the graph cannot take it."""
    try:
        args, _, aux = symbol.infer_shape_partial(data=(1,) + tuple(image))
    except mx.base.MXNetError:
        return None
    shapes = dict(zip(symbol.list_arguments(), args))
    shapes.update(zip(symbol.list_auxiliary_states(), aux))
    return {name: tuple(shape) for name, shape in shapes.items() if shape and 0 not in shape}


def disagreeing_shape(symbol: "mx.sym.Symbol", given: Dict[str, Shape]) -> Optional[Tuple[str, Shape]]:
    """The first parameter, in graph order, whose shape is not the one the graph needs, and the needed shape.

    A file does not say for which image size it is meant; the common ones are tried first, then other squares. None when
    all parameters fit at one size, or when nothing can be inferred (a graph without a variable `data`).
    """
    if "data" not in symbol.list_arguments():
        return None
    fewest: Optional[Dict[str, Shape]] = None
    for _, wrong in _trials(symbol, given):
        if not wrong:
            return None
        if fewest is None or len(wrong) < len(fewest):
            fewest = wrong
    if fewest is None:
        return None
    order = symbol.list_arguments() + symbol.list_auxiliary_states()
    first = min(fewest, key=order.index)
    return first, fewest[first]


def fitting_image(symbol: "mx.sym.Symbol", given: Dict[str, Shape]) -> Optional[Shape]:
    """The image shape (c, h, w) the parameters were made for: the first tried at which all of them fit, or None."""
    return next((image for image, wrong in _trials(symbol, given) if not wrong), None)


def _trials(symbol: "mx.sym.Symbol", given: Dict[str, Shape]) -> Iterator[Tuple[Shape, Dict[str, Shape]]]:
    """Each image shape the graph takes, with the parameters that do not fit there and what they should be."""
    for image in _candidate_images():
        needed = inferred_shapes(symbol, image)
        if needed is not None:
            yield image, {name: shape for name, shape in needed.items() if name in given and given[name] != shape}


def _candidate_images() -> Iterator[Shape]:
    for channels in (3, 1):
        for height, width in _COMMON_SIZES:
            yield (channels, height, width)
    for channels in (3, 1):
        for side in range(8, 385, 4):
            yield (channels, side, side)


Entry = Tuple["Node", int]  # a node and which of its outputs


class Node:
    """One operator, or a variable when `op` is "null"; attributes are strings, as MXNet stores them."""

    def __init__(self, op: str, name: str, attrs: Optional[Mapping[str, str]] = None, inputs: Sequence[Entry] = (),
                 rest: Optional[Mapping[str, Any]] = None) -> None:
        self.op = op
        self.name = name
        self.attrs: Dict[str, str] = dict(attrs or {})
        self.inputs: List[Entry] = list(inputs)
        self.rest: Dict[str, Any] = dict(rest or {})  # subgraphs of fused operators: kept as they are

    @property
    def is_variable(self) -> bool:
        """Whether the node is an argument or a state rather than an operator."""
        return self.op == "null"

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


class Graph:
    """The nodes reachable from `heads`, and what uses each."""

    def __init__(self, heads: Sequence[Entry], attrs: Mapping[str, Any]) -> None:
        self.heads: List[Entry] = list(heads)
        self.attrs = dict(attrs)

    @classmethod
    def of(cls, symbol: "mx.sym.Symbol") -> "Graph":
        """Read a symbol; casts of reduced precision are part of it (MXNet's own default drops them without a word)."""
        stored = json.loads(symbol.tojson(remove_amp_cast=False))
        nodes: List[Node] = []
        for entry in stored["nodes"]:
            rest = {key: value for key, value in entry.items() if key not in ("op", "name", "attrs", "inputs")}
            nodes.append(Node(entry["op"], entry["name"], entry.get("attrs"),
                              [(nodes[item[0]], item[1]) for item in entry["inputs"]], rest))
        return cls([(nodes[item[0]], item[1]) for item in stored["heads"]], stored.get("attrs", {}))

    def symbol(self) -> "mx.sym.Symbol":
        """Write a symbol."""
        order = list(self.nodes())
        index = {id(node): position for position, node in enumerate(order)}
        stored = [self._entry(node, index) for node in order]
        graph = {"nodes": stored, "heads": [[index[id(node)], which, 0] for node, which in self.heads],
                 "arg_nodes": [position for position, node in enumerate(order) if node.is_variable],
                 "node_row_ptr": list(range(len(order) + 1)), "attrs": self.attrs}
        return mx.sym.load_json(json.dumps(graph))

    @staticmethod
    def _entry(node: Node, index: Mapping[int, int]) -> Dict[str, Any]:
        entry = {"op": node.op, "name": node.name, **node.rest,
                 "inputs": [[index[id(source)], which, 0] for source, which in node.inputs]}
        if node.attrs:
            entry["attrs"] = node.attrs
        return entry

    def nodes(self) -> Iterator[Node]:
        """All reachable nodes, inputs before what uses them, in MXNet's depth-first order."""
        seen = set()
        for head, _ in self.heads:
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

    def consumers(self) -> Dict[int, List[Node]]:
        """For each node, by id, the nodes that take any of its outputs (a head counts as none)."""
        users: Dict[int, List[Node]] = {}
        for node in self.nodes():
            for source, _ in node.inputs:
                users.setdefault(id(source), []).append(node)
        return users

    def is_head(self, node: Node) -> bool:
        """Whether the graph returns an output of this node."""
        return any(head is node for head, _ in self.heads)

    def replace(self, choose: Callable[[Node], Optional[Entry]]) -> int:
        """Put `choose(node)` in the place of each node for which it is not None; returns how many were replaced.

        `choose` sees nodes whose inputs are already rewired and may use them.
        """
        chosen: Dict[int, Entry] = {}
        for node in list(self.nodes()):
            node.inputs = [self._now(entry, chosen) for entry in node.inputs]
            entry = choose(node)
            if entry is not None:
                chosen[id(node)] = entry
        self.heads = [self._now(entry, chosen) for entry in self.heads]
        return len(chosen)

    @staticmethod
    def _now(entry: Entry, chosen: Mapping[int, Entry]) -> Entry:
        node, which = entry
        return chosen[id(node)] if id(node) in chosen and which == 0 else entry


def output_shapes(symbol: "mx.sym.Symbol", input_shape: Sequence[int]) -> Dict[str, Shape]:
    """Shape of each node's first output, by its name, for images of `input_shape`; unknown ones are left out."""
    internals = symbol.get_internals()
    try:
        _, shapes, _ = internals.infer_shape_partial(data=tuple(input_shape))
    except mx.base.MXNetError:
        return {}
    known: Dict[str, Shape] = {}
    for name, shape in zip(internals.list_outputs(), shapes):
        if shape and 0 not in shape:
            for suffix in ("_output", "_output0"):
                if name.endswith(suffix):
                    known.setdefault(name[:-len(suffix)], tuple(shape))
            known[name] = tuple(shape)
    return known
