"""Shapes: which parameter of a checkpoint does not fit its graph."""
from typing import Dict, Iterator, Optional, Tuple

from arcface_mxnet.runtime.mx import mx

Shape = Tuple[int, ...]

_COMMON_SIZES = ((112, 112), (112, 96), (12, 12), (24, 24), (48, 48), (100, 100), (128, 128), (224, 224))


def is_input(name: str) -> bool:
    """Whether a graph's argument is fed (images, labels) rather than learnt."""
    return name.startswith("data") or name.endswith("label")


def inferred_shapes(symbol: "mx.sym.Symbol", image: Shape) -> Optional[Dict[str, Shape]]:
    """Shapes of all arguments and states for one image of shape (c, h, w); None when the graph cannot take it."""
    try:
        args, _, aux = symbol.infer_shape_partial(data=(1,) + tuple(image))
    except mx.base.MXNetError:
        return None
    shapes = dict(zip(symbol.list_arguments(), args))
    shapes.update(zip(symbol.list_auxiliary_states(), aux))
    return {name: tuple(shape) for name, shape in shapes.items() if shape and 0 not in shape}


def disagreeing_shape(symbol: "mx.sym.Symbol", given: Dict[str, Shape]) -> Optional[Tuple[str, Shape]]:
    """The first parameter, in graph order, whose shape is not the one the graph needs, and the needed shape.

    A file does not say for which image size it is meant; the common ones are tried first, then other squares. None when
    all parameters fit at one size, or when nothing can be inferred (a graph without a variable `data`).
    """
    if "data" not in symbol.list_arguments():
        return None
    fewest: Optional[Dict[str, Shape]] = None
    for _, wrong in _trials(symbol, given):
        if not wrong:
            return None
        if fewest is None or len(wrong) < len(fewest):
            fewest = wrong
    if fewest is None:
        return None
    order = symbol.list_arguments() + symbol.list_auxiliary_states()
    first = min(fewest, key=order.index)
    return first, fewest[first]


def fitting_image(symbol: "mx.sym.Symbol", given: Dict[str, Shape]) -> Optional[Shape]:
    """The image shape (c, h, w) the parameters were made for: the first tried at which all of them fit, or None."""
    return next((image for image, wrong in _trials(symbol, given) if not wrong), None)


def _trials(symbol: "mx.sym.Symbol", given: Dict[str, Shape]) -> Iterator[Tuple[Shape, Dict[str, Shape]]]:
    """Each image shape the graph takes, with the parameters that do not fit there and what they should be."""
    for image in _candidate_images():
        needed = inferred_shapes(symbol, image)
        if needed is not None:
            yield image, {name: shape for name, shape in needed.items() if name in given and given[name] != shape}


def _candidate_images() -> Iterator[Shape]:
    for channels in (3, 1):
        for height, width in _COMMON_SIZES:
            yield (channels, height, width)
    for channels in (3, 1):
        for side in range(8, 385, 4):
            yield (channels, side, side)
