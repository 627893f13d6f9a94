"""Gradients of networks with PReLU: the reference in elementary operators, and as a program one process's comparison.

`python prelu_lab.py NETWORK ...` prints a JSON object: network -> form -> the largest error of a slope's gradient and
of any other array's, each relative to the array's largest value, and the number of slopes. MXNet reads whether oneDNN
is on when it starts, so the test sets it for a process of its own.
"""
import json
import sys

from arcface_mxnet.engines.mxnet.convert import to_mxnet
from arcface_mxnet.engines.mxnet.mx import mx
from arcface_mxnet.engines.mxnet.untrained import untrained
from arcface_mxnet.graph.nodes import Graph, Node
from arcface_mxnet.graph.training import TrainingForm, is_prelu, training_form
from arcface_mxnet.recognition.networks import NetworkSettings, build

import numpy

TINY = 1e-12  # a scale that is fixed has the gradient 0
# One of each family and of each kind of unit, small, on small images: settings, and the side of an image.
NETWORKS = {
    "fresnet": (NetworkSettings(num_layers=18, net_output="GAP", net_se=1, emb_size=8, net_multiplier=0.25), 32),
    "unit 1": (NetworkSettings(num_layers=18, net_output="J", net_unit=1, emb_size=8, net_multiplier=0.25), 32),
    "unit 2": (NetworkSettings(num_layers=18, net_output="J", net_unit=2, emb_size=8, net_multiplier=0.25), 32),
    "fmobilefacenet": (NetworkSettings(net_name="fmobilefacenet", net_output="J", emb_size=8, net_multiplier=0.25), 32),
    "fmobilenet": (NetworkSettings(net_name="fmobilenet", net_output="J", emb_size=8, net_multiplier=0.5), 32),
    "fmnasnet": (NetworkSettings(net_name="fmnasnet", net_output="J", emb_size=8, net_multiplier=0.25), 32),
    "fdensenet": (NetworkSettings(net_name="fdensenet", num_layers=121, net_output="GAP", emb_size=8), 32),
    "vargfacenet": (NetworkSettings(net_name="vargfacenet", net_output="J", emb_size=8, net_multiplier=0.25), 112),
}


def frozen(symbol):
    """The graph with its statistics fixed: gradients are then well conditioned and can be compared closely."""
    graph = Graph.of(symbol)
    for node in graph.nodes():
        if node.op == "BatchNorm":
            node.attrs["use_global_stats"] = "True"
    return graph.symbol()


def spelled_out(symbol):
    """The graph with max(z, 0) + g min(z, 0) in elementary operators; MXNet's own PReLU is no oracle."""
    graph = Graph.of(symbol)

    def elementary(node):
        if not is_prelu(node):
            return None
        value, slope = node.inputs
        wide = (Node("Reshape", f"{node.name}_wide", {"shape": "(1, -1, 1, 1)"}, [slope]), 0)
        above = (Node("_maximum_scalar", f"{node.name}_above", {"scalar": "0"}, [value]), 0)
        below = (Node("_minimum_scalar", f"{node.name}_below", {"scalar": "0"}, [value]), 0)
        sloped = (Node("broadcast_mul", f"{node.name}_product", {}, [below, wide]), 0)
        return (Node("elemwise_add", node.name, {}, [above, sloped]), 0)

    shapes = dict(zip(symbol.list_arguments(), symbol.infer_shape(data=(1, 3, 112, 112))[0]))
    for node in graph.nodes():
        if is_prelu(node):
            slope = node.inputs[1][0]
            slope.attrs["__shape__"] = str(shapes[slope.name])
        node.attrs.pop("__dtype__", None)  # Gluon says float32, which float64 would contradict
    graph.replace(elementary)
    return graph.symbol()


def gradients(form, shape, values, kind):
    """Gradients of all arguments, in the arithmetic of `kind`, of a fixed random weighting of the outputs."""
    types = {name: kind for name in form.symbol.list_arguments()}
    executor = to_mxnet(form.symbol).simple_bind(mx.cpu(), data=shape, grad_req="write", type_dict=types)
    for name, held in {**executor.arg_dict, **executor.aux_dict}.items():
        held[:] = form.constants[name] if name in form.constants else values[name]
    output = executor.forward(is_train=True)[0]
    weighting = numpy.random.RandomState(2).randn(*output.shape)
    executor.backward([mx.nd.array(weighting, dtype=kind)])
    return {name: value.asnumpy().astype("float64") for name, value in executor.grad_dict.items()}


def errors(settings, side):
    """Of the stored form and of the one that is trained: (largest error of a slope, of any other gradient)."""
    stored, shape = build(settings), (2, 3, side, side)
    checkpoint = untrained(stored, shape)
    symbol = frozen(stored)
    values = {**checkpoint.args, **checkpoint.aux}
    values["data"] = numpy.random.RandomState(0).randint(0, 256, shape).astype("float32")
    true = gradients(TrainingForm(spelled_out(symbol), {}), shape, values, "float64")
    slopes = {node.inputs[1][0].name for node in Graph.of(symbol).nodes() if is_prelu(node)}
    found = {}
    for name, form in (("stored", TrainingForm(symbol, {})), ("trained", training_form(symbol, shape))):
        assert name == "stored" or not any(is_prelu(node) for node in Graph.of(form.symbol).nodes())
        error = {argument: float(abs(gradient - true[argument]).max() / max(abs(true[argument]).max(), TINY))
                 for argument, gradient in gradients(form, shape, values, "float32").items()}
        found[name] = (max(error[one] for one in slopes), max(error[one] for one in error if one not in slopes))
    return {**found, "slopes": len(slopes)}


if __name__ == "__main__":
    sys.stdout.write(json.dumps({name: errors(*NETWORKS[name]) for name in sys.argv[1:]}))
