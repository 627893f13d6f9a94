"""Small record sets of drawn pictures, shared by the tests of this package."""
from pathlib import Path
from typing import Callable, List, Sequence

from arcface_mxnet.datasets.records import RecordWriter

import cv2
import numpy as np
import pytest

Draw = Callable[..., np.ndarray]
Make = Callable[..., List[List[bytes]]]


def _picture(identity: int, number: int, size: int = 112) -> np.ndarray:
    """A smooth BGR picture that JPEG keeps well; another one for each (identity, number)."""
    chance = np.random.default_rng([identity, number])
    coarse = chance.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="session")
def picture() -> Draw:
    return _picture


@pytest.fixture(scope="session")
def make_set() -> Make:
    """make_set(folder, counts) writes identity k with counts[k] JPEGs and returns them, identity by identity."""
    def make(folder: Path, counts: Sequence[int], size: int = 112) -> List[List[bytes]]:
        images = [[cv2.imencode(".jpg", _picture(identity, number, size))[1].tobytes() for number in range(count)]
                  for identity, count in enumerate(counts)]
        with RecordWriter(folder, (size, size)) as writer:
            for identity, encoded in enumerate(images):
                writer.add(identity, encoded)
        return images
    return make
