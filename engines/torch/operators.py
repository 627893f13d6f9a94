"""MXNet's operators in PyTorch: values, and gradients where MXNet defines its own.

`make(node)` gives a function of the node's input tensors. Operators with a memory or a choice of mode
(BatchNorm, Dropout) are in `engines.torch.module`, which has both. Where PyTorch's gradient or shape differs from
MXNet's, the function here is MXNet's: reductions over everything give (1,), comparisons and indices are floats, `max`
hands its gradient undivided to every tie, indices are clipped, SoftmaxOutput and MakeLoss ignore what comes in.
"""
import math
from typing import Any, Callable, Dict, List, Sequence, Tuple

from arcface_mxnet.engines.torch.attributes import Attributes
from arcface_mxnet.graph.symbol_json import Node

import torch
from torch import Tensor
from torch.nn import functional

Function = Callable[..., Tensor]
Maker = Callable[[Attributes], Function]
OPERATORS: Dict[str, Maker] = {}
TYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32, "float64": torch.float64}


def operator(*names: str) -> Callable[[Maker], Maker]:
    """Make a function known as the maker of the operators `names`."""
    def add(maker: Maker) -> Maker:
        for name in names:
            if name in OPERATORS:
                raise ValueError(f"operator {name} is defined twice")
            OPERATORS[name] = maker
        return maker
    return add


def make(node: Node) -> Function:
    """The function of one node; raises InputError for an operator or attribute that is not implemented."""
    attributes = Attributes(node)
    if node.op not in OPERATORS:
        raise attributes.refused("")
    return OPERATORS[node.op](attributes)


def _plain(*names: str) -> Callable[[Function], Function]:
    """Operators without attributes: the decorated function itself."""
    def add(function: Function) -> Function:
        operator(*names)(lambda attributes: function)
        return function
    return add


_PLAIN: Tuple[Tuple[Tuple[str, ...], Function], ...] = (
    (("elemwise_add", "broadcast_add"), torch.add), (("elemwise_sub", "broadcast_sub"), torch.sub),
    (("elemwise_mul", "broadcast_mul"), torch.mul), (("elemwise_div", "broadcast_div"), torch.div),
    (("_maximum",), torch.maximum), (("_minimum",), torch.minimum), (("exp",), torch.exp), (("log",), torch.log),
    (("sqrt",), torch.sqrt), (("square",), torch.square), (("sin",), torch.sin), (("cos",), torch.cos),
    (("arccos",), torch.acos), (("relu",), torch.relu), (("sigmoid",), torch.sigmoid), (("negative",), torch.neg),
    (("BlockGrad",), Tensor.detach), (("ones_like",), torch.ones_like), (("zeros_like",), torch.zeros_like))
for _names, _function in _PLAIN:
    _plain(*_names)(_function)


@_plain("_copy")
def _same(x: Tensor) -> Tensor:
    return x


@_plain("Flatten")
def _flat(x: Tensor) -> Tensor:
    return x.reshape(x.shape[0], -1)


@_plain("floor")
def _floor(x: Tensor) -> Tensor:
    return torch.floor(x.detach())


@operator("broadcast_like")
def _broadcast_like(attributes: Attributes) -> Function:
    attributes.only("lhs_axes", None)
    attributes.only("rhs_axes", None)
    return lambda x, like: x.expand(like.shape)


