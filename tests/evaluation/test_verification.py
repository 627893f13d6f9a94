"""Pairs: the original's numbers on the same embeddings, packs of any size, the command end to end."""
import json

from arcface_mxnet.datasets import manifest
from arcface_mxnet.datasets.pairs import PairPack, read_pack, write_pack
from arcface_mxnet.engines.base import place
from arcface_mxnet.evaluation import verification
from arcface_mxnet.evaluation.embedder import Embedder
from arcface_mxnet.evaluation.pairs import evaluate_distances, evaluate_pairs
from arcface_mxnet.graph.checkpoint import save
from arcface_mxnet.runtime.errors import InputError, Notice

import cv2
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold

CPU = place("mxnet", "cpu")


def originals_numbers(plain, mirrored, same):
    """Accuracy, deviation and XNorm by the original's rules (docs/original.md, section 5), without our modules."""
    norms = [np.sqrt(sum(x * x for x in row)) for row in [*plain, *mirrored]]
    rows = [row / np.sqrt(row @ row) for row in plain + mirrored]
    distances = [float(np.sum((rows[2 * i] - rows[2 * i + 1]) ** 2)) for i in range(len(same))]
    accuracies, limits = [], []
    for train, test in KFold(10).split(distances):
        counts = [sum((distances[i] < t) == same[i] for i in train) for t in np.arange(0, 4, 0.01)]
        limit = np.arange(0, 4, 0.01)[int(np.argmax(counts))]
        limits.append(limit)
        accuracies.append(np.mean([(distances[i] < limit) == same[i] for i in test]))
    return np.mean(accuracies), np.std(accuracies), np.mean(norms), accuracies, limits, roc_auc_score(
        same, -np.array(distances))


def encoded(rng, side=112):
    return cv2.imencode(".png", rng.integers(0, 256, (side, side, 3), np.uint8))[1].tobytes()


@pytest.fixture(scope="module")
def pack():
    rng = np.random.default_rng(1)
    return PairPack("toy", [encoded(rng) for _ in range(46)], np.arange(23) % 2 == 0)


def embed(images):
    """A stand-in for a network: sums of pixel bands, told apart left from right."""
    bands = images.reshape(len(images), 3, 8, 14, 112)[..., :56].astype(np.float32).mean(axis=(3, 4))
    return (bands.reshape(len(images), -1) - 127).astype(np.float32)


@pytest.mark.parametrize("flip", ["none", "sum", "concatenate"])
def test_an_image_that_repeats_is_embedded_once_and_counts_each_time(pack, monkeypatch, flip):
    monkeypatch.setattr(verification, "DECODE_AT_ONCE", 7)
    order = np.random.default_rng(3).integers(0, 20, 46)
    repeated = PairPack("toy", [bytes(bytearray(pack.images[row])) for row in order], pack.same)
    seen = []

    def counting(images):
        seen.append(len(images))
        return embed(images)

    found = verification.evaluate_pack(counting, repeated, flip)
    assert sum(seen) == len(set(order.tolist())) * (1 if flip == "none" else 2)
    images = np.concatenate(list(repeated.decoded(50)))
    passes = [embed(view).astype(float) for view in (images, images[..., ::-1])][:1 if flip == "none" else 2]
    rows = np.concatenate(passes, axis=1) if flip == "concatenate" else sum(passes)
    expected = verification.evaluate_pairs(rows, pack.same, float(np.mean(np.linalg.norm(passes, axis=2))))
    np.testing.assert_array_equal(found.distances, expected.distances)
    assert found.accuracy == expected.accuracy and found.xnorm == pytest.approx(expected.xnorm, rel=1e-12)


