"""reproduce.py photographs: drawn faces stand for LFW; figures against plain loops, hashes, the page, bad requests."""
import hashlib
import json
import shutil
from pathlib import Path

from arcface_mxnet.datasets.images import decode_rgb
from arcface_mxnet.datasets.pairs import read_pack
from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.engines.initial import family_law, initial_values
from arcface_mxnet.evaluation.embedder import Embedder
from arcface_mxnet.graph.checkpoint import Checkpoint, save
from arcface_mxnet.recognition import reproduce
from arcface_mxnet.recognition.networks import build
from arcface_mxnet.recognition.reproduction import photographs
from arcface_mxnet.recognition.settings import resolve
from arcface_mxnet.runtime.errors import InputError

import numpy as np
import pytest


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A network that has learned nothing."""
    settings = resolve("demo", "arcface", "own", {}).network
    symbol = build(settings)
    shapes, _, states = symbol.infer_shape(data=(1, 3, 112, 112))
    law = family_law(settings.net_name)
    parts = [initial_values({name: shape for name, shape in zip(names, known) if name != "data"}, symbol.attr_dict(),
                            law, 0) for names, known in ((symbol.list_arguments(), shapes),
                                                         (symbol.list_auxiliary_states(), states))]
    prefix = tmp_path_factory.mktemp("model") / "mine"
    save(Checkpoint(symbol, *parts), str(prefix), 0)
    return f"{prefix},0"


@pytest.fixture(scope="module")
def made(model, tiny_faces, tmp_path_factory):
    """The folder of results, and the page."""
    place = tmp_path_factory.mktemp("made")
    assert reproduce.main(["photographs", "--model", model, "--data", str(tiny_faces), "--people", str(tiny_faces),
                           "--out", str(place / "out"), "--page", str(place / "page.md")]) == 0
    return place


def degrees(one, other):
    return float(np.degrees(np.arccos(np.dot(one, other) / np.linalg.norm(one) / np.linalg.norm(other))))


def table3(groups):
    """Intra and Inter of {identity: rows} by plain loops, float64."""
    unit = {name: [row / np.linalg.norm(row) for row in rows] for name, rows in groups.items()}
    centres = {name: np.mean(rows, axis=0) for name, rows in unit.items()}
    intra = np.mean([degrees(row, centres[name]) for name, rows in unit.items() for row in rows])
    inter = np.mean([min(degrees(mine, other) for name, other in centres.items() if name != me)
                     for me, mine in centres.items()])
    return intra, inter


def embed(model, images):
    pixels = np.stack([decode_rgb(image) for image in images]).transpose(0, 3, 1, 2)
    return Embedder.load(model).embed(pixels).astype(np.float64)


def flipped(model, images):
    """Pairs (P, 2, d) with the mirror image's embedding added."""
    pixels = np.stack([decode_rgb(image) for image in images]).transpose(0, 3, 1, 2)
    rows = Embedder.load(model).embed(pixels, "sum").astype(np.float64)
    return rows.reshape(len(rows) // 2, 2, -1)


def test_table_3_is_that_of_the_pack_and_of_the_people(made, model, tiny_faces):
    found = json.loads((made / "out" / "photographs.json").read_text())["figures"]["table 3"]
    pack = read_pack(tiny_faces / "lfw.bin")
    rows = embed(model, pack.images)
    pairs = {number: rows[2 * number:2 * number + 2] for number in np.flatnonzero(pack.same)}
    with RecordSet.open(tiny_faces) as records:
        labels = records.labels.astype(int)
        rows = embed(model, [records.read(key)[1] for key in records.keys.tolist()])
    people = {label: rows[labels == label] for label in np.unique(labels)}
    for (_, statistics), groups in zip(sorted(found.items()), (pairs, people)):
        assert (statistics["intra"], statistics["inter"]) == pytest.approx(table3(groups), abs=1e-3)
        assert statistics["classes"] == len(groups)
    halves = [degrees(*pair) / 2 for pair in pairs.values()]
    assert found["genuine pairs of the pack, one identity a pair"]["intra"] == pytest.approx(np.mean(halves), abs=1e-3)


def test_figure_6_is_of_all_positive_pairs(made, model, tiny_faces):
    found = json.loads((made / "out" / "photographs.json").read_text())["figures"]["figure 6"]
    everybody = found["all positive, random negative pairs"]
    assert everybody["positive pairs"] == 12 * 8 * 7 // 2
    pack = read_pack(tiny_faces / "lfw.bin")
    both = [degrees(*pair) for pair, same in zip(flipped(model, pack.images), pack.same) if same]
    assert found["LFW's pairs"]["positive mean"] == pytest.approx(np.mean(both), abs=1e-3)
    assert found["LFW's pairs"]["positive pairs"] == int(pack.same.sum())
    assert (made / "out" / "photographs.png").stat().st_size > 2000


def test_result_names_model_and_data_by_their_bytes(made, model, tiny_faces):
    document = json.loads((made / "out" / "photographs.json").read_text())

    def digest(path):
        return hashlib.sha256(path.read_bytes()).hexdigest()

    prefix = model.split(",")[0]
    assert set(document["made_from"]["model"].values()) == {
        digest(path) for path in (Path(f"{prefix}-symbol.json"),
                                  Path(f"{prefix}-0000.params"))}
    assert document["made_from"]["data"]["lfw.bin"] == digest(tiny_faces / "lfw.bin")
    assert any("96 photographs" in name for name in document["made_from"]["data"])
    assert document["provenance"]["commit"] and "engine" in document["made_from"]


def test_the_page_has_a_section_of_its_own_before_the_tables(made):
    page = (made / "page.md").read_text()
    assert page.index("## The paper's statements") < page.index("## On photographs: mine") < page.index(
        "## Tables and figures")
    assert "| Intra2 (LFW) | 28.05 |" in page and "![photographs](out/photographs.png)" in page
    assert "model zoo" in page and "| lfw | 40 |" in page and "The published" not in page


def test_a_published_model_is_known_by_its_bytes(made, model, tiny_faces, monkeypatch):
    prefix = model.split(",")[0]
    digest = hashlib.sha256(Path(f"{prefix}-0000.params").read_bytes()).hexdigest()
    monkeypatch.setitem(photographs.PUBLISHED_MODELS, digest, "MobileFaceNet, MS1MV1")
    assert photographs.zoo_row(photographs.Asked(model, tiny_faces)) == "MobileFaceNet, MS1MV1"
    lines = photographs._accuracy_table("MobileFaceNet, MS1MV1", {"lfw": {
        "pairs": 6000, "accuracy": 0.992, "std": 0.004, "auc": 0.999, "interval_95": (0.99, 0.995),
        "accuracy, kinds dealt": 0.992}})
    assert lines[2].endswith("| 99.5 |")


def test_only_those_with_two_photographs_count():
    people = photographs.People(np.zeros((5, 2)), np.array([3, 1, 3, 2, 1]), "")
    assert photographs.with_several(people).tolist() == [True, True, True, False, True]


@pytest.mark.parametrize("flags, message", [
    ([], "photographs: say which model with --model"),
    (["--model", "nowhere/model,0"], "nowhere/model"),
    (["--model", "MODEL", "--data", "EMPTY"], "lfw.bin: not found; say with --data"),
    (["--model", "MODEL", "--people", "PACK"], "--people .*lfw.bin: has no classes"),
    (["--model", "a.onnx"], "--model a.onnx: give one checkpoint")])
def test_bad_requests_are_one_line(flags, message, model, tiny_faces, tmp_path):
    shutil.copy(tiny_faces / "lfw.bin", tmp_path / "lfw.bin")
    (tmp_path / "empty").mkdir()
    words = {"MODEL": model, "EMPTY": str(tmp_path / "empty"), "PACK": str(tmp_path / "lfw.bin")}
    data = [] if "--data" in flags else ["--data", str(tmp_path)]
    with pytest.raises(InputError, match=message):
        reproduce.main(["photographs", *[words.get(flag, flag) for flag in flags], *data,
                        "--out", str(tmp_path / "out")])
