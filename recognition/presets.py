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

LOSSES = EasyDict({
    # One margin function: (loss_m1, loss_m2, loss_m3) of equation L4, s = 64; `source` is what --list prints.
    "softmax": {"loss_name": "softmax", "source": "ArcFace L1"},
    "nsoftmax": {"loss_name": "margin_softmax", "source": "ArcFace L2, Table 2"},
    "arcface": {"loss_name": "margin_softmax", "loss_m2": 0.5, "source": "ArcFace L3"},
    "arcface040": {"loss_name": "margin_softmax", "loss_m2": 0.4, "source": "ArcFace Table 2"},
    "arcface045": {"loss_name": "margin_softmax", "loss_m2": 0.45, "source": "ArcFace Table 2"},
    "arcface055": {"loss_name": "margin_softmax", "loss_m2": 0.55, "source": "ArcFace Table 2"},
    "cosface": {"loss_name": "margin_softmax", "loss_m3": 0.35, "source": "ArcFace Table 2; CosFace"},
    "sphereface135": {"loss_name": "margin_softmax", "loss_m1": 1.35, "source": "ArcFace Table 2"},
    "combined": {"loss_name": "margin_softmax", "loss_m2": 0.3, "loss_m3": 0.2, "source": "original sample_config"},
    "cm1": {"loss_name": "margin_softmax", "loss_m2": 0.3, "loss_m3": 0.2, "source": "ArcFace Table 2"},
    "cm2": {"loss_name": "margin_softmax", "loss_m1": 0.9, "loss_m2": 0.4, "loss_m3": 0.15,
            "source": "ArcFace Table 2"},
})

DATASETS = EasyDict({
    # Counts, folder and files of a published set are in datasets/catalog.py under the same name.
    "emore": {"recipe": "ms1mv2"},  # original sample_config; MS1MV2 of the paper
    "retina": {"recipe": "ms1mv2"},  # original sample_config; MS1MV3 of the later paper
    "webface": {"recipe": "casia"},  # CASIA of the paper
    "vgg": {"recipe": "ms1mv2"},
    "ms1m": {"recipe": "ms1mv2"},
    "ms1mr": {"recipe": "ms1mv2"},
    "glint360k": {"recipe": "glint360k"},
    "asian": {"recipe": "ms1mv2"},
    "demo": {"recipe": "demo"},  # the built-in faces: drawn, of nobody
    "own": {"recipe": "original"},  # a set of your own: --data-dir DIR; identities are read from its property
})

RECIPES = EasyDict({
    # Steps count batches of 512 = 4 x 128 images; they are not scaled to another batch (nor did the original).
    "original": {"lr": 0.1, "lr_steps": (100000, 160000, 220000), "max_steps": 0},  # original flag defaults
    "casia": {"lr": 0.1, "lr_steps": (20000, 28000), "max_steps": 32000},  # paper, section 3.1
    "ms1mv2": {"lr": 0.1, "lr_steps": (100000, 160000), "max_steps": 180000},  # paper, section 3.1
    "glint360k": {"lr": 0.1, "lr_steps": (200000, 400000, 500000, 550000), "max_steps": 600000},  # partial FC, 8 GPUs
})
