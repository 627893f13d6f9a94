"""Gallery search: against sorting every cosine, with ties, duplicates and zero rows, in blocks and by FAISS."""
import csv
import importlib.util

from arcface_mxnet.evaluation import search as module
from arcface_mxnet.evaluation.search import search
from arcface_mxnet.runtime.errors import InputError

import numpy as np
import pytest

BACKENDS = ["blocks", pytest.param("faiss", marks=pytest.mark.skipif(
    importlib.util.find_spec("faiss") is None, reason="FAISS is not installed"))]


def slow_search(queries, gallery, k):
    """Every cosine in float64, sorted by (larger first, smaller row first)."""
    unit = lambda x: x / (np.sqrt(float(x @ x)) or 1.0)  # noqa: E731
    rows = []
    for query in queries.astype(float):
        cosines = [(-round(float(unit(query) @ unit(row)), 12), number)
                   for number, row in enumerate(gallery.astype(float))]
        rows.append([number for _, number in sorted(cosines)[:k]])
    return np.array(rows)


def gallery_of(kind, rng):
    if kind == "duplicates":
        return np.repeat(rng.normal(size=(9, 12)), 30, axis=0)[rng.permutation(270)]
    if kind == "zeros":
        rows = rng.normal(size=(150, 12))
        rows[::3] = 0
        return rows
    if kind == "closer than float32":
        return rng.normal(size=12) + 1e-7 * rng.normal(size=(90, 12))
    return rng.normal(size=(200, 12)) * rng.uniform(0.1, 30, (200, 1))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["plain", "duplicates", "zeros", "closer than float32"])
@pytest.mark.parametrize("k", [1, 7, 60])
def test_the_nearest_are_those_of_a_full_sort(backend, kind, k, monkeypatch):
    monkeypatch.setattr(module, "GALLERY_AT_ONCE", 37)
    monkeypatch.setattr(module, "QUERIES_AT_ONCE", 5)
    rng = np.random.default_rng(k)
    gallery = gallery_of(kind, rng).astype(np.float64 if kind == "closer than float32" else np.float32)
    queries = np.vstack([rng.normal(size=(11, 12)), gallery[:2]])
    found = search(queries, gallery, k, backend)
    if kind == "closer than float32":  # ties at 1e-12 are none here: compare the cosines, not the order
        expected = np.sort(np.array([[q @ g / np.sqrt((q @ q) * (g @ g)) for g in gallery] for q in queries]))[:, ::-1]
        np.testing.assert_allclose(found.cosines, expected[:, :k], atol=1e-15)
    else:
        np.testing.assert_array_equal(found.rows, slow_search(queries, gallery, k))
    assert (np.diff(found.cosines, axis=1) <= 0).all()


def test_a_clear_gallery_is_searched_once(monkeypatch):
    monkeypatch.setattr(module, "_exhaustive", None)
    rng = np.random.default_rng(0)
    search(rng.normal(size=(20, 64)).astype(np.float32), rng.normal(size=(3000, 64)).astype(np.float32), 5, "blocks")


def test_unusable_requests_are_refused():
    rows = np.ones((3, 4), np.float32)
    with pytest.raises(InputError, match="dimensions differ"):
        search(rows, np.ones((3, 5), np.float32), 1)
    with pytest.raises(InputError, match="--k 4: between 1 and the gallery's 3 rows"):
        search(rows, rows, 4)


def test_faiss_is_asked_for_only_where_it_is(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not module.use_faiss("auto")
    with pytest.raises(InputError, match="FAISS is not installed"):
        module.use_faiss("faiss")


def test_the_command_lists_matches(tmp_path, capsys):
    np.save(tmp_path / "g.npy", np.eye(4, dtype=np.float32))
    np.save(tmp_path / "q.npy", np.array([[0, 1, 0.5, 0]], np.float32))
    (tmp_path / "ids.txt").write_text("a\nb\nc\nd\n")
    module.main(["--queries", str(tmp_path / "q.npy"), "--gallery", str(tmp_path / "g.npy"), "--gallery-ids",
                 str(tmp_path / "ids.txt"), "--k", "2", "--backend", "blocks", "--out", str(tmp_path / "out")])
    with open(tmp_path / "out" / "matches.tsv") as stream:
        rows = list(csv.reader(stream, delimiter="\t"))
    assert rows[1:] == [["0", "1", "b", "0.894427"], ["0", "2", "c", "0.447214"]]
    assert "1 queries by blocks" in capsys.readouterr().out
