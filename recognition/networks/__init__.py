"""Image symbol to embedding symbol: one file a family, found by its registered name.

A new family is one file here with a function under `@register("name")`, one line in presets.NETWORKS, one test.
"""
import importlib
import pkgutil

from arcface_mxnet.recognition.networks.registry import NetworkSettings, build, families, register

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["NetworkSettings", "build", "families", "register"]
