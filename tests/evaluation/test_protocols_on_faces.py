"""The commands on the built-in faces, pictures and a checkpoint to figures: MegaFace, IJB-C, Trillion-Pairs, YTF."""
import json

from arcface_mxnet.datasets.synthetic import write_megaface, write_templates
from arcface_mxnet.evaluation import trillion_pairs, video
from arcface_mxnet.evaluation.ijb.__main__ import main as ijb
from arcface_mxnet.evaluation.megaface import generate
from arcface_mxnet.evaluation.megaface.__main__ import main as megaface
from arcface_mxnet.graph.checkpoint import save
from arcface_mxnet.recognition import extract
from tests.evaluation.small_network import network

import pytest


@pytest.fixture
def model(tmp_path):
    save(network(), str(tmp_path / "model"), 0)
    return ["--model", f"{tmp_path / 'model'},0", "--gpus", "cpu"]


def figures(out):
    return json.loads((out / "result.json").read_text())


def test_megaface_and_trillion_pairs(tmp_path, model):
    root = write_megaface(tmp_path / "faces", identities=4, images=2, distractors=12, seed=1, workers=1)
    lists = ["--probe-list", str(root / "facescrub_lst"), "--distractor-list", str(root / "megaface_lst")]
    images = ["--probe-images", str(root / "facescrub_images"), "--distractor-images", str(root / "megaface_images")]
    (tmp_path / "facescrub_noises.txt").write_text("Person_0001_1.jpg\n")
    (tmp_path / "megaface_noises.txt").write_text((root / "megaface_lst").read_text().splitlines()[4] + "\n")
    megaface([*model, *lists, *images, "--far", "0.01", "--distractors", "5,12", "--noises", str(tmp_path), "--out",
              str(tmp_path / "mf")])
    found = figures(tmp_path / "mf")
    assert found["12"]["trials"] == 4 * 2 and found["12"]["impostor_pairs"] == 8 * 12
    assert found["5"]["rank1"] >= found["12"]["rank1"] and found["12"]["about"]["notes"]["refined"]
    generate.main(["--model", model[1], "--gpus", "cpu", "--out", str(tmp_path / "trees"),
                   *(word for kind in ("facescrub", "megaface")
                     for word in (f"--{kind}-lst", str(root / f"{kind}_lst"), f"--{kind}-root",
                                  str(root / f"{kind}_images")))])
    megaface([*lists, "--probe-dir", str(tmp_path / "trees/facescrub"), "--distractor-dir",
              str(tmp_path / "trees/megaface"), "--far", "0.01", "--distractors", "5,12", "--noises", str(tmp_path),
              "--out", str(tmp_path / "from_trees")])
    assert figures(tmp_path / "from_trees")["12"]["tar"] == found["12"]["tar"]
    both = tmp_path / "all"
    both.mkdir()
    for kind, name in (("facescrub", "probes"), ("megaface", "gallery")):
        rows = (root / f"{kind}_lst").read_text().split()
        (both / name).write_text("".join(f"{kind}_images/{row}\n" for row in rows))
    people = [row.split("/")[0] for row in (root / "facescrub_lst").read_text().split()]
    (both / "ids").write_text("\n".join(people) + "\n")
    trillion_pairs.main([*model, "--images", str(root), "--probe-list", str(both / "probes"), "--gallery-list",
                         str(both / "gallery"), "--probe-ids", str(both / "ids"), "--out", str(tmp_path / "tp")])
    assert figures(tmp_path / "tp")["trillion_pairs"]["genuine_pairs"] == 4


def test_ijbc(tmp_path, model):
    root = write_templates(tmp_path / "faces", identities=4, images=2, seed=1, workers=1) / "IJBC"
    given = ["--target", "ijbc", "--meta", str(root), *model, "--images", str(root / "loose_crop")]
    ijb(["verify", *given, "--out", str(tmp_path / "out")])
    found = figures(tmp_path / "out")
    assert set(found) == {"ijbc_N0D0F0", "ijbc_N1D1F2"}
    assert (found["ijbc_N0D0F0"]["templates"], found["ijbc_N0D0F0"]["genuine_pairs"]) == (8, 4)
    ijb(["identify", *given, "--mode", "N1D1F2", "--out", str(tmp_path / "out")])
    assert figures(tmp_path / "out")["ijbc_N1D1F2_separate"]["gallery"] == [2, 2]


@pytest.mark.parametrize("variant", video.VARIANTS)
def test_ytf(tmp_path, model, variant):
    """From frame folders, and from what recognition/extract.py saves of them: the same figures."""
    root = write_megaface(tmp_path / "faces", identities=4, images=6, distractors=1, seed=1, workers=1)
    people = sorted((root / "facescrub_images").iterdir())
    for person in people:
        for number, picture in enumerate(sorted(person.iterdir())):
            frame = tmp_path / "frames" / person.name / str(number // 3) / picture.name
            frame.parent.mkdir(parents=True, exist_ok=True)
            picture.rename(frame)
    names = [person.name for person in people]
    rows = [f"{split}, {pair}, {names[pair]}/0, {names[(pair + (split if pair > 1 else 0)) % 4]}/1, {int(pair < 2)}"
            for split in (1, 2) for pair in range(4)]
    (tmp_path / "splits.txt").write_text("\n".join(rows))
    given = ["--splits", str(tmp_path / "splits.txt"), "--variant", variant, "--flip", "sum"]
    video.main([*model, *given, "--frames", str(tmp_path / "frames"), "--out", str(tmp_path / "run")])
    found = figures(tmp_path / "run")["ytf"]
    assert found["pairs"] == 8 and found["genuine"] == 4 and found["variant"] == variant
    assert len(found["fold_accuracies"]) == 2 and found["about"]["notes"]["videos"] == 7
    assert (tmp_path / "run/ytf_angles.png").exists() and "ytf accuracy" in (tmp_path / "run/result.md").read_text()
    extract.main([*model, "--images", str(tmp_path / "frames"), "--flip", "sum", "--out", str(tmp_path / "saved")])
    video.main(["--features", str(tmp_path / "saved/embeddings.npy"), "--ids", str(tmp_path / "saved/ids.txt"), *given,
                "--out", str(tmp_path / "from_saved")])
    again = figures(tmp_path / "from_saved")["ytf"]
    assert again["about"]["protocol"].endswith("flip as in the saved features") and "ids.txt" in again["about"]["data"]
    for figure in ("accuracy", "auc", "val_at_far"):
        assert again[figure] == pytest.approx(found[figure], abs=1e-6)
