"""Every named setting of the paper, as data: NETWORKS, LOSSES, DATASETS, RECIPES.

Keys are the original's configuration names. Each entry carries its source. `recognition.settings.resolve` turns a
choice of names and flags into one frozen Settings; nothing else reads these tables.
"""
from easydict import EasyDict

NETWORKS = EasyDict({
    "r18": {"net_name": "fresnet", "num_layers": 18},
    "r34": {"net_name": "fresnet", "num_layers": 34},  # released as r34-amf
    "r50": {"net_name": "fresnet", "num_layers": 50},  # original sample_config; paper, all tables with R50
    "r100": {"net_name": "fresnet", "num_layers": 100},  # original sample_config; paper, all tables with R100
    "r100fc": {"net_name": "fresnet", "num_layers": 100, "net_output": "FC"},  # original sample_config
    "r50v1": {"net_name": "fresnet", "num_layers": 50, "net_unit": 1},  # original sample_config
    "y1": {"net_name": "fmobilefacenet", "emb_size": 128, "net_output": "GDC"},  # released as y1
    "y2": {"net_name": "fmobilefacenet", "emb_size": 256, "net_output": "GDC", "net_blocks": (2, 8, 16, 4)},
})
