"""The operators a graph may have: their inputs, attributes with ranges and defaults, and outputs, as MXNet 1.9.1's.

One table for everybody who must know them: the reader of a foreign graph, which refuses what is not here; the builder
of symbols, which orders and names inputs by it; shape inference; engines. It holds the operators of the published
graphs, of this project's networks, losses and rewritten forms (eight-bit ones included), and of the checkpoints of
other projects that were met. Attributes are text in a graph, as MXNet stores them; `values` gives them their types.
"""
import ast
import math
import re
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

Attributes = Mapping[str, str]

# Operators that run code or take addresses from the file; no flag admits them.
FORBIDDEN = frozenset((
    "_Native", "_NDArray", "Custom", "_CrossDeviceCopy", "_CachedOp", "_CustomFunction", "_FusedOp", "_FusedOpHelper",
    "_FusedOpOutHelper", "_TensorRT", "_foreach", "_while_loop", "_cond", "_copyto", "_cvimread"))
_MOST = 2 ** 31 - 1
_LARGEST_WINDOW = 4096  # kernel, stride, dilation and padding
_TUPLE = re.compile(r"[(\[]\s*(?:(?:-?\d+|None)\s*(?:,\s*(?:-?\d+|None)\s*)*,?)?\s*[)\]]|-?\d+")
_TRUE, _FALSE = ("True", "true", "1"), ("False", "false", "0")


class Kind(NamedTuple):
    """A type of attribute: how its text is read (ValueError when it cannot be), and what it must be, in words."""

    read: Callable[[str], Any]
    words: str


class Attribute(NamedTuple):
    """One attribute of an operator; `default` is None where MXNet's is, `required` says that there is none."""

    kind: Kind
    default: Any = None
    required: bool = False


@dataclass(frozen=True)
class Operator:
    """One operator. `inputs` names them in order; those at the positions `states` are auxiliary, and it changes them.

    `attributes` stand in MXNet's order. `variadic`: any number of inputs, counted by num_args. `present`: the inputs a
    node has under its attributes, where some are optional. `outputs`: how many (all, to be seen) under its attributes;
    `output_names`, where MXNet names them. `rule`: raises ValueError for attributes that do not go together.
    """

    inputs: Tuple[str, ...]
    attributes: Mapping[str, Attribute]
    states: Tuple[int, ...] = ()
    variadic: bool = False
    present: Optional[Callable[[Mapping[str, Any]], Tuple[str, ...]]] = None
    outputs: Optional[Callable[[Mapping[str, Any]], Tuple[int, int]]] = None
    output_names: Tuple[str, ...] = ()
    rule: Optional[Callable[[Mapping[str, Any]], None]] = None
    subgraph: bool = False


def whole(low: int = -_MOST - 1, high: int = _MOST, none: bool = False) -> Kind:
    """A whole number from `low` to `high`."""
    def read(text: str) -> Optional[int]:
        if none and text == "None":
            return None
        if not re.fullmatch(r"[+-]?\d{1,18}", text) or not low <= int(text) <= high:
            raise ValueError
        return int(text)
    return Kind(read, f"a whole number from {low} to {high}{' or None' if none else ''}")


def real(low: float = -math.inf, high: float = math.inf, none: bool = False) -> Kind:
    """A finite number from `low` to `high`."""
    def read(text: str) -> Optional[float]:
        if none and text == "None":
            return None
        number = float(text) if len(text) <= 40 else math.nan
        if not math.isfinite(number) or not low <= number <= high:
            raise ValueError
        return number
    limits = "" if low == -math.inf else f" of at least {low:g}" if high == math.inf else f" from {low:g} to {high:g}"
    return Kind(read, f"a number{limits}{' or None' if none else ''}")


def choice(*words: str) -> Kind:
    """One of some words; None where "None" is one."""
    def read(text: str) -> Optional[str]:
        if text not in words:
            raise ValueError
        return None if text == "None" else text
    return Kind(read, f"one of {', '.join(words)}")


