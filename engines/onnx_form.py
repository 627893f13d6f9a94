"""What the engines that run ONNX share: a stored graph as ONNX, made for each image size, and batches through it."""
from typing import Callable, List, Mapping, Optional

from arcface_mxnet.graph.checkpoint import Checkpoint, embedding_only
from arcface_mxnet.graph.describe import require_image
from arcface_mxnet.graph.nodes import Shape
from arcface_mxnet.graph.to_onnx import onnx_model

import numpy as np

Run = Callable[[np.ndarray], np.ndarray]
"""Images (n, c, h, w) float32 to the first output, (n, ...) float32."""


class OnnxNetwork:
    """A checkpoint ready to embed; `compile_model` makes a Run of the bytes of an ONNX model.

    There is no other form than the stored graph operator by operator: what a runtime fuses is its own business.
    """

    def __init__(self, checkpoint: Checkpoint, compile_model: Callable[[bytes], Run]) -> None:
        self._checkpoint, self._compile = embedding_only(checkpoint), compile_model
        self._image: Shape = ()
        self._run: Optional[Run] = None

    def update(self, arguments: Mapping[str, np.ndarray], auxiliary: Mapping[str, np.ndarray]) -> None:
        """Take new parameter values; the model is compiled again."""
        self._checkpoint = embedding_only(Checkpoint(self._checkpoint.symbol, dict(arguments), dict(auxiliary)))
        self._run = None

    def embed(self, images: np.ndarray, batch_size: int) -> np.ndarray:
        """Raw embeddings (n, d) float32 of images (n, c, h, w), uint8 or float32.

        Raises InputError for images that the network was not made for, or a graph that has no form in ONNX.
        """
        image = tuple(images.shape[1:])
        if self._run is None or self._image != image:
            require_image(self._checkpoint, image)
            self._image, self._run = image, self._compile(onnx_model(self._checkpoint, image).SerializeToString())
        rows: List[np.ndarray] = []
        for start in range(0, len(images), batch_size):
            batch = np.ascontiguousarray(images[start:start + batch_size], dtype=np.float32)
            rows.append(self._run(batch).reshape(len(batch), -1))
        return np.concatenate(rows)
