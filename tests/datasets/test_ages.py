"""ages.tsv: read, refused where it is none, carried into new sets with the new keys, guarded by the manifest."""
from collections import Counter

from arcface_mxnet.datasets import manifest, prepare
from arcface_mxnet.datasets.ages import UNKNOWN_AGE, read_ages
from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.datasets.subset_merge import positions_by_class, write_selected
from arcface_mxnet.runtime.errors import InputError

import numpy as np
import pytest


@pytest.fixture
def records(tmp_path, make_set):
    make_set(tmp_path, [2, 1, 3])
    return RecordSet.open(tmp_path)


def given(records, text):
    (records.folder / "ages.tsv").write_bytes(text.encode())
    return read_ages(records)


def test_ages_stand_by_record_key_and_may_be_missing(records):
    ages = given(records, "1\t20.5\r\n3\t0\n\n6\t99\n")
    assert ages.dtype == np.float32
    assert ages[records.keys].tolist() == [20.5, -1, 0, -1, -1, 99]


def test_the_built_in_faces_bring_theirs(tiny_faces):
    records = RecordSet.open(tiny_faces)
    ages = read_ages(records)[records.keys]
    assert (ages > 0).all() and ages.max() - ages.min() > 20


@pytest.mark.parametrize("text, said", [
    ("1 20\n", "ages.tsv: line 1: 1 columns separated by tabs in '1 20'; the form is `key<TAB>age`"),
    ("1\t20\nx\t30\n", "line 2: 'x' is not a whole number"),
    ("1\tyoung\n", "line 1: 'young' is not an age in years from 0 to 150"),
    ("1\tnan\n", "line 1: 'nan' .*it is not finite"),
    ("1\t-1\n", "line 1: '-1' is not an age"),
    ("1\t151\n", "'151' is not an age in years from 0 to 150"),
    ("1\t20\n7777\t30\n", "line 2: the set has no record 7777; the file belongs to another set"),
    ("1\t20\n1\t30\n", "line 2: record 1 comes twice"),
    ("", "not one age of the 6 images"),
    ("0\t20\n", "not one age of the 6 images"),
])
def test_a_file_that_is_none_is_refused(records, text, said):
    with pytest.raises(InputError, match=said):
        given(records, text)


def test_a_set_without_the_file_says_what_it_is(records):
    with pytest.raises(InputError, match="ages.tsv: not found; a loss on ages needs it: one line `key<TAB>age"):
        read_ages(records)


@pytest.fixture
def aged(tmp_path, make_set):
    """Two sets: all but the third image of the first have ages, the second has none yet."""
    for name, counts in (("one", [3, 1, 4, 2]), ("two", [2, 3])):
        make_set(tmp_path / name, counts)
    (tmp_path / "one" / "ages.tsv").write_text("".join(f"{key}\t{20 + key / 8}\n" for key in range(1, 11) if key != 3))
    for name, images in (("one", 10), ("two", 5)):
        np.save(tmp_path / f"{name}.npy", np.eye(images, 16, dtype=np.float32) + 0.01)
    return tmp_path


def by_image(folder):
    """How often each (picture, age) stands in a set; its manifest must know the file."""
    with RecordSet.open(folder) as records:
        ages = read_ages(records)
        return Counter((records.read(key)[1], float(ages[key])) for key in records.keys.tolist())


@pytest.mark.parametrize("words, images", [
    (["subset", "one", "out", "--identities", "2", "--images-per-identity", "2", "--seed", "4"], None),
    (["shuffle", "one", "out", "--seed", "1"], 10),
    (["clean", "one", "--features", "one.npy", "--degrees", "179", "--decisions", "drop.json", "--out", "out"], 8),
    (["exclude", "one", "out", "--features", "one.npy", "--test-features", "far.npy"], 10)])
def test_a_set_made_from_another_keeps_the_ages_of_its_images(aged, monkeypatch, words, images):
    monkeypatch.chdir(aged)
    (aged / "drop.json").write_text('{"drop": [1, 6], "keep": [], "same": [], "different": []}')
    np.save(aged / "far.npy", -np.ones((1, 16), np.float32))
    assert prepare.main(words) == 0
    before, after = by_image(aged / "one"), by_image(aged / "out")
    assert after and not after - before and (images is None or sum(after.values()) == images)
    assert len({age for _, age in after}) > 1


def remaining(records, kept):
    groups = [(label, places[kept[places]].tolist()) for label, places in positions_by_class(records).items()]
    return [group for group in groups if group[1]]


def test_the_drop_step_keeps_them_too(aged):
    with RecordSet.open(aged / "one") as records:
        kept = ~np.isin(records.keys, [2, 4])  # the only image of the second identity
        write_selected(records, remaining(records, kept), aged / "out", "near ones")
    before, after = by_image(aged / "one"), by_image(aged / "out")
    assert not after - before and sum(after.values()) == 8
    with RecordSet.open(aged / "out") as records:
        assert [len(places) for places in positions_by_class(records).values()] == [2, 4, 2]


def test_merged_sets_keep_what_is_known_and_say_what_is_not(aged, capsys):
    words = ["merge", str(aged / "out"), str(aged / "one"), str(aged / "two"), "--features", str(aged / "one.npy"),
             str(aged / "two.npy"), "--threshold", "0.9"]
    assert prepare.main(words) == 0
    assert f"ages.tsv: none beside {aged / 'two'}; ages of images from there stay unknown\n" in capsys.readouterr().out
    with RecordSet.open(aged / "two") as second:
        unknown = Counter((second.read(key)[1], UNKNOWN_AGE) for key in second.keys.tolist())
    assert by_image(aged / "out") == by_image(aged / "one") + unknown
    (aged / "two" / "ages.tsv").write_text("5\t70\n")
    assert prepare.main(["merge", str(aged / "both"), *words[2:4], "--no-match"]) == 0
    assert "ages.tsv" not in capsys.readouterr().out
    assert by_image(aged / "both") == by_image(aged / "one") + by_image(aged / "two")


def test_sets_without_ages_get_no_file(aged, capsys):
    for name, words in (("a", ["subset", "two", "a"]), ("b", ["merge", "b", "two", "two", "--no-match"])):
        assert prepare.main([word if word in ("subset", "merge", "--no-match") else str(aged / word)
                             for word in words]) == 0
        assert not (aged / name / "ages.tsv").exists() and "ages.tsv" not in capsys.readouterr().out
    (aged / "one" / "ages.tsv").write_text("4\t30\n")  # of an image that goes
    with RecordSet.open(aged / "one") as records:
        write_selected(records, remaining(records, records.keys != 4), aged / "c", "without it")
    assert not (aged / "c" / "ages.tsv").exists()


def test_a_changed_age_is_noticed(aged):
    assert prepare.main(["subset", str(aged / "one"), str(aged / "out")]) == 0
    path = aged / "out" / "ages.tsv"
    manifest.check(aged / "out")
    path.write_bytes(path.read_bytes().replace(b"20", b"21", 1))
    with pytest.raises(InputError, match="ages.tsv: its bytes are not those of its manifest"):
        manifest.check(aged / "out")
