"""Layers and losses of a network, and the product of matrices."""
from typing import Any, Tuple

from arcface_mxnet.engines.torch.attributes import Attributes
from arcface_mxnet.engines.torch.operators.register import Function, operator

import torch
from torch import Tensor
from torch.nn import functional


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


@operator("dot")
def _dot(attributes: Attributes) -> Function:
    left, right = attributes["transpose_a"], attributes["transpose_b"]

    def run(x: Tensor, y: Tensor) -> Tensor:
        return torch.matmul(x.t() if left else x, y.t() if right else y)
    return run
