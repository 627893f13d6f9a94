"""A graph as objects that can be rewired, and what the shapes in it say: what every rewriting pass works on.

`Graph.of` copies a symbol's nodes, which point at each other; a pass redirects what it must; `Graph.symbol` is what the
outputs still reach, in MXNet's own depth-first order.
"""
from typing import Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple

from arcface_mxnet.graph.shape_inference import Shape, ShapeError, ShapeInference
from arcface_mxnet.graph.symbol import Symbol
from arcface_mxnet.graph.symbol_json import Entry, Node, ordered

__all__ = ["Entry", "Graph", "Node", "Shape", "ShapeError", "disagreeing_shape", "fitting_image", "is_input",
           "output_shapes"]

_COMMON_SIZES = ((112, 112), (112, 96), (12, 12), (24, 24), (48, 48), (100, 100), (128, 128), (224, 224))


def is_input(name: str) -> bool:
    """Whether a graph's argument is fed (images, labels) rather than learnt."""
    return name.startswith("data") or name.endswith("label")


def disagreeing_shape(symbol: Symbol, given: Mapping[str, Shape]) -> Optional[Tuple[str, Shape]]:
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


def fitting_image(symbol: Symbol, given: Mapping[str, Shape]) -> Optional[Shape]:
    """The image shape (c, h, w) the parameters were made for: the first tried at which all of them fit, or None."""
    return next((image for image, wrong in _trials(symbol, given) if not wrong), None)


def fits(symbol: Symbol, given: Mapping[str, Shape], image: Shape) -> bool:
    """Whether the graph takes images (c, h, w), and all of these parameters fit it there."""
    return any(not wrong for _, wrong in _trials(symbol, given, [image]))


def _trials(symbol: Symbol, given: Mapping[str, Shape],
            images: Optional[Iterable[Shape]] = None) -> Iterator[Tuple[Shape, Dict[str, Shape]]]:
    """Each image shape the graph takes, with the parameters that do not fit there and what they should be."""
    inference = ShapeInference(symbol.heads)
    variables = [node for node in inference.nodes if node.is_variable]
    for image in _candidate_images() if images is None else images:
        try:
            found = inference.run({"data": (1, *image)})
        except ShapeError:
            continue
        needed = {node.name: found[id(node), 0] for node in variables if (id(node), 0) in found}
        yield image, {name: shape for name, shape in needed.items() if name in given and given[name] != shape}


def _candidate_images() -> Iterator[Shape]:
    for channels in (3, 1):
        for height, width in _COMMON_SIZES:
            yield (channels, height, width)
    for channels in (3, 1):
        for side in range(8, 385, 4):
            yield (channels, side, side)


def output_shapes(symbol: Symbol, input_shape: Sequence[int]) -> Dict[str, Shape]:
    """Shape of each node's first output, by its name, for images of `input_shape`; unknown ones are left out.

    Nothing is known of a graph that cannot take such images.
    """
    inference = ShapeInference(symbol.heads)
    try:
        found = inference.run({"data": input_shape})
    except ShapeError:
        return {}
    return {node.name: found[id(node), 0] for node in inference.nodes if (id(node), 0) in found}


class Graph:
    """The nodes reachable from `heads`, and what uses each."""

    def __init__(self, heads: Sequence[Entry]) -> None:
        self.heads: List[Entry] = list(heads)

    @classmethod
    def of(cls, symbol: Symbol) -> "Graph":
        """A copy of a symbol's nodes, to be changed."""
        return cls(_copied(symbol.heads))

    def symbol(self) -> Symbol:
        """The graph as it is now; later changes do not reach it."""
        return Symbol(_copied(self.heads))

    def nodes(self) -> Iterator[Node]:
        """All reachable nodes, inputs before what uses them, in MXNet's depth-first order."""
        return ordered(self.heads)

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


def _copied(heads: Sequence[Entry]) -> List[Entry]:
    """The same graph of new nodes."""
    copies: Dict[int, Node] = {}
    for node in ordered(heads):
        copies[id(node)] = Node(node.op, node.name, node.attrs,
                                [(copies[id(source)], which) for source, which in node.inputs], node.rest)
    return [(copies[id(node)], which) for node, which in heads]
