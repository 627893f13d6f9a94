"""A checkpoint as an ONNX file that is known to agree with what it was made from."""
from typing import Any, Mapping

from arcface_mxnet.engines.base import Place, place
from arcface_mxnet.engines.onnxruntime.engine import devices, session
from arcface_mxnet.graph.checkpoint import Checkpoint, embedding_only
from arcface_mxnet.graph.describe import image_shape
from arcface_mxnet.graph.to_onnx import onnx_model
from arcface_mxnet.runtime.errors import InputError, one_line
from arcface_mxnet.runtime.files import atomic_path

import numpy as np

LARGEST_DIFFERENCE = 1e-4
"""Of an output to the engine's, as a share of the length of the longest embedding."""


def write_onnx(checkpoint: Checkpoint, path: str, metadata: Mapping[str, str], where: Any = None) -> float:
    """Write `path`, free in the batch, checked and compared; returns the largest difference to the engine `where`.

    The file appears only after onnx's checker accepts it and ONNX Runtime's outputs, on batches of one and three
    images, differ from the stored graph's by less than 1e-4 of an embedding's length; otherwise InputError says why and
    nothing is left behind. `where`: an engines.base.Place, the default engine on the CPU when not given.
    """
    model = onnx_model(checkpoint)
    for key, value in metadata.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    content = model.SerializeToString()
    difference = verify(checkpoint, content, path, where or place(None, "cpu"))
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return difference


def verify(checkpoint: Checkpoint, content: bytes, name: str, where: Place) -> float:
    """Largest difference of an ONNX model's outputs to an engine's, as a share of the longest embedding's length.

    Raises InputError, naming the file, if it is no copy of the checkpoint.
    """
    import onnx

    try:
        onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    except Exception as error:  # onnx raises kinds of its own, from C++ too
        raise InputError(f"{name}: not a valid ONNX file ({one_line(error)}); it was not kept") from None
    run = session(content, devices("cpu"), name)
    network = where.engine.network(embedding_only(checkpoint), where.devices, exact=True)
    random, largest, longest = np.random.RandomState(0), 0.0, 0.0
    for batch in (1, 3):
        images = random.randint(0, 256, (batch,) + image_shape(checkpoint)).astype(np.float32)
        expected = network.embed(images, batch)
        try:
            output = run.run(None, {run.get_inputs()[0].name: images})[0].reshape(batch, -1)
        except Exception as error:
            raise InputError(f"{name}: ONNX Runtime fails on it ({one_line(error)}); it was not kept") from None
        if output.shape != expected.shape:
            raise InputError(f"{name}: gives {output.shape} in place of {expected.shape}; it was not kept")
        largest = max(largest, float(np.abs(output - expected).max()))
        longest = max(longest, float(np.linalg.norm(expected.astype(np.float64), axis=1).max()))
    share = largest / longest if longest else np.inf
    if not share < LARGEST_DIFFERENCE:
        raise InputError(f"{name}: differs from {where.engine.NAME} by {share:.1e} of an embedding's length, more than "
                         f"{LARGEST_DIFFERENCE:.0e}; it was not kept")
    return share
