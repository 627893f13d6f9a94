"""One layer of large eight-bit weights as an ONNX file, and its output in float64: what saturates shows in it."""
from typing import Any, NamedTuple

from arcface_mxnet.engines.onnx_int8 import _quantised

import numpy as np
from onnx import TensorProto, helper, numpy_helper


class Layer(NamedTuple):
    """A convolution, or with `kernel` 0 a dense layer on the whole map, of maps of side x side."""

    inputs: int
    outputs: int
    kernel: int
    groups: int = 1
    side: int = 16

    def model(self, spread: float) -> Any:
        """The ModelProto in int8 with a float output; weights near 1 of all signs, of every second input `spread`."""
        random = np.random.RandomState(0)
        shape = ((self.outputs, self.inputs // self.groups, self.kernel, self.kernel) if self.kernel
                 else (self.outputs, self.inputs * self.side ** 2))
        weight = (random.choice([-1, 1], shape) * random.uniform(0.9, 1, shape)).astype(np.float32)
        weight[:, 1::2] *= spread
        if self.kernel:
            nodes = [helper.make_node("Conv", ["data", "w"], ["y"], kernel_shape=[self.kernel] * 2, group=self.groups)]
        else:
            nodes = [helper.make_node("Flatten", ["data"], ["flat"]),
                     helper.make_node("Gemm", ["flat", "w"], ["y"], transB=1)]
        made = [self.side - self.kernel + 1] * 2 if self.kernel else []
        data, out = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", channels, *size]) for
                     name, channels, size in (("data", self.inputs, [self.side] * 2), ("y", self.outputs, made)))
        graph = helper.make_graph(nodes, "one", [data], [out], [numpy_helper.from_array(weight, "w")])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
        model.ir_version = 7
        return _quantised(model, {"data" if self.kernel else "flat": 127.0})

    def images(self) -> np.ndarray:
        """Inputs (2, inputs, side, side), float32, on the ends of their grid and near them."""
        return np.random.RandomState(1).choice([-127, 127, 100, -100],
                                               (2, self.inputs, self.side, self.side)).astype(np.float32)

    def expected(self, model: Any) -> np.ndarray:
        """The output for `images`, in float64 from the integers that are stored."""
        value = {one.name: numpy_helper.to_array(one).astype(np.float64) for one in model.graph.initializer}
        whole = value["w_int8"]
        weight = whole * value["w_step"].reshape((-1,) + (1,) * (whole.ndim - 1))
        images = self.images().astype(np.float64)
        if not self.kernel:
            return images.reshape(2, -1) @ weight.T
        windows = np.lib.stride_tricks.sliding_window_view(images, (self.kernel, self.kernel), (2, 3))
        parts = zip(np.split(windows, self.groups, 1), np.split(weight, self.groups, 0))
        return np.concatenate([np.einsum("ncyxhw,ochw->noyx", *both) for both in parts], axis=1)


def with_output_on_grid(model: Any, step: float) -> None:
    """Put the output on a grid too: a runtime then computes the whole layer in integers, by other kernels."""
    model.graph.node[-1].output[0] = "raw"
    model.graph.initializer.extend([numpy_helper.from_array(np.array(step, np.float32), "y_step"),
                                    numpy_helper.from_array(np.array(0, np.int8), "y_zero")])
    model.graph.node.extend([helper.make_node("QuantizeLinear", ["raw", "y_step", "y_zero"], ["y_int8"]),
                             helper.make_node("DequantizeLinear", ["y_int8", "y_step", "y_zero"], ["y"])])
