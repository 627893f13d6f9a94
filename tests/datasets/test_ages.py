import numpy as np
import pytest

from datasets.ages import read_ages
from datasets.records import RecordSet
from runtime.errors import InputError


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
    ("1 20\n", "ages.tsv: line 1 is not `key<TAB>age`"),
    ("1\t20\nx\t30\n", "line 2 is not"),
    ("1\tyoung\n", "line 1 is not"),
    ("1\tnan\n", "line 1 is not"),
    ("1\t-1\n", "line 1 is not"),
    ("1\t151\n", "0 to 150 years"),
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
