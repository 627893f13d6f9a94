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
    "y1": {"net_name": "fmobilefacenet", "emb_size": 128, "net_output": "GDC", "wd": 4e-5},  # y1 and its log
    "y2": {"net_name": "fmobilefacenet", "emb_size": 256, "net_output": "GDC", "net_blocks": (2, 8, 16, 4), "wd": 4e-5},
    "m1": {"net_name": "fmobilenet", "emb_size": 256, "net_output": "GDC"},  # original sample_config, as all below
    "m05": {"net_name": "fmobilenet", "emb_size": 256, "net_output": "GDC", "net_multiplier": 0.5},
    "mnas": {"net_name": "fmnasnet", "emb_size": 256, "net_output": "GDC"},
    "mnas05": {"net_name": "fmnasnet", "emb_size": 256, "net_output": "GDC", "net_multiplier": 0.5},
    "mnas025": {"net_name": "fmnasnet", "emb_size": 256, "net_output": "GDC", "net_multiplier": 0.25},
    "d121": {"net_name": "fdensenet", "num_layers": 121, "per_batch_size": 64},  # defined there, without a preset
    "d161": {"net_name": "fdensenet", "num_layers": 161, "per_batch_size": 64},  # likewise
    "d169": {"net_name": "fdensenet", "num_layers": 169, "per_batch_size": 64},
    "d201": {"net_name": "fdensenet", "num_layers": 201, "per_batch_size": 64},
    "vargfacenet": {"net_name": "vargfacenet", "emb_size": 512, "net_output": "J", "net_multiplier": 1.25},
    # Ours, for `make demo`: the paper's units, a quarter as wide, trained on two cores in minutes.
    "demo": {"net_name": "fresnet", "num_layers": 10, "net_multiplier": 0.25, "net_input": 0, "emb_size": 128},
    # Ours, for reproduce.py: tables of many runs on 32x32 images.
    "small": {"net_name": "fsmall", "emb_size": 128, "net_output": "J", "net_act": "relu",
              "image_shape": (32, 32, 3)},
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
    "nsoftmax20": {"loss_name": "margin_softmax", "loss_s": 20.0, "source": "ArcFace v4 Table 2"},
    # Intra- and inter-loss on norm-softmax (s = 64; the later paper's rows take s = 20) and on ArcFace.
    "ns_intra": {"loss_name": "intra_inter", "options": {"intra": 1.0}, "source": "ArcFace L5"},
    "ns_intra64": {"loss_name": "intra_inter", "options": {"intra": 64.0}, "source": "ArcFace L5, weight s"},
    "ns_inter": {"loss_name": "intra_inter", "options": {"inter": 1.0}, "source": "ArcFace L6"},
    "ns_inter64": {"loss_name": "intra_inter", "options": {"inter": 64.0}, "source": "ArcFace L6, weight s"},
    "ns_intra64_inter64": {"loss_name": "intra_inter", "options": {"intra": 64.0, "inter": 64.0},
                           "source": "ArcFace L5, L6, weight s"},
    "ns_intra_inter": {"loss_name": "intra_inter", "options": {"intra": 1.0, "inter": 1.0}, "source": "ArcFace L5, L6"},
    "ns20_intra": {"loss_name": "intra_inter", "loss_s": 20.0, "options": {"intra": 1.0}, "source": "ArcFace v4 L5"},
    "ns20_inter": {"loss_name": "intra_inter", "loss_s": 20.0, "options": {"inter": 1.0}, "source": "ArcFace v4 L6"},
    "ns20_intra_inter": {"loss_name": "intra_inter", "loss_s": 20.0, "options": {"intra": 1.0, "inter": 1.0},
                         "source": "ArcFace v4 L5, L6"},
    "ns20_intra20": {"loss_name": "intra_inter", "loss_s": 20.0, "options": {"intra": 20.0},
                     "source": "ArcFace v4 L5, weight s"},
    "ns20_inter20": {"loss_name": "intra_inter", "loss_s": 20.0, "options": {"inter": 20.0},
                     "source": "ArcFace v4 L6, weight s"},
    "ns20_intra20_inter20": {"loss_name": "intra_inter", "loss_s": 20.0, "options": {"intra": 20.0, "inter": 20.0},
                             "source": "ArcFace v4 L5, L6, weight s"},
    "arcface_intra": {"loss_name": "intra_inter", "loss_m2": 0.5, "options": {"intra": 1.0},
                      "source": "ArcFace L3, L5"},
    "arcface_inter": {"loss_name": "intra_inter", "loss_m2": 0.5, "options": {"inter": 1.0},
                      "source": "ArcFace L3, L6"},
    "arcface_intra_inter": {"loss_name": "intra_inter", "loss_m2": 0.5, "options": {"intra": 1.0, "inter": 1.0},
                            "source": "ArcFace L3, L5, L6"},
    "arcface_intra64": {"loss_name": "intra_inter", "loss_m2": 0.5, "options": {"intra": 64.0},
                        "source": "ArcFace L3, L5, weight s"},
    "arcface_inter64": {"loss_name": "intra_inter", "loss_m2": 0.5, "options": {"inter": 64.0},
                        "source": "ArcFace L3, L6, weight s"},
    "arcface_intra64_inter64": {"loss_name": "intra_inter", "loss_m2": 0.5, "options": {"intra": 64.0, "inter": 64.0},
                                "source": "ArcFace L3, L5, L6, weight s"},
    # Triplets: batch of 60, lr 0.05, 5 images an identity in the original, mined from a bag of 7200 (the *_bag rows);
    # the others find their semi-hard negatives in the batch.
    "triplet": {"loss_name": "triplet", "triplet_alpha": 0.3, "triplet_bag_size": 0, "per_batch_size": 60, "lr": 0.05,
                "source": "ArcFace Table 2; original sample_config"},
    "atriplet": {"loss_name": "atriplet", "triplet_alpha": 0.35, "triplet_bag_size": 0, "per_batch_size": 60,
                 "lr": 0.05, "source": "ArcFace Table 2; original sample_config"},
    "triplet_bag": {"loss_name": "triplet", "triplet_alpha": 0.3, "triplet_bag_size": 7200, "per_batch_size": 60,
                    "lr": 0.05, "source": "original sample_config"},
    "atriplet_bag": {"loss_name": "atriplet", "triplet_alpha": 0.35, "triplet_bag_size": 7200, "per_batch_size": 60,
                     "lr": 0.05, "source": "original sample_config"},
    "arcface_triplet": {"loss_name": "margin_triplet", "loss_m2": 0.5, "triplet_alpha": 0.35, "triplet_bag_size": 0,
                        "per_batch_size": 60, "options": {"angular": True}, "source": "ArcFace Table 2"},
    "arcface_etriplet": {"loss_name": "margin_triplet", "loss_m2": 0.5, "triplet_alpha": 0.3, "triplet_bag_size": 0,
                         "per_batch_size": 60, "options": {"angular": False}, "source": "ArcFace L3; original triplet"},
    "facenet": {"loss_name": "triplet", "triplet_alpha": 0.2, "triplet_bag_size": 0, "images_per_identity": 4,
                "per_batch_size": 60, "lr": 0.05, "source": "FaceNet, CVPR 2015"},
    "subcentre": {"loss_name": "subcentre", "loss_m2": 0.5, "loss_K": 3, "source": "Sub-centre ArcFace L7"},
    "subcentre5": {"loss_name": "subcentre", "loss_m2": 0.5, "loss_K": 5, "source": "ArcFace v4 Table 3"},
    "subcentre10": {"loss_name": "subcentre", "loss_m2": 0.5, "loss_K": 10, "source": "ArcFace v4 Table 3"},
    # What the later text compares sub-centres with on noisy labels, beside co-mining and NT.
    "subcentre_softmax": {"loss_name": "subcentre_softmax", "loss_m2": 0.5, "loss_K": 3, "options": {"gamma": 0.1},
                          "source": "ArcFace v4 Table 3; SoftTriple, ICCV 2019"},
    "subcentre_compact": {"loss_name": "subcentre_compact", "loss_m2": 0.5, "loss_K": 3, "options": {"tau": 0.2},
                          "source": "ArcFace v4 Table 3; SoftTriple, ICCV 2019"},
    "nr": {"loss_name": "noise_resistance", "loss_m2": 0.5, "options": {"label": 0.9},
           "source": "Unequal-training, CVPR 2019, its program"},
    # Neighbours.
    "centre": {"loss_name": "centre", "options": {"weight": 0.003, "alpha": 0.5}, "source": "Centre loss, ECCV 2016"},
    "sphereface": {"loss_name": "sphereface", "loss_m1": 4.0, "source": "SphereFace, CVPR 2017"},
    "sphereface_plus": {"loss_name": "sphereface", "loss_m1": 4.0, "options": {"energy": 1.0},
                        "source": "SphereFace+, NeurIPS 2018"},
    "contrastive": {"loss_name": "contrastive", "images_per_identity": 4, "per_batch_size": 64,
                    "source": "Contrastive loss, CVPR 2006; DeepID2, 2014"},
    "range": {"loss_name": "range", "images_per_identity": 4, "per_batch_size": 64,
              "options": {"intra": 1e-5, "inter": 1e-4, "margin": 2e4, "count": 2}, "source": "Range Loss, ICCV 2017"},
    "marginal": {"loss_name": "marginal", "images_per_identity": 4, "per_batch_size": 64,
                 "options": {"weight": 1.0, "theta": 1.2, "xi": 0.3}, "source": "Marginal Loss, CVPRW 2017"},
    "amsoftmax": {"loss_name": "margin_softmax", "loss_s": 30.0, "loss_m3": 0.35, "source": "AM-Softmax, 2018"},
    "svam": {"loss_name": "mv_softmax", "loss_s": 32.0, "loss_m3": 0.35, "options": {"emphasis": 0.2},
             "source": "SV-Softmax, 2018, t = 1.2"},
    "svarc": {"loss_name": "mv_softmax", "loss_s": 32.0, "loss_m2": 0.5, "options": {"emphasis": 0.2},
              "source": "SV-Softmax, 2018, t = 1.2"},
    "mvam": {"loss_name": "mv_softmax", "loss_s": 32.0, "loss_m3": 0.35, "options": {"emphasis": 0.2, "fixed": True},
             "source": "MV-Softmax, AAAI 2020, fixed"},
    "mvarc": {"loss_name": "mv_softmax", "loss_s": 32.0, "loss_m2": 0.5, "options": {"emphasis": 0.2},
              "source": "MV-Softmax, AAAI 2020, adaptive, t = 0.2: equals svarc"},
    "adacos": {"loss_name": "adacos", "options": {"dynamic": True}, "source": "AdaCos, CVPR 2019, dynamic"},
    "adacos_fixed": {"loss_name": "adacos", "options": {"dynamic": False}, "source": "AdaCos, CVPR 2019, fixed"},
    "dpsoftmax": {"loss_name": "dominant", "loss_m3": 0.35, "options": {"length": 20},
                  "source": "DP-softmax, IJCV 2019"},
    "oecnn": {"loss_name": "age", "loss_m1": 1.35, "options": {"weight": 0.01}, "source": "OE-CNN, ECCV 2018"},
    "qan": {"loss_name": "quality", "images_per_identity": 4, "per_batch_size": 64, "source": "QAN, CVPR 2017"},
    "curricularface": {"loss_name": "curricular", "loss_m2": 0.5, "source": "CurricularFace, CVPR 2020"},
    "magface": {"loss_name": "magface", "source": "MagFace, CVPR 2021"},
    "adaface": {"loss_name": "adaface", "source": "AdaFace, CVPR 2022"},
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
    # Ours, two cores and minutes. s = 64 does not leave chance in so few steps on 200 identities; 16 does.
    "demo": {"lr": 0.1, "lr_steps": (700, 900), "max_steps": 1000, "per_batch_size": 64, "verbose": 250, "ckpt": 2,
             "loss_s": 16.0},
    "glint360k": {"lr": 0.1, "lr_steps": (200000, 400000, 500000, 550000), "max_steps": 600000},  # partial FC, 8 GPUs
})