def test_a_pack_gives_the_originals_numbers(pack, monkeypatch):
    monkeypatch.setattr(verification, "DECODE_AT_ONCE", 7)  # pairs must not depend on where a batch ends
    images = np.concatenate(list(pack.decoded(50)))
    accuracy, std, xnorm, folds, limits, auc = originals_numbers(
        embed(images).astype(float), embed(images[..., ::-1]).astype(float), pack.same)
    result = verification.evaluate_pack(embed, pack)
    assert result.accuracy == pytest.approx(accuracy, abs=1e-12) and result.std == pytest.approx(std, abs=1e-12)
    assert result.xnorm == pytest.approx(xnorm, rel=1e-6) and result.auc == pytest.approx(auc, abs=1e-12)
    np.testing.assert_allclose(result.fold_accuracies, folds)
    np.testing.assert_allclose(result.fold_thresholds, limits)
    assert result.pairs == 23


def test_flips_differ_as_named(pack):
    images = np.concatenate(list(pack.decoded(50)))
    plain, mirrored = embed(images).astype(float), embed(images[..., ::-1]).astype(float)
    for flip, rows in (("none", plain), ("sum", plain + mirrored), ("concatenate", np.hstack([plain, mirrored]))):
        expected = evaluate_pairs(rows, pack.same).distances
        np.testing.assert_allclose(verification.evaluate_pack(embed, pack, flip).distances, expected)
    with pytest.raises(InputError, match="unknown flip 'both'; known: concatenate, none, sum"):
        verification.evaluate_pack(embed, pack, "both")


@pytest.mark.parametrize("rows, words", [
    (np.ones((3, 4)), "3 embeddings for 2 pairs"),
    (np.array([[1.0, 2], [1, 2], [np.nan, 1], [0, 1]]), "row 2 is not finite"),
    (np.array([[1.0, 2], [1, 2], [0, 1], [0, 0]]), "row 3 is all zeros, which points nowhere"),
    (np.zeros((4, 8), np.float32), "row 0 is all zeros"),
])
def test_embeddings_that_are_not_pairs_are_refused(rows, words):
    with pytest.raises(InputError, match=words):
        evaluate_pairs(rows, np.array([True, False]), folds=2)


@pytest.mark.parametrize("same, words", [
    ([1.0, np.nan], "truth value of pair 1 is nan"), ([0, 2], "truth value of pair 1 is 2"),
    (["1", "0"], "pair 0 is .*'1'")])
def test_truth_values_that_are_none_are_named(same, words):
    with pytest.raises(InputError, match=words):
        evaluate_pairs(np.eye(4), np.array(same), folds=2)


@pytest.mark.parametrize("folds", [-1, 0, 11, 10 ** 9])
def test_folds_that_cannot_be_cut_are_one_line(folds):
    with pytest.raises(InputError, match=f"10 pairs cannot be cut into {folds} folds; use --folds between 1 and 10"):
        evaluate_distances(np.linspace(0, 1, 10), np.arange(10) < 5, folds=folds)


def test_one_class_still_has_an_accuracy():
    result = evaluate_pairs(np.ones((20, 8), np.float32), np.ones(10, bool))
    assert result.accuracy == 1 and result.distances.max() == 0
    figures = result.figures()
    assert figures["auc"] is None and figures["val_far"] is None and figures["pairs"] == 10
    json.dumps(figures, allow_nan=False)


def test_distances_reach_the_far_end():
    result = evaluate_distances(np.array([4.0, 0.0] * 10), np.array([False, True] * 10))
    assert result.accuracy == 1 and set(result.fold_thresholds) == {0.01}


@pytest.fixture
def folder(tmp_path, pack):
    write_pack(tmp_path / "toy.bin", pack.images, pack.same)
    images = np.concatenate(list(read_pack(tmp_path / "toy.bin").decoded()))
    np.save(tmp_path / "rows.npy", embed(images))
    return tmp_path


