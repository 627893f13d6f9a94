"""Embeddings of every image of a list, for protocols that may not leave one out."""
from typing import Any, Callable, Dict, Optional, Tuple

from arcface_mxnet.evaluation.command import load_features
from arcface_mxnet.evaluation.extraction import EMBEDDINGS_FILE, extract
from arcface_mxnet.evaluation.sources import Source
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import PathLike

import numpy as np


def complete_embeddings(source: Source, embed: Callable[[np.ndarray], np.ndarray], folder: PathLike,
                        settings: Dict[str, Any], size: Optional[Tuple[int, int]] = (112, 112)) -> np.ndarray:
    """(n, d) embeddings kept in `folder` (a stopped run goes on); raises InputError when an image cannot be read."""
    done = extract(source, embed, folder, settings, size)
    if done.unreadable:
        _, name, reason = done.unreadable[0]
        raise InputError(f"{len(done.unreadable)} images cannot be read, the first: {name} ({reason}); "
                         f"all are listed in {folder}")
    return load_features(f"{folder}/{EMBEDDINGS_FILE}")
