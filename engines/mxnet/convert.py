"""Graphs and arrays into MXNet and out of it."""
from typing import Dict, Mapping, Optional

from arcface_mxnet.engines.mxnet.mx import mx
from arcface_mxnet.graph.params_file import Arrays
from arcface_mxnet.graph.symbol import Symbol
from arcface_mxnet.graph.symbol_json import read_json
from arcface_mxnet.runtime.errors import InputError

import numpy

NDArrays = Dict[str, "mx.nd.NDArray"]
_UNBOUNDED = "scatter_nd"
"""MXNet 1.9.1 writes wherever its indices point, outside the output too (docs/accepted_files.md)."""


def to_mxnet(symbol: Symbol) -> "mx.sym.Symbol":
    """MXNet's own symbol. It is given text that this program wrote, of a graph that was checked or built here.

    Raises InputError for an operator that lets values reach memory that is not the graph's: values may come from a
    file. Only losses need it (`loss_to_mxnet`); no network does.
    """
    for node in symbol.nodes():
        if node.op == _UNBOUNDED:
            raise InputError(f"node {node.name[:80]} ({node.op}): MXNet does not check where its indices point, so it "
                             "is not run in a network from a file; use another copy of the checkpoint")
    return loss_to_mxnet(symbol)


def loss_to_mxnet(symbol: Symbol) -> "mx.sym.Symbol":
    """The same of a loss that was built here, whose indices are labels that were checked: with every operator."""
    return mx.sym.load_json(symbol.tojson())


def from_mxnet(symbol: "mx.sym.Symbol") -> Symbol:
    """A graph that MXNet made (eight-bit and mixed-precision forms), casts included."""
    return Symbol(read_json(symbol.tojson(remove_amp_cast=False), "a graph made by MXNet"))


def ndarray(array: numpy.ndarray, context: Optional["mx.Context"] = None) -> "mx.nd.NDArray":
    """A copy on a context (default: the CPU), of the array's own type."""
    return mx.nd.array(array, ctx=context, dtype=array.dtype)


def ndarrays(arrays: Mapping[str, numpy.ndarray], context: Optional["mx.Context"] = None) -> NDArrays:
    """Copies on a context, by name."""
    return {name: ndarray(value, context) for name, value in arrays.items()}


class Pending:
    """A number of an array of one value that may not be computed yet; float() waits for it."""

    def __init__(self, array: "mx.nd.NDArray") -> None:
        self._array = array

    def __float__(self) -> float:
        return float(self._array.asscalar())


def put(target: "mx.nd.NDArray", value: numpy.ndarray) -> None:
    """Write values into an array that is bound, in its type; raises ValueError for another shape."""
    if target.shape != value.shape:
        raise ValueError(f"an array of shape {value.shape} for one of {target.shape}")
    target[:] = value


def to_numpy(arrays: Mapping[str, "mx.nd.NDArray"]) -> Arrays:
    """Copies in NumPy, by name; waits for them to be computed."""
    return {name: value.asnumpy() for name, value in arrays.items()}
