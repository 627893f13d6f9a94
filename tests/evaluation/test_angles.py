"""Table 3's angles: against loops over the definitions, known geometry, and the command end to end."""
import json
import math

from arcface_mxnet.engines.base import place
from arcface_mxnet.evaluation import angles
from arcface_mxnet.evaluation.embedder import Embedder
from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.graph.checkpoint import Checkpoint, save
from arcface_mxnet.runtime.errors import InputError

import cv2
import numpy as np
import pytest

CPU = place("mxnet", "cpu")


def degrees(a, b):
    cosine = float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))
    return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))


def slow_table(embeddings, labels, weights):
    """Table 3's four figures, as its definitions read."""
    classes = sorted(set(labels))
    centre = {}
    for name in classes:
        rows = [x / np.linalg.norm(x) for x, y in zip(embeddings, labels) if y == name]
        centre[name] = sum(rows) / len(rows)
    w_ec = np.mean([degrees(weights[name], centre[name]) for name in classes])
    w_inter = np.mean([min(degrees(weights[j], weights[k]) for k in range(len(weights)) if k != j)
                       for j in range(len(weights))])
    intra = np.mean([degrees(x, centre[y]) for x, y in zip(embeddings, labels)])
    inter = np.mean([min(degrees(centre[j], centre[k]) for k in classes if k != j) for j in classes])
    return w_ec, w_inter, intra, inter


@pytest.mark.parametrize("block", [3, 1024])
def test_the_table_is_its_definitions(monkeypatch, block):
    monkeypatch.setattr(angles, "BLOCK_ROWS", block)
    rng = np.random.default_rng(0)
    labels = rng.choice([0, 2, 3, 7], 40)
    embeddings = (rng.normal(size=(40, 6)) + 2 * rng.normal(size=(8, 6))[labels]).astype(np.float32)
    weights = rng.normal(size=(9, 6)).astype(np.float32)
    found = angles.angle_statistics(embeddings, labels, weights)
    np.testing.assert_allclose([found.w_ec, found.w_inter, found.intra, found.inter],
                               slow_table(embeddings.astype(float), labels, weights.astype(float)), rtol=1e-5)
    assert (found.classes, found.images) == (4, 40)


def test_known_geometry():
    """Two classes a right angle apart, each image 30 degrees off its centre, weights on the centres."""
    half = math.radians(30)
    rows = np.array([[math.cos(half), 0, math.sin(half)], [math.cos(half), 0, -math.sin(half)],
                     [0, 5 * math.cos(half), 5 * math.sin(half)], [0, math.cos(half), -math.sin(half)]])
    found = angles.angle_statistics(rows, np.array([0, 0, 1, 1]), np.eye(2, 3) * 7)
    np.testing.assert_allclose([found.w_ec, found.w_inter, found.intra, found.inter], [0, 90, 30, 90], atol=1e-5)
    same, different = angles.pair_angle_samples(rows, np.array([0, 0, 1, 1]), 50)
    np.testing.assert_allclose(same, [60, 60], atol=1e-4)
    assert len(different) <= 50 and different.min() > 30


def test_uniform_points_have_the_published_nearest_angle():
    """Points uniform on the sphere: 80.26 degrees for 10,000 (docs/original.md, section 8.5); more for fewer."""
    rng = np.random.default_rng(0)
    assert angles.nearest_other_angles(rng.normal(size=(2000, 512))).mean() == pytest.approx(81.4, abs=0.2)


def test_one_class_and_no_weights_have_no_between():
    found = angles.angle_statistics(np.ones((3, 4)), np.array([5, 5, 5]))
    assert found.inter is None and found.w_ec is None and found.intra == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("embeddings, labels, weights, words", [
    (np.ones((3, 4)), np.zeros(2, int), None, "3 embeddings and 2 labels"),
    (np.zeros((2, 4)), np.zeros(2, int), None, "class 0 cancel out"),
    (np.ones((2, 4)), np.array([0, 3]), np.ones((3, 4)), "labels 0 to 3 but 3 centres"),
    (np.ones((2, 4)), np.array([0, 1]), np.ones((3, 5)), "embeddings of 4 dimensions"),
])
def test_unusable_input_is_refused(embeddings, labels, weights, words):
    with pytest.raises(InputError, match=words):
        angles.angle_statistics(embeddings, labels, weights)


