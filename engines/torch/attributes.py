"""The attributes of one operator in their types, and the refusal of those that PyTorch is not taught here."""
from typing import Any, Dict

from arcface_mxnet.graph.symbol_json import Node
from arcface_mxnet.runtime.errors import InputError


class Attributes:
    """The attributes of a node by name, defaults filled in (graph.operators)."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._values: Dict[str, Any] = node.values()

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def only(self, key: str, *known: Any) -> None:
        """Raise InputError unless `key` is one of `known`."""
        if self._values[key] not in known:
            raise self.refused(f"{key}={self._values[key]}")

    def axis(self) -> int:
        """The axis, where there must be one."""
        if self._values["axis"] is None:
            raise self.refused("axis=None")
        return int(self._values["axis"])

    def refused(self, what: str) -> InputError:
        """The error for an operator, or with `what` an attribute, that only MXNet runs."""
        return InputError(f"node {self._node.name[:80]} ({self._node.op}{', ' if what else ''}{what}): not implemented "
                          "on PyTorch; take --engine mxnet")
