"""What `train.py --list` prints: every network, loss, dataset and recipe, with the figures that tell them apart."""
import math
from typing import Any, List, Sequence

from arcface_mxnet.datasets import catalog
from arcface_mxnet.graph.describe import count_flops, format_flops
from arcface_mxnet.recognition.losses import LossSettings
from arcface_mxnet.recognition.networks import NetworkSettings, build
from arcface_mxnet.recognition.presets import DATASETS, LOSSES, NETWORKS, RECIPES
from arcface_mxnet.recognition.settings import default_folder, part_of


def network_row(name: str) -> List[str]:
    """Name, family, learnable parameters, FLOPs of one image (original's counter), length of the embedding."""
    settings = part_of(NetworkSettings, NETWORKS[name])
    symbol = build(settings)
    shapes, _, _ = symbol.infer_shape(data=settings.input_shape)
    count = sum(math.prod(shape) for argument, shape in zip(symbol.list_arguments(), shapes) if argument != "data")
    return [name, settings.net_name, f"{count:,}", format_flops(count_flops(symbol, settings.input_shape)),
            str(settings.emb_size)]


def loss_row(name: str) -> List[str]:
    """Name, family, scale, margins (m1, m2 in radians, m3) and source."""
    settings = part_of(LossSettings, LOSSES[name])
    margins = f"{settings.loss_m1:g}, {settings.loss_m2:g}, {settings.loss_m3:g}"
    return [name, settings.loss_name, f"{settings.loss_s:g}", margins, settings.source]


def dataset_row(name: str) -> List[str]:
    """Name, folder, identities, images, recipe."""
    published = catalog.TRAINING_SETS.get(name)
    counts = [_count(getattr(published, key, None)) for key in ("identities", "images")]
    return [name, str(default_folder(name)), *counts, DATASETS[name]["recipe"]]


def recipe_row(name: str) -> List[str]:
    """Name, base rate, steps of the drops, last step."""
    recipe = RECIPES[name]
    return [name, f"{recipe['lr']:g}", ", ".join(map(str, recipe["lr_steps"])), str(recipe["max_steps"] or "none")]


def listing() -> str:
    """The four tables as text."""
    parts = [
        ("networks", ("name", "family", "parameters", "FLOPs", "embedding"), [network_row(name) for name in NETWORKS]),
        ("losses", ("name", "family", "scale", "m1, m2, m3", "source"), [loss_row(name) for name in LOSSES]),
        ("datasets", ("name", "folder", "identities", "images", "recipe"), [dataset_row(name) for name in DATASETS]),
        ("recipes", ("name", "rate", "drops to a tenth after", "steps"), [recipe_row(name) for name in RECIPES]),
    ]
    return "\n".join(_table(title, columns, rows) for title, columns, rows in parts)


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[place]) for row in [columns, *rows]) for place in range(len(columns))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in [columns, *rows]]
    return "\n".join([title, *(f"  {line}" for line in lines), ""])


def _count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else "-"


