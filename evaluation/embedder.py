"""A saved checkpoint (or several) to embeddings of images; no network code is needed, the graph is in the file."""
import math
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

from arcface_mxnet.engines.base import AUTO, FILE_ENGINES, FLOAT32, Numerics, Place, place
from arcface_mxnet.engines.choice import ChosenNetwork, for_files
from arcface_mxnet.evaluation.features import normalise
from arcface_mxnet.graph.checkpoint import NO_TRUST, Checkpoint, Trust, embedding_only, in_float32, load, parse_model
from arcface_mxnet.graph.describe import image_shape, require_image
from arcface_mxnet.graph.nodes import output_shapes
from arcface_mxnet.graph.params_file import Arrays
from arcface_mxnet.graph.symbol import Symbol
from arcface_mxnet.runtime.errors import InputError, unknown

import numpy as np

BATCH = 32  # images per forward pass and device
FLIPS = ("none", "sum", "concatenate")
"""What is made of the embeddings of an image and of its mirror image."""


ONNX_SUFFIX = ".onnx"
Model = Union[Checkpoint, Path]
"""A checkpoint, or the path of an ONNX file."""


def is_onnx(models: str) -> bool:
    """Whether a --model value names an ONNX file."""
    return any(text.endswith(ONNX_SUFFIX) for text in models.split("|"))


def _loaded(models: str, trust: Trust) -> List[Model]:
    return [Path(text) if is_onnx(text) else load(*parse_model(text), trust=trust) for text in models.split("|")]


def place_for(models: Optional[str], engine: Optional[str] = None, devices: Optional[str] = None) -> Place:
    """engines.base.place for a --model value: None for an engine is one that runs files where it names an ONNX file."""
    return place(FILE_ENGINES[0] if engine is None and is_onnx(models or "") else engine, devices)


def _network(model: Model, where: Place, exact: bool, numerics: Numerics) -> Any:
    if isinstance(model, Checkpoint):
        return where.engine.network(model, where.devices, exact, numerics)
    if numerics != FLOAT32:
        raise InputError(f"{model}: an ONNX file runs as it is; leave out the flags of precision and speed")
    if where.engine.NAME == AUTO:
        places = for_files(where.devices)  # first, for where no such engine is installed ONNX may not be either
        from arcface_mxnet.engines.file_choice import file_network
        return file_network(model, places, exact)
    if where.engine.NAME not in FILE_ENGINES:
        raise InputError(f"{model}: an ONNX file runs with --engine {' or '.join(FILE_ENGINES)}, not with "
                         f"{where.engine.NAME}")
    from arcface_mxnet.engines.onnx_file import OnnxFile  # ONNX loads only where it is used
    return OnnxFile(model, where)


def _as_saved(model: Checkpoint) -> Checkpoint:
    """The embedding network as it is loaded from a file: a network in training may hold casts to half precision."""
    network = embedding_only(model)
    return Checkpoint(in_float32(network.symbol), network.args, network.aux)