def test_the_command_evaluates_saved_features(folder, capsys):
    verification.main(["--features", str(folder / "rows.npy"), "--data-dir", str(folder), "--target", "toy",
                       "--out", str(folder / "out"), "--bootstrap", "50"])
    stored = json.loads((folder / "out" / "result.json").read_text())["toy"]
    expected = evaluate_pairs(np.load(folder / "rows.npy"), read_pack(folder / "toy.bin").same)
    assert stored["accuracy"] == expected.accuracy and stored["fold_thresholds"] == list(expected.fold_thresholds)
    assert stored["interval_95"][0] <= stored["accuracy"] <= stored["interval_95"][1]
    assert set(stored["about"]["data"]) == {"toy.bin"} and set(stored["about"]["model"]) == {"rows.npy"}
    assert "toy: accuracy" in capsys.readouterr().out
    assert (folder / "out" / "toy_roc.png").exists() and (folder / "out" / "toy_angles.csv").exists()


def test_bad_input_of_the_command_is_one_line(folder):
    common = ["--data-dir", str(folder), "--out", str(folder / "out")]
    with pytest.raises(InputError, match="lfw.bin: not found; --target can be toy"):
        verification.main(["--features", str(folder / "rows.npy"), "--target", "lfw", *common])
    with pytest.raises(InputError, match="nothing.npy: not found"):
        verification.main(["--features", str(folder / "nothing.npy"), "--target", "toy", *common])
    np.save(folder / "short.npy", np.ones((4, 8), np.float32))
    with pytest.raises(InputError, match="short.npy: 4 rows where 46 are needed"):
        verification.main(["--features", str(folder / "short.npy"), "--target", "toy", *common])
    (folder / "half.npy").write_bytes((folder / "rows.npy").read_bytes()[:600])
    with pytest.raises(InputError, match="half.npy: no whole .npy array"):
        verification.main(["--features", str(folder / "half.npy"), "--target", "toy", *common])
    rows = np.load(folder / "rows.npy")
    rows[5, 2] = np.nan
    np.save(folder / "nan.npy", rows)
    with pytest.raises(InputError, match="nan.npy: row 5 is not finite"):
        verification.main(["--features", str(folder / "nan.npy"), "--target", "toy", *common])
    assert not (folder / "out").exists()


def test_the_command_names_the_manifest_and_refuses_other_bytes(folder, capsys):
    short = manifest.describe_pack(folder / "toy.bin", "made for this test")
    arguments = ["--features", str(folder / "rows.npy"), "--data-dir", str(folder), "--target", "toy", "--out",
                 str(folder / "out"), "--bootstrap", "0"]
    verification.main(arguments)
    assert f"data manifest {short}\n" in capsys.readouterr().out
    with open(folder / "toy.bin", "r+b") as stream:
        stream.seek(-20, 2)
        byte = stream.read(1)
        stream.seek(-20, 2)
        stream.write(bytes([byte[0] ^ 1]))
    with pytest.raises(InputError, match="toy.bin"):
        verification.main(arguments)


def test_the_command_compares_two_networks(tmp_path, small):
    """Two checkpoints on one pack of small images: figures as of their embeddings, and McNemar's counts."""
    rng = np.random.default_rng(3)
    pictures = [encoded(rng, 16) for _ in range(48)]
    same = np.arange(24) % 2 == 0
    write_pack(tmp_path / "toy.bin", pictures, same)
    for name, seed in (("a", 0), ("b", 8)):
        save(small(seed), str(tmp_path / name), 0)
    verification.main(["--model", f"{tmp_path}/a,0", "--against", f"{tmp_path}/b,0", "--data-dir", str(tmp_path),
                       "--target", "toy", "--gpus", "cpu", "--batch-size", "7", "--bootstrap", "0",
                       "--out", str(tmp_path / "out")])
    stored = json.loads((tmp_path / "out" / "result.json").read_text())["toy"]
    pack = read_pack(tmp_path / "toy.bin")
    results = []
    for seed in (0, 8):
        images = np.concatenate(list(pack.decoded()))
        embedder = Embedder(small(seed), CPU)
        results.append(evaluate_pairs(embedder.embed(images, "sum"), same))
    assert stored["accuracy"] == results[0].accuracy and stored["against"]["accuracy"] == results[1].accuracy
    assert stored["against"]["only_first"] == np.sum(results[0].correct & ~results[1].correct)
    assert "interval_95" not in stored and set(stored["about"]["model"]) == {"a-symbol.json", "a-0000.params"}


