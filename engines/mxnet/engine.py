"""What others ask of this engine: its version, its devices, and networks that embed. NumPy goes in and comes out."""
from typing import List, Optional, Sequence

from arcface_mxnet.engines.mxnet.executor import Network, free_bytes
from arcface_mxnet.engines.mxnet.mx import contexts, mx
from arcface_mxnet.graph.checkpoint import Checkpoint

__all__ = ["NAME", "devices", "free_bytes", "network", "version"]

NAME = "mxnet"


def version() -> str:
    """Of MXNet."""
    return str(mx.__version__)


def devices(text: Optional[str] = None) -> List["mx.Context"]:
    """The contexts a --gpus value asks for; None chooses. See engines.mxnet.mx.contexts."""
    return contexts(text)


def network(checkpoint: Checkpoint, where: Sequence["mx.Context"], exact: bool = False) -> Network:
    """A checkpoint that ends in its embedding, ready to embed on the contexts `where`.

    `exact`: the stored graph untouched, not its faster equal (graph.inference).
    """
    return Network(checkpoint, where, exact)
