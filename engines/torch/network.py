"""A checkpoint ready to embed, in PyTorch."""
from typing import Dict, List, Mapping

from arcface_mxnet.engines.base import DATA, FLOAT32, Numerics
from arcface_mxnet.engines.torch.devices import Where, by_pixel, low_type, set_numerics
from arcface_mxnet.engines.torch.module import Interpreter, Run
from arcface_mxnet.runtime.errors import InputError

import numpy as np
import torch
from torch import Tensor


class TorchNetwork:
    """One graph with its values on one device. A label left in the graph is fed with ones, as MXNet binds it."""

    def __init__(self, graph: str, arguments: Mapping[str, np.ndarray], auxiliary: Mapping[str, np.ndarray],
                 place: Where, numerics: Numerics = FLOAT32) -> None:
        set_numerics(numerics, place.device)
        self.device, self._graph = place.device, Interpreter(graph)
        self._by_pixel, self._run = by_pixel(numerics, place.device), Run(low=low_type(numerics))
        self._values: Dict[str, Tensor] = {}
        self._forward = self._outputs
        if numerics.compile:
            self._forward = torch.compile(self._outputs, fullgraph=True, dynamic=False)
        self.update(arguments, auxiliary)

    def update(self, arguments: Mapping[str, np.ndarray], auxiliary: Mapping[str, np.ndarray]) -> None:
        """Take new parameter values."""
        given = {**arguments, **auxiliary}
        wanted = [*self._graph.arguments, *self._graph.auxiliary]
        self._values = {name: self._tensor(np.asarray(given[name])) for name in wanted if name in given}
        self._fed = [name for name in wanted if name not in given and name != DATA]

    def _tensor(self, value: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(np.array(value, dtype=np.float32)).to(self.device)
        return tensor.contiguous(memory_format=torch.channels_last) if self._by_pixel and tensor.dim() == 4 else tensor

    def embed(self, images: np.ndarray, batch_size: int) -> np.ndarray:
        """Raw embeddings (n, d) float32 of images (n, c, h, w), uint8 or float32.

        Raises InputError for images that the network was not made for.
        """
        rows: List[np.ndarray] = []
        waiting: List[Tensor] = []
        for start in range(0, len(images), batch_size):
            waiting.append(self.start(images[start:start + batch_size]))
            if len(waiting) > 1:  # one batch computes while the next is brought
                rows.append(waiting.pop(0).cpu().numpy())
        rows.extend(output.cpu().numpy() for output in waiting)
        return np.concatenate(rows)

    def start(self, images: np.ndarray) -> Tensor:
        """The embeddings (n, d) of one batch; on a GPU they may not be computed yet."""
        data = torch.from_numpy(np.ascontiguousarray(images)).to(self.device, non_blocking=True).float()
        if self._by_pixel:
            data = data.contiguous(memory_format=torch.channels_last)
        values = {**self._values, **{name: torch.ones(len(data), device=self.device) for name in self._fed}, DATA: data}
        with torch.inference_mode():
            try:
                found = self._forward(values)
            except RuntimeError as error:
                if "out of memory" in str(error):
                    raise
                raise InputError(f"the network does not take images of shape {images.shape[1:]} ({error}); "
                                 "give --image-size as it was trained") from None
        return found.reshape(len(data), -1)

    def _outputs(self, values: Dict[str, Tensor]) -> Tensor:
        return self._graph(values, self._run)[0]