class Embedder:
    """Embeddings of images by one or several checkpoints, or ONNX files.

    `where`: the engine and its devices, from engines.base.place; None for the default engine on the devices it chooses.
    `batch_size`: images per forward pass and device (MXNet on a CPU: at most 8, unless exact); the last may be smaller.
    `exact`: run the stored graph untouched instead of its faster equal (graph.inference: same values to about 1e-6).
    `numerics`: reduced precision and the like, where the engine has them.
    """

    def __init__(self, checkpoint: Union[Model, Sequence[Model]], where: Optional[Place] = None,
                 batch_size: int = BATCH, exact: bool = False, numerics: Numerics = FLOAT32) -> None:
        if batch_size < 1:
            raise InputError(f"--batch-size {batch_size}: at least 1")
        models = [checkpoint] if isinstance(checkpoint, (Checkpoint, Path)) else list(checkpoint)
        if not models:
            raise InputError("no model given; use --model PREFIX,EPOCH")
        if where is None:
            where = place(FILE_ENGINES[0] if any(isinstance(model, Path) for model in models) else None)
        if where.engine.NAME == AUTO and all(isinstance(model, Path) for model in models):
            where = Place(where.engine, for_files(where.devices))  # it then says which are measured
        self._where, self._numerics = where, numerics
        self.batch_size = batch_size
        self._models = [model if isinstance(model, Path) else _as_saved(model) for model in models]
        self._networks = [_network(model, where, exact, numerics) for model in self._models]
        self._checked: Tuple[int, ...] = ()

    @classmethod
    def load(cls, models: str, where: Optional[Place] = None, batch_size: int = BATCH, exact: bool = False,
             numerics: Numerics = FLOAT32, trust: Trust = NO_TRUST) -> "Embedder":
        """From the command line's form: "PREFIX,EPOCH", a folder that `export safetensors` wrote, or an ONNX file.

        Several are joined by "|", as in the original's MegaFace script.
        """
        return cls(_loaded(models, trust), where, batch_size, exact, numerics)

    @property
    def image_size(self) -> Tuple[int, int]:
        """(height, width) of the images that the first model was made for; raises InputError where none fits."""
        model = self._models[0]
        if isinstance(model, Checkpoint):
            _, height, width = image_shape(model)
            return height, width
        height, width = self._networks[0].wanted.image[1:]
        if height is None or width is None:
            raise InputError(f"{model}: takes images of any size; give crops of the size it was trained on")
        return height, width

    def update(self, args: Arrays, aux: Arrays) -> None:
        """Give the only model new parameter values, as training does before each validation; nothing else changes."""
        stored = self._models[0]
        if len(self._networks) != 1 or not isinstance(stored, Checkpoint):
            raise ValueError("update() is for an embedder of one checkpoint")
        model = embedding_only(Checkpoint(stored.symbol, args, aux))
        self._networks[0].update(model.args, model.aux)

    def about(self) -> Dict[str, Any]:
        """What runs it, for a result: `engine`, and with --engine auto what each network's choice was made on."""
        chosen = [network.record for network in self._networks if isinstance(network, ChosenNetwork) and network.record]
        return {"engine": self._where.describe(self._numerics), **({"choices": chosen} if chosen else {})}

    def check(self, image: Tuple[int, ...]) -> None:
        """Raise InputError where a network does not take images of this shape (c, h, w)."""
        if image != self._checked:
            for model, network in zip(self._models, self._networks):
                if isinstance(model, Checkpoint):
                    require_image(model, image)
                else:
                    network.check(image)
            self._checked = image

    def embed(self, images: np.ndarray, flip: str = "none") -> np.ndarray:
        """Embeddings float32 (n, d), not normalised, of images uint8 or float32 (n, c, h, w), RGB 0..255.

        `flip`: "none"; "sum" adds the embedding of the mirror image; "concatenate" puts it behind (2 d). With several
        models each one's row is L2-normalised and the rows are joined (docs/original.md, section 6.1). Raises
        InputError for images of another rank or size and for an unknown flip.
        """
        if flip not in FLIPS:
            raise unknown("flip", flip, FLIPS)
        if images.ndim != 4:
            raise InputError(f"images of shape {images.shape}: expected (images, channels, height, width)")
        if not len(images):
            raise InputError("no images to embed")
        self.check(images.shape[1:])
        parts = []
        for network in self._networks:
            rows = network.embed(images, self.batch_size)
            if flip != "none":
                mirrored = network.embed(images[..., ::-1], self.batch_size)
                rows = rows + mirrored if flip == "sum" else np.concatenate([rows, mirrored], axis=1)
            parts.append(rows)
        return parts[0] if len(parts) == 1 else np.concatenate([normalise(rows) for rows in parts], axis=1)


# How many images at once: from what a graph's activations take and what memory is free.


_LARGEST_CPU, _LARGEST_GPU = 64, 256
"""Larger batches were not faster (docs/benchmarks.md has 1 to 32 on a CPU)."""
_SHARE_OF_FREE_MEMORY = 0.25


def activation_bytes(symbol: Symbol, size: Tuple[int, int]) -> int:
    """Bytes of all float32 outputs inside the graph for one RGB image of `size` (height, width): an upper bound."""
    shapes = output_shapes(symbol, (1, 3, *size))
    return sum(4 * math.prod(shapes[node.name]) for node in symbol.nodes()
               if node.name in shapes and (node.name == "data" or not node.is_variable))


def fitting_batch_size(models: str, size: Tuple[int, int], where: Place, trust: Trust = NO_TRUST,
                       exact: bool = False) -> int:
    """The largest power of two (at most 64 on a CPU, 256 on a GPU) whose activations fit a quarter of free memory.

    No more than the engine takes at once, of the stored graph if `exact`. What an ONNX file takes is not known; it
    counts for nothing.
    """
    each = sum(activation_bytes(embedding_only(one).symbol, size) for one in _loaded(models, trust)
               if isinstance(one, Checkpoint))
    free = where.engine.free_bytes(where.devices)
    batch = _LARGEST_GPU if where.engine.on_gpu(where.devices) else _LARGEST_CPU
    batch = min(batch, where.engine.largest_batch(where.devices, exact) or batch)
    while batch > 1 and batch * each > free * _SHARE_OF_FREE_MEMORY:
        batch //= 2
    return batch