def test_one_figure_for_one_set_of_pairs_whatever_its_order(tmp_path, capsys):
    """Sorted by kind the folds are judged at thresholds of another mix; dealt, the order of the file is no matter."""
    rng = np.random.default_rng(0)
    same = np.arange(200) < 100
    distances = np.where(same, 1.0, 1.4) + rng.normal(0, 0.3, 200)
    mixed = np.argsort(np.r_[np.arange(100), np.arange(100)], kind="stable")
    by_kind, alternating = (evaluate_distances(distances[order], same[order]) for order in (np.arange(200), mixed))
    assert by_kind.accuracy != alternating.accuracy
    rows = np.zeros((400, 2), np.float32)
    cosine = np.clip(1 - distances / 2, -1, 1)
    rows[0::2, 0], rows[1::2, 0], rows[1::2, 1] = 1, cosine, np.sqrt(1 - cosine ** 2)
    write_pack(tmp_path / "sorted.bin", [encoded(rng, 8) for _ in range(400)], same)
    np.save(tmp_path / "rows.npy", rows)
    command = ["--features", str(tmp_path / "rows.npy"), "--data-dir", str(tmp_path), "--target", "sorted",
               "--bootstrap", "0"]
    with pytest.warns(Notice, match="sorted.bin: 10 of 10 folds hold one kind of pair"):
        verification.main([*command, "--out", str(tmp_path / "plain")])
        verification.main([*command, "--deal", "--out", str(tmp_path / "dealt")])
    accuracies = [json.loads((tmp_path / name / "result.json").read_text())["sorted"]["accuracy"]
                  for name in ("plain", "dealt")]
    assert accuracies == pytest.approx([by_kind.accuracy, alternating.accuracy])


def test_every_pack_is_checked_before_the_first_image_is_embedded(tmp_path, small, monkeypatch):
    rng = np.random.default_rng(3)
    save(small(0), str(tmp_path / "a"), 0)
    for name, pairs, side in (("good", 24, 16), ("seven", 7, 16), ("large", 24, 48)):
        write_pack(tmp_path / f"{name}.bin", [encoded(rng, side) for _ in range(2 * pairs)], np.arange(pairs) % 2 == 0)
    command = ["--model", f"{tmp_path}/a,0", "--data-dir", str(tmp_path), "--gpus", "cpu", "--bootstrap", "0"]
    evaluated = []
    monkeypatch.setattr(verification, "evaluate_pack", lambda embed, pack, *rest: evaluated.append(pack.name))
    with pytest.raises(InputError, match="seven.bin: 7 pairs, too few for 10 folds"):
        verification.main([*command, "--target", "good,seven", "--out", str(tmp_path / "o")])
    with pytest.raises(InputError, match="large.bin: holds 48x48 pictures, the network takes .*; make the pack again"):
        verification.main([*command, "--target", "good,large", "--out", str(tmp_path / "o")])
    assert evaluated == [] and not (tmp_path / "o").exists()


def test_a_finished_pack_is_on_disk_before_the_next_begins(tmp_path, folder, monkeypatch):
    (folder / "other.bin").write_bytes((folder / "toy.bin").read_bytes())
    before = verification.evaluate_target

    def fails(options, pack, embedder):
        if pack.name == "other":
            raise InputError("broken off")
        return before(options, pack, embedder)

    monkeypatch.setattr(verification, "evaluate_target", fails)
    with pytest.raises(InputError, match="broken off"):
        verification.main(["--features", str(folder / "rows.npy"), "--data-dir", str(folder), "--target", "toy,other",
                           "--bootstrap", "0", "--out", str(folder / "out")])
    assert list(json.loads((folder / "out" / "result.json").read_text())) == ["toy"]
