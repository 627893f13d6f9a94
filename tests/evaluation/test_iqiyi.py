"""iQIYI-VID: MAP against loops, centres, the MLP's graph, and every step of Table 9 through the command."""
import json
from dataclasses import replace

from arcface_mxnet.evaluation import iqiyi, paper
from arcface_mxnet.evaluation.iqiyi import (
    MlpSettings,
    Videos,
    centre_scores,
    ensemble,
    frame_centres,
    mean_average_precision,
    network,
    read_labels,
    train,
)
from arcface_mxnet.graph.checkpoint import save
from arcface_mxnet.runtime.errors import InputError

import cv2
import numpy as np
import pytest


def slow_map(scores, classes, depth):
    found = []
    for person in range(scores.shape[1]):
        ranked = sorted(range(len(classes)), key=lambda video, person=person: (-scores[video, person], video))[:depth]
        total = sum(label == person + 1 for label in classes)
        if not total:
            continue
        hits, precision = 0, 0.0
        for place, video in enumerate(ranked, 1):
            if classes[video] == person + 1:
                hits += 1
                precision += hits / place
        found.append(precision / total)
    return np.mean(found)


@pytest.mark.parametrize("levels", [3, 10 ** 6])
@pytest.mark.parametrize("depth", [1, 10, 100])
def test_map_equals_the_slow_one(levels, depth):
    generator = np.random.default_rng(depth)
    scores, classes = generator.integers(0, levels, (200, 6)).astype(float), generator.integers(0, 6, 200)
    assert mean_average_precision(scores, classes, depth) == pytest.approx(slow_map(scores, classes, depth))


def test_map_by_hand_and_its_refusals():
    scores, classes = np.array([[0.9], [0.8], [0.7], [0.6]]), np.array([1, 0, 1, 1])
    assert mean_average_precision(scores, classes) == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    assert mean_average_precision(scores, classes, depth=2) == pytest.approx(1 / 3)
    with pytest.raises(InputError, match="no person"):
        mean_average_precision(scores, np.zeros(4, int))
    with pytest.raises(InputError, match="NaN"):
        mean_average_precision(np.full((4, 1), np.nan), classes)


def test_frame_centres_are_normalised_means():
    features, videos = np.array([[1.0, 0], [0, 1], [0, 4], [-1, 0], [1, 0]]), ["b", "b", "a", "c", "c"]
    names, centres = frame_centres(features, videos)
    assert names == ["a", "b", "c"]
    np.testing.assert_allclose(centres, [[0, 1], [0.5 ** 0.5, 0.5 ** 0.5], [0, 0]], atol=1e-7)


def test_centre_scores_are_cosines_to_the_mean_training_video():
    training = Videos(np.array([[1.0, 0], [0, 1], [0, 1]], np.float32), np.array([1, 1, 0]))
    scores = centre_scores(training, np.array([[2.0, 0]]), persons=2)
    np.testing.assert_allclose(scores, [[0.5 ** 0.5, 0]], atol=1e-7)


def test_ensemble_is_a_weighted_sum():
    np.testing.assert_allclose(ensemble([np.ones((1, 2)), np.array([[1, 3]])], [1, 0.5]), [[1.5, 2.5]])
    with pytest.raises(InputError, match="1 weights for 2"):
        ensemble([np.ones(1), np.ones(1)], [1])


def test_the_mlp_is_the_papers():
    wide = network(1024, 4935, 1024)
    shapes = dict(zip(wide.list_arguments(), wide.infer_shape(data=(2, 1024))[0]))
    assert shapes["fc1_weight"] == (1024, 1024) and shapes["fc3_weight"] == (4935, 1024)
    attributes = wide.attr_dict()
    assert all(attributes[f"fc{number}_bias"]["__lr_mult__"] == "2.0" for number in (1, 2, 3))
    additions = [name for name in wide.get_internals().list_outputs() if "plus" in name]
    assert len(additions) == 2
    narrow = network(512, 4935, 1024)
    assert len([name for name in narrow.get_internals().list_outputs() if "plus" in name]) == 1


def videos(seed, dimensions=12, people=6, each=8, spread=0.8):
    generator = np.random.default_rng(0)
    centres = generator.standard_normal((people + 1, dimensions))
    generator = np.random.default_rng(seed)
    classes = np.repeat(np.arange(people + 1), each)
    features = centres[classes] + spread * generator.standard_normal((len(classes), dimensions))
    return Videos(features.astype(np.float32), classes)


