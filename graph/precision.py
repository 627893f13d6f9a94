"""Reduced precision for the CPU, by MXNet's own quantization and AMP on the fast form of a checkpoint.

Both results are ordinary checkpoints: they save, load with `mx.model.load_checkpoint`, and run wherever MXNet's oneDNN
build does. int8 wants a processor with VNNI, bfloat16 one with AVX-512 BF16, to be faster; elsewhere they are slower.
"""
from typing import List, Sequence

import numpy

from graph.checkpoint import Checkpoint
from graph.inference import inference_form
from graph.nodes import Graph
from graph.training import IMAGE
from runtime.errors import InputError
from runtime.mx import mx

_BATCH = 32
_KEPT = 4  # the last operators stay float32: on the published y1 they cost most of what is lost (cosine 0.80 to 0.88)


def int8_form(checkpoint: Checkpoint, images: numpy.ndarray) -> Checkpoint:
    """Eight-bit integers up to the last few layers, ranges taken from `images` (n, c, h, w) 0..255.

    Weights have a range for each output channel, activations one for each layer: the extremes seen on the images.
    Raises InputError when fewer than one image is given.
    """
    from mxnet.contrib import quantization  # noqa: TID251  (a part of MXNet that `import mxnet` leaves out)

    if not len(images):
        raise InputError("int8 needs images to calibrate on")
    fast = inference_form(checkpoint, (1,) + images.shape[1:], move=False)
    batch = min(_BATCH, len(images))
    batches = mx.io.NDArrayIter(data=images.astype("float32"), batch_size=batch, last_batch_handle="discard")
    symbol, args, aux = quantization.quantize_model_mkldnn(
        fast.symbol, dict(fast.args), dict(fast.aux), label_names=None,
        excluded_sym_names=_last_operators(fast), calib_mode="naive", calib_data=batches,
        num_calib_examples=len(images) // batch * batch, quantized_dtype="auto",
        quantize_granularity="channel-wise")
    return Checkpoint(symbol, args, aux)


def _last_operators(fast: Checkpoint) -> List[str]:
    """Names of the last operators, as they are called once the backend has fused the graph."""
    fused = Graph.of(fast.symbol.get_backend_symbol("MKLDNN_QUANTIZE"))
    return [node.name for node in fused.nodes() if not node.is_variable][-_KEPT:]


def bf16_form(checkpoint: Checkpoint, input_shape: Sequence[int] = IMAGE) -> Checkpoint:
    """bfloat16 in the convolutions and dense layers, float32 in and out."""
    from mxnet.contrib import amp  # noqa: TID251  (a part of MXNet that `import mxnet` leaves out)

    fast = inference_form(checkpoint, input_shape)
    symbol, args, aux = amp.convert_model(fast.symbol, dict(fast.args), dict(fast.aux), target_dtype="bfloat16")
    return Checkpoint(symbol, args, aux)
