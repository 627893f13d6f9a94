"""Figure 10, measured on this machine: memory and speed of the head against the number of identities."""
import re
import time
from typing import Any, Dict, List, Tuple

import numpy as np

from evaluation import paper
from recognition.losses import LossSettings, attach
from recognition.presets import LOSSES
from recognition.reproduction.drawing import canvas, save
from recognition.reproduction.figures import Order, figure
from recognition.reproduction.provenance import Produced
from runtime.cores import available_cores
from runtime.mx import mx

IDENTITIES = (1_000, 3_000, 10_000, 30_000, 100_000)
BATCH, SIZE, ROUNDS = 64, 512, 3
HEADS = {"all centres (arcface)": LossSettings(loss_m2=0.5),
         "dominant centres (dpsoftmax)": LossSettings(**{key: LOSSES["dpsoftmax"][key] for key in
                                                         ("loss_name", "loss_m3", "options")})}


def head_arrays(settings: LossSettings, classes: int) -> Tuple[Any, Dict[str, Any], Dict[str, Any]]:
    """The symbol of a head, its arguments filled, and its gradients."""
    rng = np.random.RandomState(0)
    head = attach(mx.sym.Variable("embedding"), settings, classes, BATCH, SIZE)
    shapes = dict(zip(head.symbol.list_arguments(),
                      head.symbol.infer_shape(embedding=(BATCH, SIZE), softmax_label=(BATCH,))[0]))
    arrays = {name: mx.nd.array(head.states[name]) if name in head.states else mx.nd.random.normal(0, 0.01, shape)
              for name, shape in shapes.items()}
    arrays["softmax_label"] = mx.nd.array(rng.randint(0, classes, BATCH))
    gradients = {name: mx.nd.zeros(arrays[name].shape) for name in ("embedding", "fc7_weight")}
    return head.symbol, arrays, gradients


def measure_head(settings: LossSettings, classes: int) -> Tuple[float, float]:
    """Gigabytes a head's arrays take (arguments, gradients, momentum, results), and images a second of its step."""
    symbol, arrays, gradients = head_arrays(settings, classes)
    momentum = mx.nd.zeros(arrays["fc7_weight"].shape)
    requests = {name: "write" if name in gradients else "null" for name in arrays}
    executor = symbol.bind(mx.cpu(), arrays, args_grad=gradients, grad_req=requests)
    planned = float(re.search(r"Total (\d+) MB allocated", executor.debug_str()).group(1)) / 1024  # type: ignore
    times = []
    for _ in range(ROUNDS + 1):
        start = time.perf_counter()
        executor.forward(is_train=True)
        executor.backward()
        weight = arrays["fc7_weight"]
        mx.nd.sgd_mom_update(weight, gradients["fc7_weight"], momentum, out=weight, lr=0.1, momentum=0.9, wd=5e-4)
        mx.nd.waitall()
        times.append(time.perf_counter() - start)
    held = sum(4.0 * array.size for array in [*arrays.values(), *gradients.values(), momentum]) / 2 ** 30
    return held + planned, BATCH / float(np.median(times[1:]))


@figure("fig10")
def fig10(order: Order) -> Produced:
    """Memory and speed against identities: our heads on this machine, the paper's eight GPUs dotted."""
    printed = paper.figure("fig10")
    picture, panels = canvas(2, 1, (5.4, 4.2))
    figures: Dict[str, List[Dict[str, float]]] = {}
    for (name, settings), colour in zip(HEADS.items(), ("#c62828", "#1565c0")):
        points = [measure_head(settings, classes) for classes in IDENTITIES]
        for axes, place in zip(panels, range(2)):
            axes.plot(IDENTITIES, [point[place] for point in points], "o-", color=colour, label=name)
        figures[name] = [{"identities": classes, "GB": memory, "images/s": speed}
                         for classes, (memory, speed) in zip(IDENTITIES, points)]
    for row, axes in zip(printed["rows"], (panels[0], panels[0], panels[1], panels[1])):
        known = [(n, value) for n, value in zip(printed["columns"], row["values"]) if value is not None]
        axes.plot(*zip(*known), ":", color="0.5" if "data" in row["name"] else "0.2", label=f"paper: {row['name']}")
    for axes, label in zip(panels, ("memory in GB", "images/s")):
        axes.set(xscale="log", yscale="log", xlabel="identities", ylabel=label)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=6)
    protocol = (f"the head alone (no network), batch {BATCH}, E = {SIZE}, {available_cores()} cores, one process; the "
                "paper's curves are whole networks on 8 GPUs: compare shapes, not heights")
    return Produced("fig10", save(picture, order.out, "fig10"), protocol, figures)