def sizes(low: int, high: int, most: int = 8, none: bool = False) -> Kind:
    """A tuple of up to `most` whole numbers from `low` to `high`."""
    def read(text: str) -> Optional[Tuple[int, ...]]:
        if none and text == "None":
            return None
        if len(text) > 200 or not _TUPLE.fullmatch(text.strip()):
            raise ValueError
        value = ast.literal_eval(text.strip())
        value = (value,) if isinstance(value, int) else tuple(value)
        if len(value) > most or not all(isinstance(side, int) and low <= side <= high for side in value):
            raise ValueError
        return value
    return Kind(read, f"up to {most} whole numbers from {low} to {high}, as (3, 3){', or None' if none else ''}")


def _read_flag(text: str) -> bool:
    if text not in _TRUE + _FALSE:
        raise ValueError
    return text in _TRUE


FLAG = Kind(_read_flag, "True or False")
_TEXT = Kind(str, "text")
_TYPES = choice("float32", "float64", "float16", "uint8", "int32", "int8", "int64", "bfloat16")
_ALL_TYPES = choice("float32", "float64", "float16", "uint8", "int32", "int8", "int64", "bfloat16", "bool")
_WINDOW = sizes(1, _LARGEST_WINDOW, 3)
_PADDING = sizes(0, _LARGEST_WINDOW, 3)
_AXIS = whole(-8, 8)
_ONE_AXIS = whole(-8, 8, none=True)
_AXES = Attribute(sizes(-8, 8, none=True))
_LAYOUTS = choice("None", "NCW", "NCHW", "NCDHW", "NWC", "NHWC", "NDHWC")
_QUANTIZED = ("output", "min_output", "max_output")
_LIMITED = ("output", "output_min", "output_max")
_NO = Attribute(FLAG, False)
_YES = Attribute(FLAG, True)
_ACTIVATIONS = choice("relu", "sigmoid", "softrelu", "softsign", "tanh")
_NORMALIZATION = Attribute(choice("null", "batch", "valid"), "null")
_RANGE = {"min_calib_range": Attribute(real(none=True)), "max_calib_range": Attribute(real(none=True))}
_DATA = ("data",)
_TWO = ("lhs", "rhs")


def _with_bias(values: Mapping[str, Any]) -> Tuple[str, ...]:
    return ("data", "weight") if values["no_bias"] else ("data", "weight", "bias")


def _with_slope(values: Mapping[str, Any]) -> Tuple[str, ...]:
    return ("data", "gamma") if values["act_type"] == "prelu" else _DATA


def _fixed(every: int, seen: int = 1) -> Callable[[Mapping[str, Any]], Tuple[int, int]]:
    return lambda values: (every, seen)


def _norm_outputs(values: Mapping[str, Any]) -> Tuple[int, int]:
    return (3, 3 if values["output_mean_var"] else 1)


def _topk_outputs(values: Mapping[str, Any]) -> Tuple[int, int]:
    if values["ret_typ"] in ("indices", "mask"):
        return (1, 1)
    return (2, 2 if values["ret_typ"] == "both" else 1)


def _convolution_rule(values: Mapping[str, Any]) -> None:
    sides = len(values["kernel"])
    for key in ("stride", "dilate", "pad"):
        if len(values[key]) not in (0, sides):
            raise ValueError(f"{key} {values[key]} has another length than kernel {values['kernel']}")
    if not sides:
        raise ValueError("kernel is empty")
    if values["num_filter"] % values["num_group"]:
        raise ValueError(f"num_filter {values['num_filter']} cannot be divided into {values['num_group']} groups")


def _pooling_rule(values: Mapping[str, Any]) -> None:
    kernel = values["kernel"]
    if values["global_pool"]:
        return
    if not kernel:
        raise ValueError("kernel is missing (global_pool is False)")
    for key in ("stride", "pad"):
        if len(values[key]) not in (0, len(kernel)):
            raise ValueError(f"{key} {values[key]} has another length than kernel {kernel}")
    if any(pad >= side for pad, side in zip(values["pad"], kernel)):
        raise ValueError(f"pad {values['pad']} is not smaller than kernel {kernel}")


def _one(**attributes: Attribute) -> Operator:
    return Operator(_DATA, attributes)


_SCALAR = Operator(_DATA, {"scalar": Attribute(real(), 1.0), "is_int": _YES})
_PAIR = Operator(_TWO, {})
_REDUCTION = _one(axis=_AXES, keepdims=_NO, exclude=_NO)
_CALIBRATED = Operator(("data", "min_data", "max_data"), {}, outputs=_fixed(3, 3), output_names=_QUANTIZED)
_PRODUCT = Operator(_TWO, {"transpose_a": _NO, "transpose_b": _NO,
                           "forward_stype": Attribute(choice("None", "default"))})
