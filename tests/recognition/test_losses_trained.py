"""`train.py --loss NAME` learns: one preset of every family on built-in faces; drop and CVC on what came of it.

All presets, for longer: benchmarks/losses.py and docs/losses.md.
"""
import json
import math

from arcface_mxnet.datasets.ages import read_ages
from arcface_mxnet.datasets.images import decode_bgr, encode_jpeg
from arcface_mxnet.datasets.pairs import write_pack
from arcface_mxnet.datasets.record_writer import RecordWriter
from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.datasets.synthetic import write_training_set
from arcface_mxnet.evaluation.embedder import Embedder
from arcface_mxnet.evaluation.extraction import record_embeddings
from arcface_mxnet.recognition import drop, train
from arcface_mxnet.recognition.engine.checkpoint import network_of
from arcface_mxnet.recognition.presets import LOSSES, NETWORKS

import cv2
import numpy as np
import pytest

IDENTITIES, IMAGES, PAIRS, STEPS, SIDE = 10, 48, 400, 120, 16
FAMILIES = {**{LOSSES[name].loss_name: name for name in reversed(list(LOSSES))}, "margin_softmax": "arcface",
            "intra_inter": "arcface_intra_inter", "atriplet": "atriplet_bag", "mv_softmax": "mvam"}
SLOWER = {"mv_softmax": 3 * STEPS,  # its hard negatives weigh more than the target for long
          "atriplet": 2 * STEPS}
pytestmark = pytest.mark.slow


def reduced(encoded):
    """One JPEG at 16x16: half the time of 32x32, and these people are told apart as well."""
    return encode_jpeg(cv2.resize(decode_bgr(encoded), (SIDE, SIDE), interpolation=cv2.INTER_AREA), 95)


@pytest.fixture(scope="module", autouse=True)
def network():
    """`--network little`: the preset `small` for these images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NETWORKS, "little", {**NETWORKS["small"], "image_shape": (SIDE, SIDE, 3)})
        yield


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """10 drawn people with ages; `known`: pairs of pictures of theirs."""
    folder = tmp_path_factory.mktemp("faces")
    full = tmp_path_factory.mktemp("faces112")
    write_training_set(full, IDENTITIES, IMAGES, seed=5, workers=1)
    records = RecordSet.open(full)
    pictures = [reduced(records.read(int(key))[1]) for key in records.keys]
    with RecordWriter(folder, (SIDE, SIDE)) as writer:
        for label in range(IDENTITIES):
            writer.add(label, pictures[label * IMAGES:(label + 1) * IMAGES])
    (folder / "ages.tsv").write_bytes((full / "ages.tsv").read_bytes())
    chance = np.random.RandomState(0)
    known, truth = [], []
    for number in range(PAIRS):
        person, other = chance.choice(IDENTITIES, 2, replace=False)
        first, second = chance.choice(IMAGES, 2, replace=False)
        known += [pictures[person * IMAGES + first], pictures[(other if number % 2 else person) * IMAGES + second]]
        truth.append(number % 2 == 0)
    write_pack(folder / "known.bin", known, truth)
    return folder


def accuracy(faces, folder, loss, *more, steps=STEPS):
    """Train by the command; the accuracy of its last validation."""
    train.main(["--network", "little", "--loss", loss, "--dataset", "own", "--recipe", "demo", "--data-dir", str(faces),
                "--run-dir", str(folder), "--gpus", "cpu", "--logit-scale", "16", "--per-batch-size",
                "32" if "triplet" not in loss else "30", "--max-steps", str(steps), "--verbose", str(steps),
                "--lr-steps", f"{steps * 3 // 4},{steps * 11 // 12}", "--val-targets", "known", "--ckpt", "0",
                "--threads", "1", *more])
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line["accuracy"] for line in lines if line["kind"] == "validation"][-1]


@pytest.fixture(scope="module")
def untrained(faces, tmp_path_factory):
    """The network as it begins, with BatchNorm statistics of these images."""
    return accuracy(faces, tmp_path_factory.mktemp("untrained") / "run", "arcface", "--lr", "1e-12")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Where the runs of the families are, one folder each."""
    return tmp_path_factory.mktemp("families")


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_each_family_learns(faces, untrained, runs, family):
    """People trained on are told apart better than by the untrained network, by three standard deviations."""
    rates = (accuracy(faces, runs / family, FAMILIES[family], steps=SLOWER.get(family, STEPS)), untrained)
    assert rates[0] - rates[1] > 3 * math.sqrt(sum(rate * (1 - rate) for rate in rates) / PAIRS)


def lengths_against_ages(folder, faces):
    """Correlation of |x| with the age over the training images."""
    _, checkpoint, _ = network_of(folder)
    rows, _ = record_embeddings(faces, Embedder(checkpoint, batch_size=64).embed)
    records = RecordSet.open(faces)
    return np.corrcoef(np.linalg.norm(rows, axis=1), read_ages(records)[records.keys])[0, 1]


def test_lengths_follow_the_ages_that_are_fed(faces, runs):
    """OE-CNN's |x| tells the age; without the term (ArcFace) it does not."""
    with_ages, without = (lengths_against_ages(runs / family, faces) for family in ("age", "margin_softmax"))
    assert with_ages - without > 3 / np.sqrt(IDENTITIES * IMAGES)


def test_the_drop_step_removes_wrongly_labelled_images(faces, tmp_path, capsys):
    """A quarter of the images is given to somebody else; the sub-centre run and its drop leave far fewer of them."""
    clean, noisy, chance = RecordSet.open(faces), tmp_path / "noisy", np.random.RandomState(3)
    noisy.mkdir()
    wrong = chance.rand(clean.images) < 0.25
    given = (clean.labels + np.where(wrong, chance.randint(1, IDENTITIES, clean.images), 0)) % IDENTITIES
    bytes_of = [clean.read(int(key))[1] for key in clean.keys]
    with RecordWriter(noisy, (SIDE, SIDE)) as writer:
        for label in range(IDENTITIES):
            writer.add(label, [bytes_of[place] for place in np.flatnonzero(given == label)])
    train.main(["--network", "little", "--loss", "subcentre", "--logit-scale", "16", "--dataset", "own",
                "--recipe", "demo", "--data-dir", str(noisy), "--run-dir", str(tmp_path / "run"), "--gpus", "cpu",
                "--per-batch-size", "32",
                "--max-steps", "250", "--lr-steps", "180,220", "--val-targets", "", "--ckpt", "0"])
    drop.main(["--run-dir", str(tmp_path / "run"), "--data-dir", str(noisy), "--out", str(tmp_path / "clean")])
    assert "kept" in capsys.readouterr().out
    left = RecordSet.open(tmp_path / "clean")
    kept = np.isin(bytes_of, [left.read(int(key))[1] for key in left.keys])
    assert (~kept[wrong]).mean() > 2 * (~kept[~wrong]).mean()
    assert wrong[kept].mean() < 0.6 * wrong.mean()
