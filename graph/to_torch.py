"""Parameters under the names of the public PyTorch definitions (iresnet and MobileFaceNet of arcface_torch), and back.

The definitions differ from the graphs here in more than names, and each difference is made up for exactly:
eps 1e-5 in every BatchNorm (the running variance takes up the rest), images scaled to (x - 127.5) / 127.5 outside the
network (the first convolution takes up 127.5 / 128), no bias before MobileFaceNet's last BatchNorm (its mean takes it).
"""
from typing import Callable, Dict, List, Tuple

from arcface_mxnet.graph.checkpoint import Checkpoint
from arcface_mxnet.graph.nodes import Graph
from arcface_mxnet.graph.symbol import Symbol
from arcface_mxnet.runtime.errors import InputError

import numpy

State = Dict[str, numpy.ndarray]

TORCH_EPS = 1e-5
SCALING = "(x / 255 - 0.5) / 0.5, outside the network"
_INPUT = 127.5 * 0.0078125  # torch's scaled pixel times this is ours
_FAMILIES = ("fresnet (net_unit 3, net_output E, FC or I)", "fmobilefacenet (net_output GDC)")


def to_torch(checkpoint: Checkpoint) -> State:
    """The state dict of the public definition, float32 arrays by torch's names.

    Raises InputError for a network that has no public definition.
    """
    names, eps, bias = _mapping(checkpoint)
    state: State = {}
    for torch_name, own in names.items():
        value = {**checkpoint.args, **checkpoint.aux}[own].astype("float64")
        if own.endswith("moving_var"):
            value = value + (eps[own] - TORCH_EPS)
        elif torch_name in ("conv1.weight", "layers.0.layers.0.weight"):
            value = value * _INPUT
        state[torch_name] = value.astype("float32")
    if bias:
        state["features.layers.3.running_mean"] = (
            state["features.layers.3.running_mean"] - checkpoint.args["pre_fc1_bias"])
    last = "features.weight" if "features.weight" in state else "features.layers.3.weight"
    state[last] = numpy.ones_like(state[last])  # the last scale is fixed
    for name in [name for name in state if name.endswith("running_var")]:
        state[name.replace("running_var", "num_batches_tracked")] = numpy.zeros((), "int64")
    return state


def from_torch(symbol: Symbol, state: State) -> Checkpoint:
    """The checkpoint for `symbol` (of the same network) from a state dict; inverse of `to_torch` up to rounding.

    Raises InputError naming the entry that is missing or has another shape.
    """
    arguments, _, states = symbol.infer_shape(data=(1, 3, 112, 112))
    shapes = dict(zip(symbol.list_arguments(), arguments))
    shapes.update(zip(symbol.list_auxiliary_states(), states))
    blank = Checkpoint(symbol, {name: numpy.zeros(shapes[name], "float32") for name in symbol.list_arguments()
                                if name != "data"},
                       {name: numpy.zeros(shapes[name], "float32") for name in symbol.list_auxiliary_states()})
    names, eps, _ = _mapping(blank)
    target = {**blank.args, **blank.aux}
    for torch_name, own in names.items():
        if torch_name not in state:
            raise InputError(f"the state dict has no {torch_name}; it is of another network")
        value = numpy.asarray(state[torch_name]).astype("float64")
        if own.endswith("moving_var"):
            value = value - (eps[own] - TORCH_EPS)
        elif torch_name in ("conv1.weight", "layers.0.layers.0.weight"):
            value = value / _INPUT
        if value.shape != target[own].shape:
            raise InputError(f"{torch_name} has shape {value.shape}, {own} needs {target[own].shape}; "
                             "it is of another network")
        target[own][:] = value
    return blank