@_plain("where")
def _where(condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """A condition with one axis fewer chooses whole rows."""
    if condition.dim() < x.dim():
        condition = condition.reshape(-1, *[1] * (x.dim() - 1))
    return torch.where(condition != 0, x, y)


@_plain("gather_nd")
def _gather_nd(x: Tensor, indices: Tensor) -> Tensor:
    return x[tuple(torch.floor(indices).long())]  # MXNet counts -0.5 from the end, as -1


def _compared(compare: Function) -> Function:
    """0 or 1 in the type of what is compared; no gradient."""
    def run(x: Tensor, y: Any) -> Tensor:
        return compare(x, y).to(x.dtype)
    return run


_COMPARISONS: Tuple[Tuple[str, Function], ...] = (
    ("lesser", torch.lt), ("greater", torch.gt), ("equal", torch.eq), ("not_equal", torch.ne),
    ("lesser_equal", torch.le), ("greater_equal", torch.ge))
for _name, _function in _COMPARISONS:
    _plain(f"_{_name}", f"broadcast_{_name}")(_compared(_function))


def _rsub(x: Tensor, scalar: float) -> Tensor:
    return scalar - x


def _rdiv(x: Tensor, scalar: float) -> Tensor:
    return scalar / x


def _at_least(x: Tensor, scalar: float) -> Tensor:
    """clamp, not maximum: its slope is 1 at the limit too."""
    return torch.clamp(x, min=scalar)


def _at_most(x: Tensor, scalar: float) -> Tensor:
    return torch.clamp(x, max=scalar)


def _with_scalar(function: Function) -> Maker:
    def maker(attributes: Attributes) -> Function:
        scalar = attributes["scalar"]
        return lambda x: function(x, scalar)
    return maker


_WITH_SCALAR: Tuple[Tuple[str, Function], ...] = (
    ("plus", torch.add), ("minus", torch.sub), ("rminus", _rsub), ("mul", torch.mul), ("div", torch.div),
    ("rdiv", _rdiv), ("maximum", _at_least), ("minimum", _at_most),
    *((_name, _compared(_function)) for _name, _function in _COMPARISONS))
for _name, _function in _WITH_SCALAR:
    operator(f"_{_name}_scalar")(_with_scalar(_function))


@operator("clip")
def _clip(attributes: Attributes) -> Function:
    least, most = attributes["a_min"], attributes["a_max"]
    return lambda x: torch.clamp(x, least, most)


@operator("Cast", "amp_cast")
def _cast(attributes: Attributes) -> Function:
    attributes.only("dtype", *TYPES)
    wanted = TYPES[attributes["dtype"]]
    return lambda x: x.to(wanted)


# Layers.


@operator("Convolution")
def _convolution(attributes: Attributes) -> Function:
    kernel = attributes["kernel"]
    if len(kernel) != 2:
        raise attributes.refused(f"kernel={kernel}")
    attributes.only("layout", None, "NCHW")
    stride, pad = attributes["stride"] or (1, 1), attributes["pad"] or (0, 0)
    dilate, groups = attributes["dilate"] or (1, 1), attributes["num_group"]
    return lambda x, weight, bias=None: functional.conv2d(x, weight, bias, stride, pad, dilate, groups)


@operator("FullyConnected")
def _fully_connected(attributes: Attributes) -> Function:
    attributes.only("flatten", True)
    return lambda x, weight, bias=None: functional.linear(x.reshape(x.shape[0], -1), weight, bias)


@operator("Activation")
def _activation(attributes: Attributes) -> Function:
    known = {"relu": torch.relu, "sigmoid": torch.sigmoid, "tanh": torch.tanh, "softsign": functional.softsign,
             "softrelu": functional.softplus}
    attributes.only("act_type", *known)
    return known[attributes["act_type"]]


@operator("LeakyReLU")
def _leaky(attributes: Attributes) -> Function:
    attributes.only("act_type", "leaky", "elu", "prelu")
    slope = attributes["slope"]
    if attributes["act_type"] == "prelu":
        return functional.prelu
    function = functional.elu if attributes["act_type"] == "elu" else functional.leaky_relu
    return lambda x: function(x, slope)


@operator("Pooling")
def _pooling(attributes: Attributes) -> Function:
    attributes.only("pool_type", "max", "avg")
    attributes.only("pooling_convention", "valid", "full")
    attributes.only("layout", None, "NCHW")
    kind, full = attributes["pool_type"], attributes["pooling_convention"] == "full"
    counted = attributes["count_include_pad"] is not False
    if attributes["global_pool"]:
        return lambda x: x.mean((2, 3), keepdim=True) if kind == "avg" else x.amax((2, 3), keepdim=True)
    kernel, pad = attributes["kernel"], attributes["pad"] or (0, 0)
    stride = attributes["stride"] or (1, 1)
    if len(kernel) != 2:
        raise attributes.refused(f"kernel={kernel}")
    if full and (kind == "avg" or any(pad) or any(step > side for step, side in zip(stride, kernel))):
        raise attributes.refused("pooling_convention=full with averages, padding or gaps")
    if kind == "max":
        return lambda x: functional.max_pool2d(x, kernel, stride, pad, ceil_mode=full)
    return lambda x: functional.avg_pool2d(x, kernel, stride, pad, count_include_pad=counted)


@operator("L2Normalization")
def _l2_normalization(attributes: Attributes) -> Function:
    eps = attributes["eps"]
    attributes.only("mode", "instance")

    def run(x: Tensor) -> Tensor:
        axes = tuple(range(1, x.dim()))
        return x / torch.sqrt(torch.sum(torch.square(x), axes, keepdim=True) + eps)
    return run


@operator("SoftmaxActivation")
def _softmax_activation(attributes: Attributes) -> Function:
    if attributes["mode"] == "channel":
        return lambda x: torch.softmax(x, 1)
    return lambda x: torch.softmax(_rows(x, attributes), 1)


def _rows(x: Tensor, attributes: Attributes) -> Tensor:
    """`x`, refused where it is no matrix: there MXNet and its documentation differ (docs/original.md, section 2.13)."""
    if x.dim() != 2:
        raise attributes.refused(f"of {x.dim()} axes")
    return x


class _SoftmaxOutput(torch.autograd.Function):
    """Softmax whose gradient is factor * (p - y), whatever comes in; y is all zero where the label is no class."""

    @staticmethod
    def forward(logits: Tensor, label: Tensor, factor: Tensor) -> Tensor:
        return torch.softmax(logits, 1)

    @staticmethod
    def setup_context(ctx: Any, inputs: Tuple[Any, ...], output: Tensor) -> None:
        _, label, factor = inputs
        ctx.save_for_backward(output, label, factor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tuple[Any, ...]:
        probability, label, factor = ctx.saved_tensors
        classes = probability.shape[1]
        index = label.long()
        inside = ((index >= 0) & (index < classes)).to(probability.dtype)
        own = torch.clamp(index, 0, classes - 1).unsqueeze(1)
        own_gradient = (probability.gather(1, own) - inside.unsqueeze(1)) * factor
        return (probability * factor).scatter(1, own, own_gradient), None, None


@operator("SoftmaxOutput")
def _softmax_output(attributes: Attributes) -> Function:
    scale, ignored = attributes["grad_scale"], attributes["ignore_label"]
    for key in ("multi_output", "use_ignore", "preserve_shape", "out_grad"):
        attributes.only(key, False)
    attributes.only("smooth_alpha", 0.0)
    normalization = attributes["normalization"]

    def run(logits: Tensor, label: Tensor) -> Tensor:
        count = torch.ones((), dtype=logits.dtype, device=logits.device)
        if normalization == "batch":
            count = count * label.numel()
        elif normalization == "valid":
            count = torch.clamp((label != ignored).sum().to(logits.dtype), min=1)
        return _SoftmaxOutput.apply(_rows(logits, attributes), label, scale / count)
    return run


class _MakeLoss(torch.autograd.Function):
    """The value itself; its gradient is `scale` whatever comes in."""

    @staticmethod
    def forward(value: Tensor, scale: float) -> Tensor:
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: Tuple[Any, ...], output: Tensor) -> None:
        ctx.scale = inputs[1]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tuple[Any, ...]:
        return torch.full_like(gradients[0], ctx.scale), None


@operator("MakeLoss")
def _make_loss(attributes: Attributes) -> Function:
    scale = attributes["grad_scale"]
    attributes.only("normalization", "null")  # valid_thresh is for the others
    return lambda value: _MakeLoss.apply(value, scale)


# Shapes.


@operator("Reshape")
def _reshape(attributes: Attributes) -> Function:
    shape, reverse = attributes["shape"], attributes["reverse"]
    attributes.only("target_shape", ())
    if not shape or min(shape) < -1:
        raise attributes.refused(f"shape={shape}")
    return lambda x: x.reshape(_filled(shape, tuple(x.shape), reverse))


def _filled(shape: Sequence[int], given: Sequence[int], reverse: bool) -> List[int]:
    """`shape` with each 0 replaced by the size at the same place of `given`, counted from the end if `reverse`."""
    offset = len(given) - len(shape) if reverse else 0
    return [given[place + offset] if size == 0 else size for place, size in enumerate(shape)]


@operator("expand_dims")
def _expand_dims(attributes: Attributes) -> Function:
    axis = attributes["axis"]
    return lambda x: x.unsqueeze(axis)


@operator("broadcast_to")
def _broadcast_to(attributes: Attributes) -> Function:
    shape = attributes["shape"]
    return lambda x: x.expand(_filled(shape, tuple(x.shape), False))


@operator("Concat")
def _concat(attributes: Attributes) -> Function:
    axis = attributes["dim"]
    return lambda *parts: torch.cat(parts, axis)


@operator("stack")
def _stack(attributes: Attributes) -> Function:
    axis = attributes["axis"]
    return lambda *parts: torch.stack(parts, axis)


@operator("slice_axis")
def _slice_axis(attributes: Attributes) -> Function:
    axis, begin, end = attributes["axis"], attributes["begin"], attributes["end"]

    def run(x: Tensor) -> Tensor:
        first, last, _ = slice(begin, end).indices(x.shape[axis])
        return x.narrow(axis, first, last - first)
    return run


@operator("_contrib_arange_like")
def _arange_like(attributes: Attributes) -> Function:
    start, step, axis = attributes["start"], attributes["step"], attributes["axis"]
    attributes.only("repeat", 1)

    def run(x: Tensor) -> Tensor:
        shape = x.shape if axis is None else (x.shape[axis],)
        count = torch.arange(math.prod(shape), dtype=x.dtype, device=x.device).reshape(shape)
        return count if (start, step) == (0.0, 1.0) else count * step + start
    return run


# Reductions, order and indices.


def _reduction(reduce: Callable[[Tensor, Tuple[int, ...], bool], Tensor]) -> Maker:
    def maker(attributes: Attributes) -> Function:
        given, keep, others = attributes["axis"] or (), attributes["keepdims"], attributes["exclude"]

        def run(x: Tensor) -> Tensor:
            named = {axis % x.dim() for axis in given}
            axes = tuple(axis for axis in range(x.dim()) if axis not in named) if others and given else given
            if axes:
                return reduce(x, axes, keep)
            whole = reduce(x, tuple(range(x.dim())), keep)
            return whole if keep else whole.reshape(1)
        return run
    return maker


class _Largest(torch.autograd.Function):
    """The maximum; every entry that equals it gets the whole gradient."""

    @staticmethod
    def forward(x: Tensor, axes: Tuple[int, ...]) -> Tensor:
        return torch.amax(x, axes, keepdim=True)

    @staticmethod
    def setup_context(ctx: Any, inputs: Tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0], output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tuple[Any, ...]:
        x, largest = ctx.saved_tensors
        return (x == largest).to(gradients[0].dtype) * gradients[0], None


def _largest(x: Tensor, axes: Tuple[int, ...], keep: bool) -> Tensor:
    found = _Largest.apply(x, axes)
    return found if keep else found.reshape([size for axis, size in enumerate(x.shape)
                                             if axis not in {place % x.dim() for place in axes}])


operator("sum")(_reduction(lambda x, axes, keep: torch.sum(x, axes, keepdim=keep)))
operator("mean")(_reduction(lambda x, axes, keep: torch.mean(x, axes, keepdim=keep)))
operator("max")(_reduction(_largest))


def _place_of(find: Function) -> Maker:
    def maker(attributes: Attributes) -> Function:
        axis, keep = attributes.axis(), attributes["keepdims"]
        return lambda x: find(x, axis, keepdim=keep).to(x.dtype)
    return maker


operator("argmax")(_place_of(torch.argmax))
operator("argmin")(_place_of(torch.argmin))


@operator("sort")
def _sort(attributes: Attributes) -> Function:
    axis, ascending = attributes.axis(), attributes["is_ascend"]

    def run(x: Tensor) -> Tensor:
        return torch.sort(x, dim=axis, descending=not ascending, stable=True)[0]
    return run


@operator("topk")
def _topk(attributes: Attributes) -> Function:
    axis, most, ascending = attributes.axis(), attributes["k"], attributes["is_ascend"]
    attributes.only("ret_typ", "indices")
    attributes.only("dtype", "float32")

    def run(x: Tensor) -> Tensor:
        """By a stable sort, so that the order of ties is the same everywhere."""
        order: Tensor = torch.sort(x, dim=axis, descending=not ascending, stable=True)[1]
        return order.narrow(axis, 0, most if most > 0 else x.shape[axis]).to(x.dtype)
    return run


@operator("one_hot")
def _one_hot(attributes: Attributes) -> Function:
    depth, on, off = attributes["depth"], attributes["on_value"], attributes["off_value"]
    attributes.only("dtype", "float32")

    def run(index: Tensor) -> Tensor:
        """An index outside is all `off`."""
        found = index.long().unsqueeze(-1) == torch.arange(depth, device=index.device)
        full, none = (torch.full((), value, dtype=index.dtype, device=index.device) for value in (on, off))
        return torch.where(found, full, none)
    return run


@operator("pick")
def _pick(attributes: Attributes) -> Function:
    axis, keep = attributes.axis(), attributes["keepdims"]
    attributes.only("mode", "clip")

    def run(x: Tensor, index: Tensor) -> Tensor:
        place = torch.clamp(index.long(), 0, x.shape[axis] - 1)
        if place.dim() < x.dim():
            place = place.unsqueeze(axis)
        found = torch.gather(x, axis, place)
        return found if keep else found.squeeze(axis)
    return run


@operator("take")
def _take(attributes: Attributes) -> Function:
    attributes.only("axis", 0)
    attributes.only("mode", "clip")

    def run(x: Tensor, index: Tensor) -> Tensor:
        """Gradients of rows taken twice are summed, in the same order every time."""
        place = torch.clamp(index.long(), 0, x.shape[0] - 1)
        if x.dim() == 2:
            return functional.embedding(place, x)
        return torch.index_select(x, 0, place.reshape(-1)).reshape(*place.shape, *x.shape[1:])
    return run


@operator("scatter_nd")
def _scatter_nd(attributes: Attributes) -> Function:
    shape = attributes["shape"]

    def run(values: Tensor, indices: Tensor) -> Tensor:
        empty = torch.zeros(shape, dtype=values.dtype, device=values.device)
        return empty.index_put(tuple(indices.long()), values)
    return run


@operator("dot")
def _dot(attributes: Attributes) -> Function:
    left, right = attributes["transpose_a"], attributes["transpose_b"]

    def run(x: Tensor, y: Tensor) -> Tensor:
        return torch.matmul(x.t() if left else x, y.t() if right else y)
    return run
