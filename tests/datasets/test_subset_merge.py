"""Merging: who is joined follows from the cosines of the centres, and no image is lost or doubled."""
from collections import Counter

from arcface_mxnet.datasets import manifest, prepare
from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.datasets.subset_merge import centres, match, merge
from arcface_mxnet.runtime.errors import InputError

import numpy as np
import pytest


@pytest.fixture
def two(tmp_path, make_set):
    make_set(tmp_path / "one", [2, 3, 1])
    make_set(tmp_path / "two", [1, 2, 2, 1])
    return tmp_path / "one", tmp_path / "two"


def embedded(folder, directions, path, noise=0.1):
    """Embeddings of a set whose identity k points along directions[k], of any length."""
    records = RecordSet.open(folder)
    chance = np.random.default_rng(0)
    rows = np.asarray(directions, dtype=float)[records.labels] + noise * chance.normal(size=(records.images, 8))
    np.save(path, (rows * chance.uniform(1, 30, (records.images, 1))).astype(np.float32))
    return path


def test_centres_are_means_of_unit_embeddings(two):
    records = RecordSet.open(two[0])
    rows = np.random.default_rng(1).normal(size=(records.images, 5)) * 7
    classes, found = centres(records, rows)
    for place, label in enumerate(classes):
        total = np.zeros(5)
        for row in rows[records.labels == label]:
            total += row / np.sqrt((row ** 2).sum())
        np.testing.assert_allclose(found[place], total / np.sqrt((total ** 2).sum()), atol=1e-6)


def test_match_follows_a_plain_double_loop():
    chance = np.random.default_rng(2)
    sets = []
    for count in (40, 30, 20):
        rows = chance.normal(size=(count, 6))
        sets.append((np.arange(count), (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)))
    known, expected = [], []
    for which, (classes, own) in enumerate(sets):
        before = len(known)
        for label in classes:
            cosines = [float(own[label] @ known[other]) for other in range(before)]
            if cosines and max(cosines) >= 0.8:
                expected.append((which, label, int(np.argmax(cosines)), True))
            else:
                expected.append((which, label, len(known), False))
                known.append(own[label])
    found = match(sets, 0.8)
    assert [(one.which, one.label, one.becomes, one.cosine is not None) for one in found] == expected
    assert any(one.cosine is not None for one in found)


def test_two_sets_become_one(two, tmp_path):
    axes = np.eye(8)
    first = embedded(two[0], axes[[0, 1, 2]], tmp_path / "1.npy")
    second = embedded(two[1], axes[[5, 1, 6, 0]], tmp_path / "2.npy")
    assert prepare.main(["merge", str(tmp_path / "out"), str(two[0]), str(two[1]), "--features", str(first),
                         str(second), "--threshold", "0.6"]) == 0
    becomes = [{0: 0, 1: 1, 2: 2}, {0: 3, 1: 1, 2: 4, 3: 0}]
    wanted = Counter()
    for folder, renamed in zip(two, becomes):
        records = RecordSet.open(folder)
        wanted.update((renamed[label], encoded) for label, encoded in map(records.read, records.keys.tolist()))
    merged = RecordSet.open(tmp_path / "out")
    assert Counter(map(merged.read, merged.keys.tolist())) == wanted and merged.identities == 5
    lines = (tmp_path / "out" / "joined.tsv").read_text().splitlines()
    assert len(lines) == 8 and sum(not line.endswith("new") for line in lines[1:]) == 2
    assert manifest.check(tmp_path / "out", thorough=True)


def test_without_embeddings_everybody_stays_apart(two, tmp_path):
    assert prepare.main(["merge", str(tmp_path / "out"), str(two[0]), str(two[1]), "--no-match"]) == 0
    assert RecordSet.open(tmp_path / "out").ranges.counts.tolist() == [2, 3, 1, 1, 2, 2, 1]


@pytest.mark.parametrize("spoil,message", [
    (lambda rows: rows[:-1], "one row for each of 6 images"), (lambda rows: rows[:, 0], "not one row for each of"),
    (lambda rows: rows * np.nan, "embedding of image 0 is zero or not finite"),
    (lambda rows: rows * (np.arange(6) != 4)[:, None], "embedding of image 4 is zero"),
    (lambda rows: rows[:, :4], "of 8 and of 4 dimensions|of 4 and of 8 dimensions|embeddings of")])
def test_embeddings_that_do_not_fit_are_refused(two, tmp_path, spoil, message):
    first = embedded(two[0], np.eye(8)[:3], tmp_path / "1.npy")
    second = embedded(two[1], np.eye(8)[:4], tmp_path / "2.npy")
    np.save(first, spoil(np.load(first)))
    with pytest.raises(InputError, match=message):
        merge(two, tmp_path / "out", [first, second])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("flags,message", [
    ([], "or --no-match"), (["--features", "a.npy"], "names 1 files for 2 sets"),
    (["--features", "a.npy", "b.npy"], "a.npy: not found")])
def test_flags_that_do_not_fit(two, tmp_path, flags, message):
    with pytest.raises(InputError, match=message):
        prepare.main(["merge", str(tmp_path / "out"), str(two[0]), str(two[1])] + flags)


def test_a_file_that_is_no_array_is_refused(two, tmp_path):
    (tmp_path / "x.npy").write_bytes(b"nothing like it")
    with pytest.raises(InputError, match="x.npy: no whole .npy array .it does not begin as one"):
        merge(two, tmp_path / "out", [tmp_path / "x.npy"] * 2)


def test_sets_of_different_sizes_are_refused(two, tmp_path, make_set):
    make_set(tmp_path / "small", [2], size=56)
    with pytest.raises(InputError, match="different image sizes"):
        merge([two[0], tmp_path / "small"], tmp_path / "out")
