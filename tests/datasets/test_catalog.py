"""The catalogue is consistent, and says truly what is here."""
import hashlib
from dataclasses import replace

from arcface_mxnet.datasets.catalog import (
    TEST_SETS,
    TRAINING_ALIASES,
    TRAINING_SETS,
    find_set,
    look,
    test_set,
    training_set,
)
from arcface_mxnet.datasets.prepare import main
from arcface_mxnet.runtime.errors import InputError

import pytest

test_set.__test__ = False


def test_counts_are_those_of_the_header_records():
    """Header (A, B) of a published set: A - 1 images, B - A identities."""
    for name, first, last in (("ms1m", 3804847, 3890011), ("ms1mr", 3850179, 3935921), ("emore", 5822654, 5908396)):
        entry = training_set(name)
        assert (entry.images, entry.identities) == (first - 1, last - first)


def test_names_aliases_and_folders_are_unambiguous():
    assert not set(TRAINING_SETS) & set(TEST_SETS) and not set(TRAINING_ALIASES) & set(TRAINING_SETS)
    assert all(alias in TRAINING_SETS for alias in TRAINING_ALIASES.values())
    folders = [entry.folder for entry in TRAINING_SETS.values()]
    assert len(set(folders)) == len(folders)
    assert training_set("casia") is training_set("webface") and test_set("lfw") is find_set("lfw")
    for entry in [*TRAINING_SETS.values(), *TEST_SETS.values()]:
        assert entry.status and entry.terms and entry.source and entry.files


def test_unknown_names_list_the_known_ones():
    for find in (training_set, test_set, find_set):
        with pytest.raises(InputError, match="known: .*lfw|known: .*emore"):
            find("nope")


def test_what_is_here_is_told_from_what_is_not(tmp_path):
    entry = training_set("emore")
    assert look(entry, tmp_path).present == ()
    folder = tmp_path / entry.folder
    folder.mkdir()
    (folder / "train.idx").write_text("x")
    assert look(entry, tmp_path).missing == ("train.rec", "property")
    (folder / "lfw.bin").write_bytes(b"pack")
    assert look(test_set("lfw"), tmp_path).folder == folder  # packs lie beside training sets


def test_known_hashes_tell_an_edition(tmp_path):
    data = b"index"
    entry = replace(training_set("glint360k"), files=("train.idx",),
                    known_hashes={"train.idx": f"md5:{hashlib.md5(data).hexdigest()}"})
    folder = tmp_path / entry.folder
    folder.mkdir()
    (folder / "train.idx").write_bytes(data)
    assert look(entry, tmp_path, verify=True).checked == {"train.idx": "verified"}
    (folder / "train.idx").write_bytes(b"other")
    assert look(entry, tmp_path, verify=True).checked == {"train.idx": "another edition"}
    assert look(entry, tmp_path).checked == {}


def test_a_record_set_of_other_counts_is_another_edition(tmp_path, tiny_faces, capsys):
    (tmp_path / training_set("emore").folder).symlink_to(tiny_faces)
    assert not main(["catalog", "emore", "--data", str(tmp_path)])
    assert "12 identities, 96 images: another edition" in capsys.readouterr().out


def test_verify_ends_with_status_1_for_another_edition(tmp_path, capsys):
    folder = tmp_path / training_set("glint360k").folder
    folder.mkdir()
    (folder / "train.idx").write_bytes(b"not it")
    assert main(["catalog", "glint360k", "--data", str(tmp_path), "--verify"]) == 1
    assert "train.idx: another edition" in capsys.readouterr().out


def test_the_whole_catalogue_is_printed(tmp_path, capsys):
    assert not main(["catalog", "--data", str(tmp_path)])
    printed = capsys.readouterr().out
    assert all(f"{name}: " in printed for name in [*TRAINING_SETS, *TEST_SETS]) and "withdrew" in printed


def test_the_command_says_another_edition_by_its_status(tmp_path, capsys):
    """A file of the published name with other bytes: told in the paragraph, status 1; unhashed it is only here."""
    entry = next(one for one in [*TRAINING_SETS.values(), *TEST_SETS.values()] if one.known_hashes)
    name = next(iter(entry.known_hashes))
    (tmp_path / entry.folder).mkdir(parents=True, exist_ok=True)
    (tmp_path / entry.folder / name).write_bytes(b"made up")
    assert main(["catalog", entry.name, "--data", str(tmp_path), "--verify"]) == 1
    assert f"{name}: another edition" in capsys.readouterr().out
    assert main(["catalog", entry.name, "--data", str(tmp_path)]) in (None, 0)
