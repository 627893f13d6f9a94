"""What a training step of one graph costs: memory as MXNet plans it, and time."""
import re
import statistics
import time
from typing import Sequence, Tuple

from arcface_mxnet.engines.mxnet.convert import loss_to_mxnet, ndarrays
from arcface_mxnet.engines.mxnet.mx import mx
from arcface_mxnet.graph.params_file import Arrays
from arcface_mxnet.graph.symbol import Symbol


def step_cost(symbol: Symbol, arrays: Arrays, wanted: Sequence[str], weight: str, rounds: int) -> Tuple[float, float]:
    """(gigabytes, median seconds) of forward, backward and the SGD step of `weight` on the CPU.

    `arrays` are all arguments; gradients are taken of the `wanted` ones. Counted are arguments, gradients, momentum and
    the results MXNet plans for.
    """
    values = ndarrays(arrays)
    gradients = {name: mx.nd.zeros(values[name].shape) for name in wanted}
    momentum = mx.nd.zeros(values[weight].shape)
    requests = {name: "write" if name in gradients else "null" for name in values}
    executor = loss_to_mxnet(symbol).bind(mx.cpu(), values, args_grad=gradients, grad_req=requests)
    planned = float(re.search(r"Total (\d+) MB allocated", executor.debug_str()).group(1)) / 1024  # type: ignore
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        executor.forward(is_train=True)
        executor.backward()
        mx.nd.sgd_mom_update(values[weight], gradients[weight], momentum, out=values[weight], lr=0.1, momentum=0.9,
                             wd=5e-4)
        mx.nd.waitall()
        times.append(time.perf_counter() - start)
    held = sum(4.0 * array.size for array in [*values.values(), *gradients.values(), momentum]) / 2 ** 30
    return held + planned, statistics.median(times[1:])