def test_the_command_writes_the_table(tmp_path, capsys):
    rng = np.random.default_rng(1)
    labels = np.repeat(np.arange(5), 6)
    rows = (rng.normal(size=(30, 8)) + 3 * rng.normal(size=(5, 8))[labels]).astype(np.float32)
    weights = rng.normal(size=(5, 8)).astype(np.float32)
    np.save(tmp_path / "f.npy", rows)
    (tmp_path / "l.txt").write_text("".join(f"{y}\n" for y in labels))
    centres = {"fc7_weight": np.asarray(weights, "float32")}
    save(Checkpoint(sym.Variable("data"), centres, {}), str(tmp_path / "model"), 1)
    angles.main(["--features", str(tmp_path / "f.npy"), "--labels", str(tmp_path / "l.txt"), "--centres",
                 f"{tmp_path}/model,1", "--negatives", "100", "--on", "test", "--out", str(tmp_path / "out")])
    stored = json.loads((tmp_path / "out" / "result.json").read_text())["angles"]
    expected = angles.angle_statistics(rows, labels, weights)
    assert stored["w_ec"] == pytest.approx(expected.w_ec) and stored["intra"] == pytest.approx(expected.intra)
    table = (tmp_path / "out" / "result.md").read_text()
    assert "| Intra2 |" in table and "paper" not in table  # Table 3 is of other images
    assert "W-EC:" in capsys.readouterr().out
    (tmp_path / "bad.txt").write_text("x\n" * 30)
    with pytest.raises(InputError, match="--features needs --labels"):
        angles.main(["--features", str(tmp_path / "f.npy"), "--out", str(tmp_path / "out2")])
    with pytest.raises(InputError, match="--model needs --images"):
        angles.main(["--model", "m,0", "--out", str(tmp_path / "out2")])
    with pytest.raises(InputError, match="bad.txt: line 1: 'x' is not an integer class"):
        angles.main(["--features", str(tmp_path / "f.npy"), "--labels", str(tmp_path / "bad.txt"),
                     "--out", str(tmp_path / "out2")])


def test_the_command_embeds_labelled_images_and_finds_the_centres(tmp_path, small):
    """A checkpoint with its head on folders of people: the same figures as of its embeddings and fc7_weight."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (6, 16, 16, 3), np.uint8)
    for number, picture in enumerate(pictures):
        (tmp_path / "faces" / f"p{number % 2}").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / "faces" / f"p{number % 2}" / f"{number}.png"), picture)
    (tmp_path / "faces" / "p1" / "9.png").write_bytes(b"broken")
    body = small()
    weights = rng.normal(size=(2, 5)).astype(np.float32)
    head = sym.FullyConnected(body.symbol, num_hidden=2, no_bias=True, name="fc7")
    save(Checkpoint(head, dict(body.args, fc7_weight=np.asarray(weights, "float32")), body.aux), str(tmp_path / "m"), 0)
    angles.main(["--model", f"{tmp_path}/m,0", "--images", str(tmp_path / "faces"), "--size", "16,16",
                 "--gpus", "cpu", "--negatives", "10", "--out", str(tmp_path / "out")])
    stored = json.loads((tmp_path / "out" / "result.json").read_text())["angles"]
    rows = Embedder(body, CPU).embed(pictures[..., ::-1].transpose(0, 3, 1, 2))
    expected = angles.angle_statistics(rows, np.arange(6) % 2, weights)
    assert stored["images"] == 6 and stored["w_ec"] == pytest.approx(expected.w_ec, abs=1e-3)
    assert stored["intra"] == pytest.approx(expected.intra, abs=1e-3)


@pytest.mark.parametrize("text", ["9" * 30, "9" * 5000, "1.5", "\u00b2", "1_0"])
def test_classes_beyond_int64_are_named_by_line(tmp_path, text):
    (tmp_path / "l.txt").write_text(f"1\n{text}\n")
    with pytest.raises(InputError, match="l.txt: line 2: '.*is not an integer class"):
        angles.read_labels(tmp_path / "l.txt", 2)
