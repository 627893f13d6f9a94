"""What evaluation commands leave behind: read back, byte for byte where it matters."""
import csv
import hashlib
import json

from arcface_mxnet.evaluation import results
from arcface_mxnet.evaluation.plots import Curve
from arcface_mxnet.runtime.errors import InputError

import numpy as np
import pytest


def entry(**figures):
    about = results.About("pairs", "flip-sum", {"model-0000.params": "ab"}, {"lfw.bin": "cd"})
    curves = [Curve("roc", "a/b", np.array([0.0, 1e-3, 1.0]), np.array([0.0, 0.5, 1.0]), "FAR", "TAR", log_x=True),
              Curve("roc", "other", np.array([0.0, 1.0]), np.array([0.0, 1.0]), "FAR", "TAR"),
              Curve("angles", "genuine", np.arange(3.0), np.array([1.0, 2.0]), "degrees", "pairs", kind="bars")]
    return results.Entry(figures, about, [results.Row("LFW", 98.0, 99.83, "Table 4")], curves)


def test_results_hold_figures_provenance_and_curves(tmp_path):
    path = results.write_results(tmp_path / "out", {"lfw": entry(accuracy=np.float32(0.5), folds=np.arange(3),
                                                                 auc=float("nan"))})
    document = json.loads(path.read_text())
    assert document["lfw"]["accuracy"] == 0.5 and document["lfw"]["folds"] == [0, 1, 2]
    assert document["lfw"]["auc"] is None
    assert document["lfw"]["about"]["data"] == {"lfw.bin": "cd"}
    assert document["lfw"]["about"]["pictures"] == ["lfw_roc.png", "lfw_angles.png"]
    assert results.read_results(tmp_path / "out") == document
    with open(tmp_path / "out" / "lfw_roc.csv") as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == ["curve", "FAR", "TAR"] and rows[2] == ["a/b", "0.001", "0.5"] and len(rows) == 6
    assert (tmp_path / "out" / "lfw_roc.png").read_bytes().startswith(b"\x89PNG")


def test_the_table_stands_beside_the_papers_figure():
    table = results.markdown_table([results.Row("LFW", 98.0, 99.83, "Table 4"), results.Row("mine", None)])
    assert table.splitlines()[2:] == ["| LFW | 98.00 % | 99.83 % | -1.83 | Table 4 |", "| mine | - | - | - | - |"]


def test_hashes_are_the_files(tmp_path):
    files = []
    for number in range(66):
        files.append(tmp_path / f"{number}.bin")
        files[-1].write_bytes(b"x" * number)
    hashes = results.file_hashes(files)
    assert hashes["3.bin"] == hashlib.sha256(b"xxx").hexdigest()
    assert len(hashes) == 65 and "... and 2 more files" in hashes


@pytest.mark.parametrize("text", ["", "[]", '{"lfw": {"accuracy": 1}}', '{"lfw": 3}'])
def test_foreign_results_are_refused(tmp_path, text):
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(InputError, match="not a result of an evaluation command|not valid JSON"):
        results.read_results(tmp_path)
    with pytest.raises(InputError, match="not found"):
        results.read_results(tmp_path / "nowhere")


def test_files_of_one_name_keep_their_own_hashes(tmp_path):
    for place in ("train", "test", "a/train"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "f.npy").write_text(place)
    (tmp_path / "only.npy").write_text("only")
    paths = [tmp_path / place / "f.npy" for place in ("train", "test", "a/train", "train")] + [tmp_path / "only.npy"]
    found = results.file_hashes(paths)
    assert found["only.npy"] == hashlib.sha256(b"only").hexdigest() and len(found) == 4
    assert found["test/f.npy"] == hashlib.sha256(b"test").hexdigest()
    assert found["a/train/f.npy"] == hashlib.sha256(b"a/train").hexdigest()
    assert found[f"{tmp_path.name}/train/f.npy"] == hashlib.sha256(b"train").hexdigest()