_NORM = {
    "eps": Attribute(real(0.0), 0.001), "momentum": Attribute(real(0.0, 1.0), 0.9), "fix_gamma": _YES,
    "use_global_stats": _NO, "output_mean_var": _NO, "axis": Attribute(_AXIS, 1), "cudnn_off": _NO, **_RANGE}
_FUSED = {
    "quantized": _NO, "with_bn": _NO, "with_act": _NO, "with_sum": _NO, "with_postsum_act": _NO, "with_eltwise": _NO,
    "channel_wise_quantize": _NO, "enable_float_output": _NO, "quantize_int32_output": _NO, **_RANGE}


def _fused_outputs(values: Mapping[str, Any]) -> Tuple[int, int]:
    count = 3 if values["quantized"] and not values["enable_float_output"] else 1
    return (count, count)


OPERATORS: Dict[str, Operator] = {
    "Activation": _one(act_type=Attribute(_ACTIVATIONS, required=True)),
    "BatchNorm": Operator(("data", "gamma", "beta", "moving_mean", "moving_var"), _NORM, states=(3, 4),
                          outputs=_norm_outputs, output_names=("output", "mean", "var")),
    "BlockGrad": _one(),
    "Cast": _one(dtype=Attribute(_ALL_TYPES, required=True)),
    "Concat": Operator(_DATA, {"dim": Attribute(_AXIS, 1)}, variadic=True),
    "Convolution": Operator(("data", "weight", "bias"), {
        "kernel": Attribute(_WINDOW, required=True), "stride": Attribute(_WINDOW, ()),
        "dilate": Attribute(_WINDOW, ()), "pad": Attribute(_PADDING, ()),
        "num_filter": Attribute(whole(1, 10 ** 6), required=True), "num_group": Attribute(whole(1, 10 ** 6), 1),
        "workspace": Attribute(whole(0, 2 ** 20), 1024), "no_bias": _NO,
        "cudnn_tune": Attribute(choice("None", "off", "fastest", "limited_workspace")), "cudnn_off": _NO,
        "layout": Attribute(_LAYOUTS)}, present=_with_bias, rule=_convolution_rule),
    "Dropout": Operator(_DATA, {
        "p": Attribute(real(0.0, 1.0), 0.5), "mode": Attribute(choice("training", "always"), "training"),
        "axes": Attribute(sizes(0, 8), ()), "cudnn_off": _NO},
        outputs=_fixed(2), output_names=("output", "mask")),
    "Flatten": _one(),
    "FullyConnected": Operator(("data", "weight", "bias"), {
        "num_hidden": Attribute(whole(1), required=True), "no_bias": _NO, "flatten": _YES}, present=_with_bias),
    "L2Normalization": Operator(_DATA, {
        "eps": Attribute(real(0.0), 1e-10), "mode": Attribute(choice("instance", "channel", "spatial"), "instance")},
        outputs=_fixed(2), output_names=("output", "norm")),
    "LeakyReLU": Operator(("data", "gamma"), {
        "act_type": Attribute(choice("leaky", "prelu", "elu", "selu", "gelu"), "leaky"),
        "slope": Attribute(real(), 0.25), "lower_bound": Attribute(real(), 0.125),
        "upper_bound": Attribute(real(), 0.334)}, present=_with_slope),
    "MakeLoss": _one(grad_scale=Attribute(real(), 1.0), valid_thresh=Attribute(real(), 0.0),
                     normalization=_NORMALIZATION),
    "Pooling": Operator(_DATA, {
        "kernel": Attribute(_WINDOW, ()), "pool_type": Attribute(choice("max", "avg", "sum", "lp"), "max"),
        "global_pool": _NO, "cudnn_off": _NO,
        "pooling_convention": Attribute(choice("valid", "full"), "valid"), "stride": Attribute(_WINDOW, ()),
        "pad": Attribute(_PADDING, ()), "p_value": Attribute(whole(1, 100, none=True)),
        "count_include_pad": Attribute(Kind(lambda text: None if text == "None" else _read_flag(text),
                                            "True, False or None")),
        "layout": Attribute(_LAYOUTS)},
        outputs=lambda values: (2 if values["pool_type"] == "max" else 1, 1), output_names=("output", "workspace"),
        rule=_pooling_rule),
    "Reshape": _one(shape=Attribute(sizes(-3, _MOST), ()), reverse=_NO,
                    target_shape=Attribute(sizes(0, _MOST), ()), keep_highest=_NO),
    "SliceChannel": Operator(_DATA, {
        "num_outputs": Attribute(whole(1, 1024), required=True), "axis": Attribute(_AXIS, 1), "squeeze_axis": _NO},
        outputs=lambda values: (values["num_outputs"], values["num_outputs"])),
    "SoftmaxActivation": _one(mode=Attribute(choice("instance", "channel"), "instance")),
    "SoftmaxOutput": Operator(("data", "label"), {
        "grad_scale": Attribute(real(), 1.0), "ignore_label": Attribute(real(), -1.0), "multi_output": _NO,
        "use_ignore": _NO, "preserve_shape": _NO, "normalization": _NORMALIZATION, "out_grad": _NO,
        "smooth_alpha": Attribute(real(0.0, 1.0), 0.0)}),
    "_contrib_arange_like": _one(start=Attribute(real(), 0.0), step=Attribute(real(), 1.0),
                                 repeat=Attribute(whole(1), 1), ctx=Attribute(choice(""), ""),
                                 axis=Attribute(_ONE_AXIS)),
    "_contrib_quantize_v2": Operator(_DATA, {"out_type": Attribute(choice("auto", "int8", "uint8"), "int8"), **_RANGE},
                                     outputs=_fixed(3, 3)),
    "_contrib_quantized_act": Operator(_CALIBRATED.inputs, {"act_type": Attribute(_ACTIVATIONS, required=True)},
                                       outputs=_fixed(3, 3), output_names=_QUANTIZED),
    "_contrib_quantized_batch_norm": Operator(
        ("data", "gamma", "beta", "moving_mean", "moving_var", "min_data", "max_data"), _NORM,
        states=(3, 4), outputs=_fixed(3, 3), output_names=_QUANTIZED),
    "_contrib_quantized_flatten": _CALIBRATED,
    "_copy": _one(),
    "_sg_mkldnn_conv": Operator((), _FUSED, outputs=_fused_outputs, output_names=_LIMITED, subgraph=True),
    "_sg_mkldnn_fully_connected": Operator((), _FUSED, outputs=_fused_outputs, output_names=_LIMITED, subgraph=True),
    "amp_cast": _one(dtype=Attribute(_TYPES, required=True)),
    "argmax": _one(axis=Attribute(_ONE_AXIS), keepdims=_NO),
    "argmin": _one(axis=Attribute(_ONE_AXIS), keepdims=_NO),
    "batch_dot": _PRODUCT,
    "broadcast_like": Operator(_TWO, {"lhs_axes": _AXES, "rhs_axes": _AXES}),
    "broadcast_to": _one(shape=Attribute(sizes(0, _MOST), ())),
    "clip": _one(a_min=Attribute(real(), required=True), a_max=Attribute(real(), required=True)),
    "dot": _PRODUCT,
    "expand_dims": _one(axis=Attribute(_AXIS, required=True)),
    "gather_nd": Operator(("data", "indices"), {}),
    "max": _REDUCTION,
    "mean": _REDUCTION,
    "one_hot": Operator(("indices",), {
        "depth": Attribute(whole(1), required=True), "on_value": Attribute(real(), 1.0),
        "off_value": Attribute(real(), 0.0), "dtype": Attribute(_TYPES, "float32")}),
    "pick": Operator(("data", "index"), {
        "axis": Attribute(_ONE_AXIS, -1), "keepdims": _NO, "mode": Attribute(choice("clip", "wrap"), "clip")}),
    "scatter_nd": Operator(("data", "indices"), {"shape": Attribute(sizes(1, _MOST), required=True)}),
    "slice_axis": _one(axis=Attribute(_AXIS, required=True), begin=Attribute(whole(), required=True),
                       end=Attribute(whole(none=True), required=True)),
    "sort": Operator(_DATA, {"axis": Attribute(_ONE_AXIS, -1), "is_ascend": _YES}, outputs=_fixed(2)),
    "stack": Operator(_DATA, {"axis": Attribute(_AXIS, 0)}, variadic=True),
    "sum": _REDUCTION,
    "take": Operator(("a", "indices"), {"axis": Attribute(_AXIS, 0),
                                        "mode": Attribute(choice("clip", "wrap"), "clip")}),
    "topk": Operator(_DATA, {
        "axis": Attribute(_ONE_AXIS, -1), "k": Attribute(whole(0), 1),
        "ret_typ": Attribute(choice("indices", "value", "mask", "both"), "indices"), "is_ascend": _NO,
        "dtype": Attribute(choice("float32", "float64", "float16", "uint8", "int32", "int64"), "float32")},
        outputs=_topk_outputs),
    "where": Operator(("condition", "x", "y"), {}),
}
OPERATORS.update({name: _one() for name in (
    "arccos", "cos", "exp", "floor", "log", "negative", "ones_like", "relu", "sigmoid", "sin", "sqrt", "square",
    "zeros_like")})