def test_the_mlp_learns_and_repeats_itself():
    training, test = videos(1), videos(2)
    settings = MlpSettings(hidden=16, epochs=25, steps=(15, 20), rate=0.1, batch=16)
    scores = train(training.features, training.classes, 7, settings).outputs(test.features)
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)
    assert np.mean(scores.argmax(axis=1) == test.classes) > 0.8
    again = train(training.features, training.classes, 7, settings).outputs(test.features)
    np.testing.assert_array_equal(scores, again)
    with pytest.raises(InputError, match="outside 0..3"):
        train(training.features, training.classes, 4, settings)


@pytest.fixture
def table_9(tmp_path):
    """Files of two face models and one context, training and test, and the command's arguments."""
    arguments = ["--hidden", "16", "--epochs", "15", "--mlp-batch-size", "16", "--out", str(tmp_path / "out")]
    for part, seed in (("train", 1), ("test", 2)):
        made = videos(seed)
        rows = np.repeat(np.arange(len(made.classes)), 3)
        for name, dimensions in (("a", 12), ("b", 16), ("c", 9)):
            frames = videos(seed + 10, dimensions).features[rows]
            frames = frames + 0.3 * np.random.default_rng(seed).standard_normal(frames.shape)
            np.save(tmp_path / f"{part}_{name}.npy", frames.astype(np.float32))
        (tmp_path / f"{part}.ids").write_text("".join(f"v{row:03d}\n" for row in rows))
        (tmp_path / f"{part}.labels").write_text("".join(
            f"v{row:03d} {'0' if label == 0 else f'person{label}'}\n" for row, label in enumerate(made.classes)))
        arguments += [f"--{part}-features", str(tmp_path / f"{part}_a.npy"), str(tmp_path / f"{part}_b.npy"),
                      f"--context-{part}", str(tmp_path / f"{part}_c.npy"), f"--{part}-ids",
                      str(tmp_path / f"{part}.ids"), f"--{part}-labels", str(tmp_path / f"{part}.labels")]
    return tmp_path, arguments


def test_every_step_of_the_table(table_9, capsys):
    root, arguments = table_9
    iqiyi.main(arguments)
    found = json.loads((root / "out/result.json").read_text())["iqiyi"]
    assert list(sorted(found["map"])) == ["centre", "context", "ensemble", "mlp"]
    assert all(0.5 < value <= 1 for value in found["map"].values())
    assert "MAP context" in capsys.readouterr().out
    assert "paper" not in (root / "out/result.md").read_text()  # Table 9 is of other videos


def test_the_papers_map_stands_beside_as_many_videos_as_its_own(table_9, monkeypatch):
    root, arguments = table_9
    monkeypatch.setattr(paper, "IQIYI_VIDEOS", 56)
    monkeypatch.setitem(paper.TEST_SETS, "iqiyi", replace(paper.TEST_SETS["iqiyi"], identities=6))
    iqiyi.main(arguments)
    assert "| 86.40 % |" in (root / "out/result.md").read_text()


def test_weights_count_and_a_weight_of_zero_takes_a_model_out(table_9):
    root, arguments = table_9
    iqiyi.main([*arguments, "--weights", "1", "0", "0"])
    found = json.loads((root / "out/result.json").read_text())["iqiyi"]
    assert found["map"]["mlp"] == found["map"]["ensemble"] == found["map"]["context"]
    assert found["about"]["notes"]["weights"] == [1, 0, 0]


@pytest.mark.parametrize("weights", [["1", "1"], ["1", "1", "1", "1"], ["1", "nan", "1"], ["1", "inf", "1"],
                                     ["1", "-1", "1"], ["0", "0", "1"]])
def test_weights_that_do_not_fit_are_one_line(table_9, weights):
    with pytest.raises(InputError, match=f"--weights: {len(weights)} given for 3 models and contexts") as caught:
        iqiyi.main([*table_9[1], "--weights", *weights])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("flag", ["--hidden", "--epochs", "--mlp-batch-size"])
def test_a_classifier_of_nothing_is_refused(table_9, flag):
    with pytest.raises(InputError, match=f"{flag} 0: at least 1"):
        iqiyi.main([*table_9[1], flag, "0"])


def test_a_test_video_of_an_unknown_person_is_noise(table_9):
    """It takes a place in every ranking and is nobody's; not even of the first person."""
    root, arguments = table_9
    path = root / "test.labels"
    path.write_text(path.read_text().replace("person6", "stranger"))
    iqiyi.main(arguments)
    found = json.loads((root / "out/result.json").read_text())["iqiyi"]
    path.write_text(path.read_text().replace("stranger", "0"))
    iqiyi.main(arguments)
    assert json.loads((root / "out/result.json").read_text())["iqiyi"]["map"] == found["map"]


