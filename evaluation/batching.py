"""How many images at once: from what a graph's activations take and what memory is free."""
import os
from typing import Optional, Tuple

from arcface_mxnet.graph.checkpoint import embedding_only, load, parse_model
from arcface_mxnet.runtime.mx import contexts, mx

_LARGEST = {"cpu": 64, "gpu": 256}
"""Beyond these, larger batches were not faster (performance.md)."""
_SHARE_OF_FREE_MEMORY = 0.25


def activation_bytes(symbol: "mx.sym.Symbol", size: Tuple[int, int]) -> int:
    """Bytes of all float32 outputs inside the graph for one RGB image of `size` (height, width): an upper bound."""
    _, shapes, _ = symbol.get_internals().infer_shape(data=(1, 3) + tuple(size))
    total = 0
    for name, shape in zip(symbol.get_internals().list_outputs(), shapes):
        count = 4 if name.endswith("_output") or name == "data" else 0
        for length in shape:
            count *= length
        total += count
    return total


def free_bytes(context: "mx.Context") -> int:
    """Memory that is free now, on the GPU or in the machine."""
    if context.device_type == "gpu":
        return int(mx.context.gpu_memory_info(context.device_id)[0])
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def fitting_batch_size(models: str, size: Tuple[int, int], gpus: Optional[str]) -> int:
    """The largest power of two (at most 64 on a CPU, 256 on a GPU) whose activations fit a quarter of free memory."""
    where = contexts(gpus)
    each = sum(activation_bytes(embedding_only(load(*parse_model(text))).symbol, size) for text in models.split("|"))
    free = min(free_bytes(context) for context in where) / (len(where) if where[0].device_type == "cpu" else 1)
    batch = _LARGEST[where[0].device_type]
    while batch > 1 and batch * each > free * _SHARE_OF_FREE_MEMORY:
        batch //= 2
    return batch