OPERATORS.update({name: _PAIR for name in (
    "elemwise_add", "elemwise_sub", "elemwise_mul", "elemwise_div", "broadcast_add", "broadcast_sub", "broadcast_mul",
    "broadcast_div", "broadcast_equal", "broadcast_not_equal", "broadcast_greater", "_equal", "_not_equal", "_greater",
    "_greater_equal", "_lesser", "_lesser_equal", "_maximum", "_minimum")})
OPERATORS.update({f"_{name}_scalar": _SCALAR for name in (
    "plus", "minus", "rminus", "mul", "div", "rdiv", "maximum", "minimum", "equal", "not_equal", "greater",
    "greater_equal", "lesser", "lesser_equal")})


def values(op: str, attrs: Attributes) -> Dict[str, Any]:
    """Every attribute of an operator with its type, defaults filled in.

    Raises KeyError for an operator that is not in the table, ValueError, saying what is wrong, for an attribute that is
    missing, unknown, out of range or does not go with another. Names of the form __x__ are notes to other programs:
    they are not among the values and never refused.
    """
    operator = OPERATORS[op]
    found: Dict[str, Any] = {}
    for key, text in attrs.items():
        if is_note(key) or operator.variadic and key == "num_args":
            continue
        attribute = operator.attributes.get(key)
        if attribute is None:
            known = ", ".join(operator.attributes) or "none"
            raise ValueError(f"unknown attribute {key[:60]!r}; it has {known}")
        try:
            found[key] = attribute.kind.read(text)
        except (ValueError, SyntaxError):
            raise ValueError(f"{key} is {text[:60]!r}; it must be {attribute.kind.words}") from None
    for key, attribute in operator.attributes.items():
        if key not in found:
            if attribute.required:
                raise ValueError(f"{key} is missing")
            found[key] = attribute.default
    if operator.rule is not None:
        operator.rule(found)
    return found


