"""A checkpoint being rewritten: its graph and its values, in one place for the passes to change together."""
from typing import Dict, List, Optional

from arcface_mxnet.graph.checkpoint import Checkpoint
from arcface_mxnet.graph.nodes import Graph, Node

import numpy


class Editing:
    """Nodes that can be rewired and values (NumPy, by variable name) that can be replaced.

    Values are changed in float64 and stored in the type they had; a changed variable is always a new one, so the
    checkpoint it came from stays as it was.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.graph = Graph.of(checkpoint.symbol)
        self.given = {**checkpoint.args, **checkpoint.aux}
        self.changed: Dict[str, numpy.ndarray] = {}

    def value(self, node: Node) -> numpy.ndarray:
        """The value of a variable, float64."""
        if node.name in self.changed:
            return self.changed[node.name].astype("float64")
        return self.given[node.name].astype("float64")

    def set_value(self, node: Node, value: numpy.ndarray) -> None:
        """Give a variable another value, in the type the old one had (a new variable: float32)."""
        known = node.name in self.given
        kind = self.given[node.name].dtype if known else numpy.dtype("float32")
        with numpy.errstate(over="ignore"):  # of a run that diverged; its validation says so
            self.changed[node.name] = value.astype(kind)
        node.attrs.pop("__shape__", None)

    def variable(self, name: str, value: numpy.ndarray) -> Node:
        """A new parameter."""
        node = Node("null", name)
        self.set_value(node, value)
        return node

    def only_user(self, users: Dict[int, List[Node]], node: Node) -> Optional[Node]:
        """The one operator that takes this node's output; None when there are more, or when it is returned."""
        takers = users.get(id(node), [])
        return takers[0] if len(takers) == 1 and not self.graph.is_head(node) else None

    def finish(self) -> Checkpoint:
        """The rewritten checkpoint, with just the variables its graph has."""
        symbol = self.graph.symbol()

        values = {**self.given, **self.changed}
        return Checkpoint(symbol, {name: values[name] for name in symbol.list_arguments() if name in values},
                          {name: values[name] for name in symbol.list_auxiliary_states()})
