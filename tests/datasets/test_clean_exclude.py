"""Overlap with test identities is found and removed; the source stays as it was."""
from arcface_mxnet.datasets import whole_folder
from arcface_mxnet.datasets.clean import find_overlap, test_centres
from arcface_mxnet.datasets.prepare import main
from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.runtime.errors import InputError

import numpy as np
import pytest

test_centres.__test__ = False


@pytest.fixture
def sets(tmp_path, make_set):
    """Three training identities along axes 0, 1, 2 and three test ones along 5, 1 and (2 with cosine 0.6)."""
    images = make_set(tmp_path / "set", [2, 3, 2])
    axes = np.eye(8)
    np.save(tmp_path / "train.npy", np.stack([axes[0]] * 2 + [axes[1]] * 3 + [axes[2]] * 2).astype(np.float32) * 7)
    near = 0.6 * axes[2] + 0.8 * axes[6]
    np.save(tmp_path / "test.npy", np.stack([axes[5], axes[1], axes[1], near]))
    (tmp_path / "ids.txt").write_text("Eve\nBob\nBob\nAnn\n")
    return tmp_path, images


@pytest.mark.parametrize("cosine,gone", [(0.7, [1]), (0.6, [1, 2]), (0.4, [1, 2]), (1.1, [])])
def test_identities_within_the_cosine_are_found(sets, cosine, gone):
    folder, _ = sets
    with RecordSet.open(folder / "set") as records:
        tests = [test_centres(folder / "test.npy", folder / "ids.txt")]
        found = find_overlap(records, folder / "train.npy", tests, cosine - 1e-9)
    assert [overlap.label for overlap in found] == gone
    assert {overlap.label: overlap.test for overlap in found} == {label: {1: "Bob", 2: "Ann"}[label] for label in gone}


def test_rows_without_ids_are_identities_of_their_own(sets):
    names, centres = test_centres(sets[0] / "test.npy")
    assert names == ["0", "1", "2", "3"] and centres.shape == (4, 8)


def test_the_set_is_written_without_them(sets):
    folder, images = sets
    before = (folder / "set" / "train.rec").read_bytes()
    assert not main(["exclude", str(folder / "set"), str(folder / "out"), "--features", str(folder / "train.npy"),
                     "--test-features", str(folder / "test.npy"), "--test-ids", str(folder / "ids.txt"),
                     "--cosine", "0.7"])
    with RecordSet.open(folder / "out") as records:
        assert records.labels.tolist() == [0, 0, 1, 1]
        assert [records.read(int(key))[1] for key in records.keys] == images[0] + images[2]
    lines = (folder / "out" / "excluded.tsv").read_text().splitlines()
    assert lines[1:] == ["1\t\tBob\t1.0000"]
    assert (folder / "out" / "identities.tsv").read_text() == "0\t0\n1\t2\n"
    assert (folder / "set" / "train.rec").read_bytes() == before


def test_the_list_is_there_when_the_set_appears(sets, monkeypatch):
    """Killed right after the renaming, the folder is whole."""
    folder, _ = sets
    inside = []
    place = whole_folder.put_in_place
    monkeypatch.setattr(whole_folder, "put_in_place", lambda temporary, target: (
        inside.extend(path.name for path in temporary.iterdir()), place(temporary, target)))
    main(["exclude", str(folder / "set"), str(folder / "out"), "--features", str(folder / "train.npy"),
          "--test-features", str(folder / "test.npy")])
    assert "excluded.tsv" in inside
    assert sorted(inside) == sorted(path.name for path in (folder / "out").iterdir())


def test_bad_input_is_named_and_nothing_written(sets):
    folder, _ = sets
    command = ["exclude", str(folder / "set"), str(folder / "out"), "--features", str(folder / "train.npy"),
               "--test-features", str(folder / "test.npy")]
    (folder / "short.txt").write_text("Eve\n")
    for flags, said in ((["--test-ids", str(folder / "short.txt")], "short.txt: 1 lines for 4 rows"),
                        (["--test-ids", str(folder / "gone.txt")], "gone.txt"),
                        (["--test-ids", "a", "b"], "--test-ids: 2 files"),
                        (["--cosine", "-1"], "nothing would be left")):
        with pytest.raises(InputError, match=said):
            main([*command, *flags])
    np.save(folder / "test.npy", np.ones((2, 5)))
    with pytest.raises(InputError, match="one model"):
        main(command)
    assert not (folder / "out").exists()
