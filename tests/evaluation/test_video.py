"""YTF: double loops over frames, both forms of the splits, folders and saved features, the real list of pairs."""
import dataclasses
import json
from types import SimpleNamespace

from arcface_mxnet.evaluation import video
from arcface_mxnet.evaluation.pairs import evaluate_distances
from arcface_mxnet.evaluation.video import read_splits
from arcface_mxnet.runtime.errors import InputError

import cv2
import numpy as np
import pytest
from scipy.io import savemat

NAMES = [f"Person_{number // 2}/{number % 2}" for number in range(10)]


def write_text(path):
    """Two splits of four pairs, two genuine each, without a final newline."""
    rows = []
    for split in (1, 2):
        for pair in range(4):
            first = 2 * ((split + pair) % 5)
            second = first + 1 if pair < 2 else (first + 3) % 10
            rows.append(f"{split}, {pair + 1}, {NAMES[first]}, {NAMES[second]}, {int(pair < 2)}")
    path.write_text("\n".join(rows))
    return rows


@pytest.fixture
def splits(tmp_path):
    rows = write_text(tmp_path / "splits.txt")
    return SimpleNamespace(path=tmp_path / "splits.txt", rows=rows)


def frames(name, dimensions=8):
    rng = np.random.default_rng(sum(map(ord, name)))
    person = np.random.default_rng(sum(map(ord, name.split("/")[0]))).normal(size=dimensions)
    return (person + rng.normal(size=(int(rng.integers(1, 130)), dimensions))).astype(np.float32)


def slow_distances(rows, variant):
    """Each pair by itself, frame by frame."""
    distances = []
    for row in rows:
        left, right = (frames(name.strip()).astype(float) for name in row.split(",")[2:4])
        if variant == "centre":
            a, b = (sum(x) / len(x) for x in (left, right))
            distances.append(np.sum((a / np.linalg.norm(a) - b / np.linalg.norm(b)) ** 2))
        else:
            distances.append(np.mean([np.sum((a / np.linalg.norm(a) - b / np.linalg.norm(b)) ** 2)
                                      for a in left[:100] for b in right[:100]]))
    return np.array(distances)


@pytest.mark.parametrize("variant", video.VARIANTS)
def test_saved_frames_give_the_protocols_figures(splits, tmp_path, monkeypatch, variant):
    monkeypatch.setitem(video.TEST_SETS, "ytf", dataclasses.replace(video.TEST_SETS["ytf"], pairs=8))  # as published
    pairs = read_splits(str(splits.path))
    assert pairs.splits == 2 and pairs.same.tolist() == [True, True, False, False] * 2
    ids = [f"{name}/{number:04d}.jpg" for name in NAMES for number in range(len(frames(name)))]
    rows = np.concatenate([frames(name) for name in NAMES])
    order = np.random.default_rng(0).permutation(len(rows))  # the order of the file must not matter
    (tmp_path / "ids.txt").write_text("".join(f"{ids[row]}\n" for row in order))
    np.save(tmp_path / "f.npy", rows[order])
    video.main(["--features", str(tmp_path / "f.npy"), "--ids", str(tmp_path / "ids.txt"), "--splits", str(splits.path),
                "--variant", variant, "--out", str(tmp_path / "out")])
    stored = json.loads((tmp_path / "out" / "result.json").read_text())["ytf"]
    expected = evaluate_distances(slow_distances(splits.rows, variant), pairs.same, folds=2)
    assert stored["accuracy"] == expected.accuracy and stored["auc"] == pytest.approx(expected.auc)
    shown = (tmp_path / "out" / "result.md").read_text()
    assert ("98.02" in shown) == (variant == "centre")  # the paper's figure is of its own protocol
    made = {"centre": video.centre_features, "facenet": video.facenet_features}[variant]
    found = video.evaluate_videos(np.stack([made(frames(name)) for name in pairs.videos]), pairs, variant)
    np.testing.assert_allclose(found.distances, slow_distances(splits.rows, variant), rtol=1e-6)