def input_names(op: str, attrs: Attributes, count: Optional[int] = None) -> List[str]:
    """The names of a node's inputs in order; of a variadic operator, `count` of them (default num_args)."""
    operator = OPERATORS[op]
    if operator.variadic:
        number = int(attrs["num_args"]) if count is None else count
        return [f"arg{index}" for index in range(number)]
    return list(operator.inputs if operator.present is None else operator.present(values(op, attrs)))


def state_inputs(op: str) -> Tuple[int, ...]:
    """The positions of an operator's auxiliary states among its inputs."""
    return OPERATORS[op].states if op in OPERATORS else ()


def output_counts(op: str, attrs: Attributes) -> Tuple[int, int]:
    """(all outputs, those a caller sees) of a node; of an operator outside the table one is assumed."""
    operator = OPERATORS.get(op)
    if operator is None or operator.outputs is None:
        return (1, 1)
    return operator.outputs(values(op, attrs))


def output_names(op: str, attrs: Attributes) -> Sequence[str]:
    """What MXNet calls each output of a node."""
    every, _ = output_counts(op, attrs)
    operator = OPERATORS.get(op)
    if operator is not None and operator.output_names:
        return operator.output_names[:every]
    return ["output"] if every == 1 else [f"output{index}" for index in range(every)]


def is_note(key: str) -> bool:
    """Whether an attribute is a note (__lr_mult__, __init__, __shape__ ...), which operators do not read."""
    return len(key) > 4 and key.startswith("__") and key.endswith("__")
