"""`--engine auto` for an ONNX file: the engines that run files are measured as for a checkpoint (engines.choice).

A file has no stored graph of MXNet to compare with; the judge is ONNX Runtime, or the first that is installed.
"""
from functools import partial
from pathlib import Path
from typing import Callable, Dict, Mapping, Tuple, Union

from arcface_mxnet.engines.base import Network
from arcface_mxnet.engines.choice import ChosenNetwork, Judge, Places
from arcface_mxnet.engines.onnx_file import OnnxFile

import numpy as np


class ChosenFile(ChosenNetwork):
    """A network that chooses its engine; `file`, as the judge runs it, knows which images it takes."""

    def __init__(self, file: OnnxFile, candidates: Mapping[str, Callable[[], Network]],
                 refused: Tuple[Tuple[str, str], ...], judge: Judge) -> None:
        super().__init__(candidates, refused, judge)
        self._file, self.wanted = file, file.wanted

    def check(self, image: Tuple[int, ...]) -> None:
        """Raise InputError where the network does not take images of this shape (c, h, w)."""
        self._file.check(image)

    def update(self, arguments: Mapping[str, np.ndarray], auxiliary: Mapping[str, np.ndarray]) -> None:
        """An ONNX file has its own values; raises ValueError."""
        self._file.update(arguments, auxiliary)


def file_network(path: Path, places: Places, exact: bool = False) -> Union[OnnxFile, ChosenFile]:
    """An ONNX file, ready to embed; `exact`: the judge itself, and nothing is measured.

    `places`: of engines.choice.for_files, the judge's first. Raises InputError where the judge cannot load the file.
    """
    first, name = places.usable[0], str(places.usable[0].engine.NAME)
    file = OnnxFile(path, first)
    if exact:
        return file
    candidates: Dict[str, Callable[[], Network]] = {name: lambda: file}
    candidates.update((str(one.engine.NAME), partial(OnnxFile, path, one)) for one in places.usable[1:])
    about = f"{name} {first.engine.version()} (an ONNX file has no stored graph of MXNet to compare with"
    if file.quantised:
        about += "; engines round eight-bit ones each in its own way, so name the one that it was made for"
    return ChosenFile(file, candidates, places.refused, Judge(lambda: file, f"{about})", name))