def test_a_zero_frame_keeps_its_distance():
    found = video.facenet_features(np.array([[0.0, 0], [2, 0]])), video.facenet_features(np.array([[0.0, 3]]))
    pairs = SimpleNamespace(pairs=np.array([[0, 1], [1, 1]]), same=np.array([False, True]), splits=1)
    result = video.evaluate_videos(np.stack(found), pairs, "facenet")
    np.testing.assert_allclose(result.distances, [(1 + 2) / 2, 0])


def test_the_mat_file_says_the_same(splits, tmp_path):
    table = np.array([[NAMES.index(part.strip()) + 1 for part in row.split(",")[2:4]] + [int(row[-1])]
                      for row in splits.rows])
    names = np.empty((len(NAMES), 1), dtype=object)
    names[:, 0] = NAMES
    savemat(tmp_path / "meta_and_splits.mat", {"video_names": names,
                                               "Splits": table.reshape(2, 4, 3).transpose(1, 2, 0).astype(float)})
    mat, text = read_splits(str(tmp_path / "meta_and_splits.mat")), read_splits(str(splits.path))
    assert mat.splits == 2 and mat.videos == tuple(NAMES)
    for one, other in zip(mat.pairs, text.pairs):
        assert [mat.videos[i] for i in one] == [text.videos[i] for i in other]
    np.testing.assert_array_equal(mat.same, text.same)


@pytest.mark.parametrize("variant", video.VARIANTS)
def test_frame_folders_are_embedded_video_by_video(tmp_path, variant):
    rng = np.random.default_rng(0)
    for name in NAMES[:2]:
        (tmp_path / name).mkdir(parents=True)
        for number in range(3):
            cv2.imwrite(str(tmp_path / name / f"{number}.png"), rng.integers(0, 256, (16, 16, 3), np.uint8))
    (tmp_path / NAMES[0] / "9.jpg").write_bytes(b"broken")
    embed = lambda images: images.mean(axis=(2, 3)).astype(np.float32)  # noqa: E731
    found = video.features_from_frames(str(tmp_path), NAMES[:2], embed, (16, 16), variant)
    made = {"centre": video.centre_features, "facenet": video.facenet_features}[variant]
    for name, feature in zip(NAMES, found):
        images = [cv2.imread(str(tmp_path / name / f"{number}.png"))[..., ::-1] for number in range(3)]
        np.testing.assert_allclose(feature, made(np.array([image.mean(axis=(0, 1)) for image in images])), rtol=1e-5)
    with pytest.raises(InputError, match=f"1 of 3 videos are not in .*the first: {NAMES[2]}"):
        video.features_from_frames(str(tmp_path), NAMES[:3], embed, (16, 16), variant)


@pytest.mark.parametrize("text, words", [
    ("1, 1, a/0, a/1, 1\n2, 1, a/0, b/0\n", "line 2: expected"),
    ("", "no pair in it"),
    ("1, 1, a/0, a/1, 1\n1, 2, a/0, b/1, 0\n2, 1, a/0, b/0, 0\n", "splits of 1 to 2 pairs"),
])
def test_unusable_splits_are_refused(tmp_path, text, words):
    (tmp_path / "splits.txt").write_text(text)
    with pytest.raises(InputError, match=words):
        read_splits(str(tmp_path / "splits.txt"))


def test_a_foreign_mat_file_is_refused(tmp_path):
    (tmp_path / "x.mat").write_bytes(b"nothing")
    with pytest.raises(InputError, match="x.mat: no YTF splits"):
        read_splits(str(tmp_path / "x.mat"))
    with pytest.raises(InputError, match="y.mat: not found"):
        read_splits(str(tmp_path / "y.mat"))


def test_a_source_needs_its_companion(splits, tmp_path):
    with pytest.raises(InputError, match="--features needs --ids"):
        video.main(["--features", "f.npy", "--splits", str(splits.path), "--out", str(tmp_path)])
    with pytest.raises(InputError, match="--model needs --frames"):
        video.main(["--model", "m,0", "--splits", str(splits.path), "--out", str(tmp_path)])


def test_the_published_list_has_its_counts(fixtures):
    pairs = read_splits(str(fixtures / "ytf" / "splits.txt"))
    assert pairs.splits == 10 and len(pairs.same) == 5000 and pairs.same.sum() == 2500
    assert (pairs.same.reshape(10, 500).sum(axis=1) == 250).all()
