"""The margin on the target logits alone, (B,): what the class-parallel heads need of a loss, and no copy of it."""
from typing import Any

from arcface_mxnet.recognition.losses import LossSettings
from arcface_mxnet.recognition.losses.base import HeadNames, Sizes
from arcface_mxnet.recognition.losses.margin import changed_logits, check_margins, has_margin
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.mx import mx

FAMILIES = ("margin_softmax", "subcentre")


def check_family(settings: LossSettings, head: str) -> None:
    """Raise InputError where a loss changes more than the target logit, which only the plain head can do."""
    if settings.loss_name not in FAMILIES:
        raise InputError(f"--head {head}: works for margins on the target logit ({', '.join(FAMILIES)}), not for "
                         f"{settings.loss_name}; leave --head out")
    check_margins(settings)


def centres_per_class(settings: LossSettings) -> int:
    """K: the centres of one identity, adjacent rows of fc7_weight."""
    return settings.loss_K if settings.loss_name == "subcentre" else 1


class TargetMargin:
    """Target cosines to target logits and back, for one context.

    The graph is that of the loss itself on a set of one class, of which every image is: its logits are (B, 1).
    """

    def __init__(self, settings: LossSettings, batch: int, context: "mx.Context") -> None:
        self._scale, self._executor = settings.loss_s, None
        if not has_margin(settings):
            return
        with HeadNames():
            logits: Any = mx.sym.Variable("logits", shape=(batch, 1))
            label = mx.sym.Variable("label", shape=(batch,))
            symbol = changed_logits(logits, label, settings, Sizes(1, batch, 0))[0]
        self._executor = symbol.simple_bind(context, grad_req={"logits": "write", "label": "null"})
        for name, array in self._executor.arg_dict.items():
            if name == "label":
                array[:] = 0

    def logits(self, cosine: "mx.nd.NDArray") -> "mx.nd.NDArray":
        """s times the changed cosine: (B,) -> (B,)."""
        scaled = cosine * self._scale
        if self._executor is None:
            return scaled
        self._executor.arg_dict["logits"][:] = scaled.expand_dims(1)
        return self._executor.forward(is_train=True)[0].reshape((-1,))

    def backward(self, gradient: "mx.nd.NDArray") -> "mx.nd.NDArray":
        """The gradient with respect to the cosine from that with respect to the changed logit, (B,) -> (B,)."""
        if self._executor is None:
            return gradient * self._scale
        self._executor.backward([gradient.expand_dims(1)])
        return self._executor.grad_dict["logits"].reshape((-1,)) * self._scale
