"""Layers under the names, attributes and notes that MXNet's Gluon gives them: two published families come from it."""
from typing import Dict, Optional, Tuple

from arcface_mxnet.graph import symbol as sym

_NOTES = {"__dtype__": "0", "__storage_type__": "0"}  # float32, dense: as Gluon notes them on each parameter
_SLOPE = '["constant", {"value": 0.25}]'
_UNKNOWN = 0  # a length that Gluon leaves to shape inference


class GluonLayers:
    """The layers of one name scope: each kind is counted from 0 under the scope's prefix."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._counts: Dict[str, int] = {}

    def convolution(self, data: sym.Symbol, width: int, kernel: int, stride: int = 1, pad: int = 0,
                    groups: int = 1) -> sym.Symbol:
        """A square convolution without bias."""
        name = self.name("conv")
        weight = _parameter(f"{name}_weight", (width, _UNKNOWN, kernel, kernel))
        return sym.Convolution(data, weight, kernel=(kernel, kernel), stride=(stride, stride), dilate=(1, 1),
                               pad=(pad, pad), num_filter=width, num_group=groups, no_bias=True, layout="NCHW",
                               name=f"{name}_fwd")

    def norm(self, data: sym.Symbol, momentum: float) -> sym.Symbol:
        """BatchNorm with Gluon's own eps 1e-5; its statistics are called running_mean and running_var."""
        name = self.name("batchnorm")
        parts = [_parameter(f"{name}_{part}", (_UNKNOWN,), init) for part, init in (
            ("gamma", "ones"), ("beta", "zeros"), ("running_mean", "zeros"), ("running_var", "ones"))]
        return sym.BatchNorm(data, *parts, axis=1, eps=1e-5, momentum=momentum, fix_gamma=False,
                             use_global_stats=False, name=f"{name}_fwd")

    def relu(self, data: sym.Symbol) -> sym.Symbol:
        """max(x, 0)."""
        return sym.Activation(data, act_type="relu", name=f"{self.name('relu')}_fwd")

    def prelu(self, data: sym.Symbol) -> sym.Symbol:
        """One slope for all channels."""
        name = self.name("prelu")
        return sym.LeakyReLU(data, _parameter(f"{name}_alpha", (1,), _SLOPE), act_type="prelu", name=f"{name}_fwd")

    def pool(self, data: sym.Symbol, kind: str, kernel: int, stride: int, pad: int = 0) -> sym.Symbol:
        """A pooling of kind "max" or "avg"; an average counts the padding."""
        counted = {"count_include_pad": True} if kind == "avg" else {}
        return sym.Pooling(data, kernel=(kernel, kernel), pool_type=kind, global_pool=False,
                           pooling_convention="valid", stride=(stride, stride), pad=(pad, pad), layout="NCHW",
                           name=f"{self.name('pool')}_fwd", **counted)

    def dropout(self, data: sym.Symbol, share: float) -> sym.Symbol:
        """Dropout."""
        return sym.Dropout(data, p=share, axes=(), cudnn_off=False, name=f"{self.name('dropout')}_fwd")

    def name(self, kind: str) -> str:
        """The next name of a kind."""
        number = self._counts.get(kind, 0)
        self._counts[kind] = number + 1
        return f"{self._prefix}{kind}{number}"


def _parameter(name: str, shape: Tuple[int, ...], init: Optional[str] = None) -> sym.Symbol:
    notes = _NOTES if init is None else {**_NOTES, "__init__": init}
    return sym.Variable(name, shape=shape, lr_mult=1.0, wd_mult=1.0, attr=notes)
