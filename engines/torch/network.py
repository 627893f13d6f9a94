"""A checkpoint ready to embed, in PyTorch."""
from typing import Any, Callable, Dict, List, Mapping, Tuple

from arcface_mxnet.engines.base import DATA, FLOAT32, Numerics
from arcface_mxnet.engines.torch.devices import Where, by_pixel, compiled, low_type, placed, set_numerics, stored
from arcface_mxnet.engines.torch.module import Interpreter, Run
from arcface_mxnet.graph.checkpoint import Checkpoint
from arcface_mxnet.graph.inference import folded_form
from arcface_mxnet.runtime.errors import InputError, one_line

import numpy as np
import torch
from torch import Tensor


class TorchNetwork:
    """One checkpoint on one device. A label left in the graph is fed with ones, as MXNet binds it.

    `exact`: the stored graph, operator by operator, instead of its faster equal: normalisations folded into the layers
    beside them, same values to about 1e-6.
    """

    def __init__(self, checkpoint: Checkpoint, place: Where, exact: bool = False, numerics: Numerics = FLOAT32) -> None:
        self.device, self._numerics, self._checkpoint, self._exact = place.device, numerics, checkpoint, exact
        self._by_pixel, self._run = by_pixel(numerics, place.device), Run(low=low_type(numerics))
        self._shape: Tuple[int, ...] = ()
        self._values: Dict[str, Tensor] = {}
        self._fed: List[str] = []
        self._forward: Callable[[Dict[str, Tensor]], Any] = lambda values: None

    def update(self, arguments: Mapping[str, np.ndarray], auxiliary: Mapping[str, np.ndarray]) -> None:
        """Take new parameter values."""
        self._checkpoint = Checkpoint(self._checkpoint.symbol, dict(arguments), dict(auxiliary))
        self._shape = ()

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
        set_numerics(self._numerics, self.device)
        self._bind(images.shape[1:])
        data = torch.from_numpy(np.ascontiguousarray(images)).to(self.device, non_blocking=True)
        values = {**self._values, **{name: torch.ones(len(data), device=self.device) for name in self._fed},
                  DATA: stored(data.float(), self._by_pixel)}
        try:
            with torch.inference_mode():
                return self._forward(values).reshape(len(data), -1)
        except IndexError as error:  # an index that the graph computes from its values
            raise InputError(f"PyTorch failed in this network ({one_line(error)}); use another copy "
                             "of the checkpoint") from None

    def _bind(self, shape: Tuple[int, ...]) -> None:
        """Make the fast form for images of one shape (c, h, w) and bring its values to the device."""
        if shape == self._shape:
            return
        form = self._checkpoint if self._exact else folded_form(self._checkpoint, (1, *shape))
        graph = Interpreter(form.symbol)
        given = {**form.args, **form.aux}
        wanted = [*graph.arguments, *graph.auxiliary]
        self._values = {name: placed(np.asarray(given[name]), self.device, self._by_pixel)
                        for name in wanted if name in given}
        self._fed = [name for name in wanted if name not in given and name != DATA]
        run = self._run

        def forward(values: Dict[str, Tensor]) -> Tensor:
            return graph(values, run)[0]

        self._forward = compiled(forward, self.device, self._by_pixel) if self._numerics.compile else forward
        self._shape = shape
