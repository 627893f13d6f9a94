"""Reduced precision for the CPU, by MXNet's own quantization and AMP on the fast form of a checkpoint.

Both results are ordinary checkpoints: they save, load with `mx.model.load_checkpoint`, and run wherever MXNet's oneDNN
build does. int8 wants a processor with VNNI, bfloat16 one with AVX-512 BF16, to be faster; elsewhere they are slower,
and without AVX-512 oneDNN has no bfloat16 at all.
"""
from functools import partial
from typing import Dict, List, Sequence

from arcface_mxnet.engines.bfloat16 import gain
from arcface_mxnet.engines.mxnet.convert import from_mxnet, ndarrays, to_mxnet, to_numpy
from arcface_mxnet.engines.mxnet.executor import Network
from arcface_mxnet.engines.mxnet.mx import mx, subgraphs_off
from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.graph.checkpoint import Checkpoint
from arcface_mxnet.graph.equalise import equalised
from arcface_mxnet.graph.inference import inference_form
from arcface_mxnet.graph.nodes import Graph
from arcface_mxnet.graph.symbol import Group, Symbol
from arcface_mxnet.graph.training import IMAGE
from arcface_mxnet.runtime.errors import InputError

import numpy

_BATCH = 8
_CALIBRATION_BATCH = 32


def int8_form(checkpoint: Checkpoint, images: numpy.ndarray) -> Checkpoint:
    """Eight-bit integers, ranges taken from `images` (n, c, h, w) 0..255; float32 in and out.

    Weights have a range for each output channel, activations one for each map: the extremes seen on the images, after
    the channels of a map were brought to like ranges (graph.equalise; without it the published y1 keeps a mean cosine
    of 0.77 to its float32 embeddings, with it 0.99). Raises InputError when fewer than one image is given.
    """
    from mxnet.contrib import quantization  # a part of MXNet that `import mxnet` leaves out

    if not len(images):
        raise InputError("int8 needs images to calibrate on")
    fast = equalised(inference_form(checkpoint, (1,) + images.shape[1:], move=False), images, widest_channels)
    batch = min(_CALIBRATION_BATCH, len(images))
    batches = mx.io.NDArrayIter(data=images.astype("float32"), batch_size=batch, last_batch_handle="discard")
    symbol, args, aux = quantization.quantize_model_mkldnn(
        to_mxnet(fast.symbol), ndarrays(fast.args), ndarrays(fast.aux), label_names=None, calib_mode="naive",
        calib_data=batches, num_calib_examples=len(images) // batch * batch, quantized_dtype="auto",
        quantize_granularity="channel-wise")
    return Checkpoint(_named_as(fast, from_mxnet(symbol)), to_numpy(args), to_numpy(aux))


def bf16_form(checkpoint: Checkpoint, input_shape: Sequence[int] = IMAGE) -> Checkpoint:
    """bfloat16 in the convolutions and dense layers, float32 in and out."""
    from mxnet.contrib import amp  # a part of MXNet that `import mxnet` leaves out

    fast = inference_form(checkpoint, input_shape)
    symbol, args, aux = amp.convert_model(to_mxnet(fast.symbol), ndarrays(fast.args), ndarrays(fast.aux),
                                         target_dtype="bfloat16")
    return Checkpoint(_named_as(fast, from_mxnet(symbol)), to_numpy(args), to_numpy(aux))


def bf16_gain(checkpoint: Checkpoint, reduced: Checkpoint, input_shape: Sequence[int] = IMAGE) -> float:
    """How many times as fast as float32's fast form the bfloat16 form `reduced` embeds on this machine's CPU."""
    images = numpy.zeros((_BATCH, *input_shape[1:]), numpy.float32)
    networks = [Network(form, [mx.cpu()]) for form in (checkpoint, reduced)]
    return gain(*(partial(network.embed, images, _BATCH) for network in networks))


def convolution_gain() -> float:
    """The same of a single convolution of 3x3 on 64 channels of 28x28."""
    net = sym.Convolution(sym.Variable("data"), num_filter=64, kernel=(3, 3), pad=(1, 1), no_bias=True, name="conv")
    weight = numpy.random.RandomState(0).randn(64, 64, 3, 3).astype(numpy.float32)
    checkpoint, shape = Checkpoint(net, {"conv_weight": weight}, {}), (1, 64, 28, 28)
    return bf16_gain(checkpoint, bf16_form(checkpoint, shape), shape)


def _named_as(fast: Checkpoint, reduced: Symbol) -> Symbol:
    """Give the outputs the names they had, so that whoever asks for fc1_output gets the last operator, in float32."""
    graph = Graph.of(reduced)
    for (last, _), (wanted, _) in zip(graph.heads, Graph.of(fast.symbol).heads):
        for node in graph.nodes():
            if node.name == wanted.name:
                node.name = f"{wanted.name}_reduced"
        last.name = wanted.name
    return graph.symbol()


def widest_channels(checkpoint: Checkpoint, images: numpy.ndarray, names: List[str]) -> Dict[str, numpy.ndarray]:
    """Largest magnitude of each channel of the named maps over the images."""
    internals = checkpoint.symbol.get_internals()
    maps = Group([internals[f"{name}_output"] for name in names])
    symbol, values = to_mxnet(maps), ndarrays({**checkpoint.args, **checkpoint.aux})
    arguments = {name: values[name] for name in maps.list_arguments() if name in values}
    states = {name: values[name] for name in maps.list_auxiliary_states()}
    widest: Dict[str, numpy.ndarray] = {}
    for start in range(0, len(images), _BATCH):
        batch = mx.nd.array(images[start:start + _BATCH].astype("float32"))
        with subgraphs_off():
            executor = symbol.bind(mx.cpu(), {**arguments, "data": batch}, aux_states=states, grad_req="null")
        for name, output in zip(names, executor.forward(is_train=False)):
            seen = mx.nd.max(mx.nd.abs(output), axis=(0, 2, 3)).asnumpy().astype("float64")
            widest[name] = numpy.maximum(widest.get(name, 0), seen)
    return widest
