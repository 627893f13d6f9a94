"""ArcFace, the paper itself: losses, networks, record files, recipes and benchmarks.

The folders of the repository's root are this package's parts (`datasets/records.py` is
`arcface_mxnet.datasets.records`); the links beside this file say so to Python, to type checkers and to editors.

The names below are the library, documented in `evaluation/library.py`; its libraries load when one is first used.
"""
import importlib
from typing import TYPE_CHECKING, Any, List

from arcface_mxnet.runtime.errors import take_over

if TYPE_CHECKING:
    from arcface_mxnet.evaluation.library import (
        Comparison,
        Embedder,
        Face,
        Identities,
        Neighbours,
        Picture,
        align,
        compare,
        detect,
        embed,
        identities,
        load,
        open_detector,
        read,
        search,
    )

__all__ = ["Comparison", "Embedder", "Face", "Identities", "Neighbours", "Picture", "align", "compare", "detect",
           "embed", "identities", "load", "open_detector", "read", "search"]

take_over()


def __getattr__(name: str) -> Any:
    """A name of the library."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.evaluation.library"), name)


def __dir__() -> List[str]:
    return sorted([*globals(), *__all__])
