"""Losses: embedding and label to a training symbol. One file a family; `attach` finds it by `loss_name`.

To add one: a file here with a builder under `@register("name", formula=...)`, a line in `recognition.presets.LOSSES`,
and its float64 counterpart in tests/recognition/loss_references.py (the shared tests enrol it by itself).
"""
import importlib
import pkgutil

from arcface_mxnet.recognition.losses.head import Head, LossSettings, attach, families, formula

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["Head", "LossSettings", "attach", "families", "formula"]