def _mapping(checkpoint: Checkpoint) -> Tuple[Dict[str, str], Dict[str, float], bool]:
    """(torch name to ours, eps of each moving variance, whether a bias must go into the last mean)."""
    graph = Graph.of(checkpoint.symbol)
    eps = {node.inputs[4][0].name: node.number("eps", 1e-3) for node in graph.nodes() if node.op == "BatchNorm"}
    arguments = set(checkpoint.args)
    if "stage1_unit1_bn3_gamma" in arguments and "bn1_gamma" in arguments:
        names = _iresnet(arguments)
    elif "conv_6dw7_7_conv2d_weight" in arguments and "conv_1_conv2d_weight" in arguments:
        names = _mobilefacenet(arguments)
    else:
        names = {}
    if set(names.values()) | {"pre_fc1_bias"} != arguments | set(checkpoint.aux):
        raise InputError(f"no public PyTorch definition of this network is known; known: {', '.join(_FAMILIES)}")
    return names, eps, "pre_fc1_bias" not in names.values()


def _norm(torch_name: str, own: str) -> Dict[str, str]:
    pairs = (("weight", "gamma"), ("bias", "beta"), ("running_mean", "moving_mean"), ("running_var", "moving_var"))
    return {f"{torch_name}.{theirs}": f"{own}_{ours}" for theirs, ours in pairs}


def _iresnet(arguments: "set[str]") -> Dict[str, str]:
    names = {"conv1.weight": "conv0_weight", **_norm("bn1", "bn0"), "prelu.weight": "relu0_gamma"}
    for stage in range(1, 5):
        unit = 1
        while f"stage{stage}_unit{unit}_conv1_weight" in arguments:
            theirs, ours = f"layer{stage}.{unit - 1}", f"stage{stage}_unit{unit}"
            names.update({f"{theirs}.conv1.weight": f"{ours}_conv1_weight", **_norm(f"{theirs}.bn1", f"{ours}_bn1"),
                          f"{theirs}.conv2.weight": f"{ours}_conv2_weight", **_norm(f"{theirs}.bn2", f"{ours}_bn2"),
                          f"{theirs}.prelu.weight": f"{ours}_relu1_gamma", **_norm(f"{theirs}.bn3", f"{ours}_bn3")})
            if unit == 1:
                names.update({f"{theirs}.downsample.0.weight": f"{ours}_conv1sc_weight",
                              **_norm(f"{theirs}.downsample.1", f"{ours}_sc")})
            unit += 1
    return {**names, **_norm("bn2", "bn1"), "fc.weight": "pre_fc1_weight", "fc.bias": "pre_fc1_bias",
            **_norm("features", "fc1")}


def _mobilefacenet(arguments: "set[str]") -> Dict[str, str]:
    names: Dict[str, str] = {}

    def block(theirs: str, ours: str, active: bool = True) -> None:
        names.update({f"{theirs}.layers.0.weight": f"{ours}_conv2d_weight",
                      **_norm(f"{theirs}.layers.1", f"{ours}_batchnorm")})
        if active:
            names[f"{theirs}.layers.2.weight"] = f"{ours}_relu_gamma"

    def bottleneck(theirs: str, ours: str) -> None:
        block(f"{theirs}.layers.0", f"{ours}_conv_sep")
        block(f"{theirs}.layers.1", f"{ours}_conv_dw")
        block(f"{theirs}.layers.2", f"{ours}_conv_proj", active=False)

    def residuals(theirs: str, ours: str) -> None:
        index = 0
        while f"{ours}_block{index}_conv_sep_conv2d_weight" in arguments:
            bottleneck(f"{theirs}.layers.{index}", f"{ours}_block{index}")
            index += 1

    block("layers.0", "conv_1")
    if "conv_2_dw_conv2d_weight" in arguments:
        block("layers.1", "conv_2_dw")
    steps: List[Tuple[Callable[[str, str], None], str]] = [
        (residuals, "res_2"), (bottleneck, "dconv_23"), (residuals, "res_3"), (bottleneck, "dconv_34"),
        (residuals, "res_4"), (bottleneck, "dconv_45"), (residuals, "res_5")]
    for position, (step, ours) in enumerate(steps, start=1):
        step(f"layers.{position}", ours)
    block("conv_sep", "conv_6sep")
    block("features.layers.0", "conv_6dw7_7", active=False)
    dense = "pre_fc1_weight" if "pre_fc1_weight" in arguments else "fc1_weight"
    return {**names, "features.layers.2.weight": dense, **_norm("features.layers.3", "fc1")}
