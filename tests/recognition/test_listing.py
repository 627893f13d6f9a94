from arcface_mxnet.recognition.listing import dataset_row, listing, loss_row, network_row
from arcface_mxnet.recognition.presets import DATASETS, LOSSES, NETWORKS, RECIPES


def test_rows_are_the_facts_figures():
    assert network_row("r50") == ["r50", "fresnet", "43,590,848", "12.6G", "512"]
    assert network_row("y1") == ["y1", "fmobilefacenet", "1,003,264", "439.8M", "128"]
    assert loss_row("cm2") == ["cm2", "margin_softmax", "64", "0.9, 0.4, 0.15", "ArcFace Table 2"]
    assert dataset_row("emore") == ["emore", "data/faces_emore", "85,742", "5,822,653", "ms1mv2"]
    assert dataset_row("own")[2:4] == ["-", "-"]


def test_every_preset_is_listed():
    lines = [line.split()[0] for line in listing().splitlines() if line.startswith("  ")]
    assert lines == [name for table in (NETWORKS, LOSSES, DATASETS, RECIPES) for name in ("name", *table)]
