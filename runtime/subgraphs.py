"""Graphs bound without oneDNN's subgraph backend, where its fusions fail or are wrong."""
import contextlib
import os
from typing import Iterator

_SETTINGS = {"MXNET_SUBGRAPH_BACKEND": "NONE", "MXNET_SUBGRAPH_VERBOSE": "0"}


@contextlib.contextmanager
def subgraphs_off() -> Iterator[None]:
    """Bind without oneDNN's subgraphs: with them the second forward of a depthwise network fails, and an output from
    the middle of a fused pair is an error.

    MXNet reads the setting at each bind, so that other graphs keep their subgraphs; a user's own setting stays.
    """
    changed = [name for name in _SETTINGS if name not in os.environ]
    for name in changed:
        os.environ[name] = _SETTINGS[name]
    try:
        yield
    finally:
        for name in changed:
            del os.environ[name]