def append(path, text):
    path.write_text(path.read_text() + text)


@pytest.mark.parametrize("change, message", [
    (lambda root: append(root / "test.labels", "v900 person1\nv901 0\n"),
     "2 of 58 labelled videos have no features, the first: v900"),
    (lambda root: append(root / "train.labels", "v900 person1\n"), "1 of 57 labelled videos have no features"),
    (lambda root: append(root / "test.labels", "v003 person2\n"), "line 57: v003 is labelled twice"),
    (lambda root: append(root / "train.labels", "v003 0\n"), "line 57: v003 is labelled twice"),
    (lambda root: (root / "test.labels").write_text("v000 person1\n"), "videos have no label, the first: v001"),
    (lambda root: (root / "test.labels").write_text(""), "test.labels: no label in it"),
    (lambda root: np.save(root / "test_b.npy", np.ones((168, 5), np.float32)), "test features: 5 dimensions where 16"),
    (lambda root: np.save(root / "test_c.npy", np.full((168, 9), np.nan, np.float32)), "test_c.npy: row 0 is not fin"),
    (lambda root: np.save(root / "train_a.npy", np.ones((160, 12), np.float32)), "168 ids for 160 features"),
    (lambda root: (root / "train_a.npy").write_bytes((root / "train_a.npy").read_bytes()[:-4]), "half written"),
    (lambda root: append(root / "test.ids", "v000\n"), "169 ids for 168 features")])
def test_bad_files_are_one_line(table_9, change, message):
    root, arguments = table_9
    change(root)
    with pytest.raises(InputError, match=message) as caught:
        iqiyi.main(arguments)
    assert "\n" not in str(caught.value)


def test_flags_that_do_not_pair_up_are_one_line(table_9):
    root, arguments = table_9
    with pytest.raises(InputError, match="as many --test-features"):
        iqiyi.main([*arguments, "--test-features", str(root / "test_a.npy")])


def test_a_checkpoint_on_frames_and_saved_context(table_9, small, capsys):
    root, _ = table_9
    save(small(dimensions=6), str(root / "model"), 0)
    arguments = ["--model", f"{root / 'model'},0", "--gpus", "cpu", "--size", "16,16", "--hidden", "8",
                 "--epochs", "2", "--out", str(root / "out")]
    for part, seed in (("train", 1), ("test", 2)):
        generator = np.random.default_rng(seed)
        for video in range(4):
            (root / part / f"v{video}").mkdir(parents=True)
            for frame in range(2):
                blocks = generator.integers(0, 255, (16, 16, 3), np.uint8)
                cv2.imwrite(str(root / part / f"v{video}/{frame}.png"), blocks)
        (root / f"{part}.labels").write_text("v0 ann\nv1 ann\nv2 bob\nv3 0\n")
        (root / f"{part}.ids").write_text("v0\nv1\nv2\nv3\n")
        np.save(root / f"{part}_c.npy", generator.standard_normal((4, 3)).astype(np.float32))
        arguments += [f"--{part}-frames", str(root / part), f"--{part}-labels", str(root / f"{part}.labels")]
    iqiyi.main(arguments)
    found = json.loads((root / "out/result.json").read_text())["iqiyi"]
    assert set(found["map"]) == {"centre", "mlp"} and found["about"]["model"] and found["test_videos"] == 4
    both = [*arguments, "--context-train", str(root / "train_c.npy"), "--context-test", str(root / "test_c.npy")]
    with pytest.raises(InputError, match="--train-ids and --test-ids"):
        iqiyi.main(both)
    both += ["--train-ids", str(root / "train.ids"), "--test-ids", str(root / "test.ids"), "--weights", "1", "1"]
    iqiyi.main(both)
    found = json.loads((root / "out/result.json").read_text())["iqiyi"]
    assert set(found["map"]) == {"centre", "mlp", "context"} and "train_c.npy" in found["about"]["data"]
    with pytest.raises(InputError, match="--context-test"):
        iqiyi.main([*both, "--context-test", str(root / "test_c.npy"), str(root / "test_c.npy")])
    append(root / "test.labels", "v4 bob\n")
    with pytest.raises(InputError, match="1 of 5 videos are not in"):
        iqiyi.main(arguments)


def test_broken_labels_name_the_line(tmp_path):
    (tmp_path / "l").write_text("a 1\nb\n")
    with pytest.raises(InputError, match="line 2: expected VIDEO PERSON"):
        read_labels(tmp_path / "l")
