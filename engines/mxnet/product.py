"""Products of float32 matrices in the background, by MXNet's oneDNN."""
from typing import List, Optional, Tuple

from arcface_mxnet.engines.mxnet.mx import mx

import numpy as np


class Product:
    """Two output buffers shared with MXNet without a copy; one is filled while the other is read."""

    def __init__(self, rows: np.ndarray, widest: int) -> None:
        self._rows = mx.nd.from_numpy(rows[:], zero_copy=True)
        self._memory = [np.empty(len(rows) * widest, np.float32) for _ in range(2)]
        self._running: List[Optional[Tuple[np.ndarray, mx.nd.NDArray, mx.nd.NDArray]]] = [None, None]

    def launch(self, slot: int, columns: np.ndarray) -> None:
        """Start rows x columns.T into buffer `slot`; returns at once."""
        height, width = self._rows.shape[0], len(columns)
        scores = self._memory[slot][:height * width].reshape(height, width)
        right = mx.nd.from_numpy(np.array(columns, np.float32, order="C"), zero_copy=True)
        out = mx.nd.from_numpy(scores[:], zero_copy=True)
        mx.nd.FullyConnected(self._rows, right, no_bias=True, num_hidden=width, out=out)
        self._running[slot] = (scores, right, out)

    def wait(self, slot: int) -> np.ndarray:
        """The finished scores of buffer `slot`."""
        running = self._running[slot]
        assert running is not None
        scores, _, out = running
        out.wait_to_read()
        self._running[slot] = None
        return scores
