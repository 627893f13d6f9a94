"""Trillion-Pairs against a double loop, the submission's bytes, and the command."""
import json
import struct

from arcface_mxnet.evaluation import paper, ranking, trillion_pairs
from arcface_mxnet.evaluation.trillion_pairs import evaluate, write_submission
from arcface_mxnet.runtime.errors import InputError

import numpy as np
import pytest


def slow(probes, ids, gallery, verification_fpr, identification_fpr):
    """Both figures by loops over all pairs."""
    def unit(rows):
        return [row / np.linalg.norm(row) if np.linalg.norm(row) else row for row in rows.astype(float)]

    left, right = unit(probes), unit(gallery)
    impostor = [[float(one @ other) for other in right] for one in left]
    best = [max(row) for row in impostor]
    ordered = sorted((score for row in impostor for score in row), reverse=True)
    answers = sorted(best, reverse=True)
    allowed, wanted = int(verification_fpr * len(ordered) + 1e-9), int(identification_fpr * len(best) + 1e-9)
    limit = ordered[allowed] if allowed < len(ordered) else -np.inf
    floor = answers[wanted] if wanted < len(answers) else -np.inf
    pairs = [(a, float(left[a] @ left[b])) for a in range(len(left)) for b in range(len(left))
             if a != b and ids[a] == ids[b]]
    return (np.mean([score > best[a] and score > floor for a, score in pairs]),
            np.mean([score > limit for _, score in pairs]))


def clustered(seed, spread=1.0):
    generator = np.random.default_rng(seed)
    ids = generator.integers(0, 7, 40)
    probes = generator.standard_normal((7, 8))[ids] + spread * generator.standard_normal((40, 8))
    return probes.astype(np.float32), ids, generator.standard_normal((150, 8)).astype(np.float32)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("fprs", [(1e-9, 1e-3), (1e-3, 0.1), (0.05, 0.5), (1.0, 1.0)])
def test_both_figures_equal_the_slow_ones(seed, fprs, monkeypatch):
    monkeypatch.setattr(trillion_pairs, "PROBES_AT_ONCE", 17)
    given = clustered(seed)
    result = evaluate(*given, *fprs)
    assert (result.identification, result.verification) == pytest.approx(slow(*given, *fprs))
    assert result.impostor_pairs == 6000
    assert np.all(np.diff(result.far) <= 0) and np.all(np.diff(result.tar) <= 0)


def test_ties_never_help():
    """Signs over two are unit vectors whose products are exact, so gallery images tie with mates to the last bit."""
    generator = np.random.default_rng(9)
    ids = np.repeat(np.arange(5), 4)
    probes = (generator.integers(0, 2, (20, 4)) * 2 - 1).astype(np.float32)
    gallery = (generator.integers(0, 2, (30, 4)) * 2 - 1).astype(np.float32)
    given = (probes, ids, gallery, 0.3, 0.9)
    result = evaluate(*given)
    assert (result.identification, result.verification) == pytest.approx(slow(*given))
    collapsed = evaluate(np.ones((6, 4), np.float32), np.zeros(6), np.ones((5, 4), np.float32), 0.1, 0.1)
    assert (collapsed.identification, collapsed.verification) == (0, 0)


@pytest.mark.parametrize("dimensions", [8, 64, 512])
@pytest.mark.parametrize("people", [1, 2, 3, 8, 30])
def test_mates_among_the_gallery_tie_to_the_last_bit(dimensions, people, monkeypatch):
    """The gallery holds a copy of one probe of each person: for the other probe it ties with the mate, for itself it
    wins. So nobody is identified, however the products are rounded in blocks of any shape.
    """
    monkeypatch.setattr(trillion_pairs, "PROBES_AT_ONCE", 7)
    generator = np.random.default_rng(dimensions + people)
    ids = np.repeat(np.arange(people), 2)
    probes = generator.standard_normal((people, dimensions))[ids] + 0.5 * generator.standard_normal((len(ids),
                                                                                                      dimensions))
    probes = (probes * generator.uniform(1, 30, (len(ids), 1))).astype(np.float32)
    gallery = np.vstack([probes[1::2], generator.standard_normal((90, dimensions)).astype(np.float32)])
    gallery = gallery[generator.permutation(len(gallery))]
    assert evaluate(probes, ids, gallery, 1e-9, 1.0).identification == 0
    without = gallery[np.abs(gallery[:, None] - probes[1::2]).max(axis=2).min(axis=1) > 0]
    assert evaluate(probes, ids, without, 1e-9, 1.0).identification > 0


@pytest.mark.parametrize("dimensions", [16, 512])
def test_a_genuine_pair_that_ties_with_the_threshold_is_not_accepted(dimensions):
    """One gallery image is a copy of somebody's second probe, a query of everybody: the threshold that lets through
    the pairs above it is then exactly a genuine score.
    """
    generator = np.random.default_rng(dimensions)
    for _ in range(6):
        ids = np.repeat(np.arange(9), 2)
        probes = (3 * generator.standard_normal((9, dimensions))[ids]
                  + generator.standard_normal((18, dimensions))).astype(np.float32)
        gallery = generator.standard_normal((40, dimensions)).astype(np.float32)
        gallery[17] = probes[7]
        result = evaluate(probes, ids, gallery, 1 / 720, 1.0)  # one false accept: the copy with itself
        unit = probes.astype(float) / np.linalg.norm(probes.astype(float), axis=1)[:, None]
        tied = np.sum(unit[6] * unit[7])
        assert result.verification_threshold == pytest.approx(tied, abs=1e-14)
        assert result.verification == np.mean([np.sum(unit[2 * person] * unit[2 * person + 1]) > tied + 1e-9
                                               for person in range(9)])


def test_a_collapsed_network_identifies_nobody(monkeypatch):
    """Everything within rounding of everything: more near ties than are scored again count as ties."""
    monkeypatch.setattr(ranking, "MOST_NEAR", 8)
    generator = np.random.default_rng(0)
    rows = np.ones(32) + 1e-9 * generator.standard_normal((60, 32))
    result = evaluate(rows[:20], np.arange(20) // 4, rows[20:], 0.1, 0.1)
    assert result.identification == 0 and result.unresolved == 20


def test_zero_vectors_and_lone_probes_are_counted_as_they_are():
    probes, ids, gallery = clustered(5)
    probes[3], gallery[10], ids[0] = 0, 0, 99
    assert evaluate(probes, ids, gallery, 0.01, 0.1).verification == pytest.approx(
        slow(probes, ids, gallery, 0.01, 0.1)[1])


@pytest.mark.parametrize("change, message", [
    (lambda p, i, g: (p, i[1:], g), "39 ids for 40"), (lambda p, i, g: (p, np.arange(40), g), "no person has two"),
    (lambda p, i, g: (p, i, g[:, 1:]), "probes of 8 dimensions"),
    (lambda p, i, g: (p, i, g * np.nan), "gallery features: a row is not finite"),
    (lambda p, i, g: (p * np.inf, i, g), "probe features: row 0")])
def test_bad_input_is_one_line(change, message):
    with np.errstate(invalid="ignore"), pytest.raises(InputError, match=message):
        evaluate(*change(*clustered(6)))


def test_the_submission_is_one_matrix(tmp_path):
    parts = [np.array([[3, 4], [0, 0]], np.float32), np.array([[0, -2]], np.float32)]
    assert write_submission(tmp_path / "s.bin", parts) == (3, 2)
    assert (tmp_path / "s.bin").read_bytes() == struct.pack("<4i", 3, 2, 8, 5) + struct.pack("<6f", .6, .8, 0, 0, 0, -1)
    with pytest.raises(InputError, match="3 dimensions where 2"):
        write_submission(tmp_path / "s.bin", [parts[0], np.zeros((1, 3), np.float32)])


def test_the_papers_figure_stands_beside_as_many_images_as_its_own(tmp_path, monkeypatch):
    """And only where the false positive rate is the paper's too: here that of identification."""
    probes, ids, gallery = clustered(7)
    np.save(tmp_path / "P.npy", probes)
    np.save(tmp_path / "G.npy", gallery)
    (tmp_path / "ids").write_text("\n".join(map(str, ids)) + "\n")
    monkeypatch.setattr(paper, "TRILLION_PAIRS_IMAGES", 190)
    trillion_pairs.main(["--probe-features", str(tmp_path / "P.npy"), "--probe-ids", str(tmp_path / "ids"),
                         "--gallery-features", str(tmp_path / "G.npy"), "--verification-fpr", "1e-2", "--out",
                         str(tmp_path / "out")])
    table = (tmp_path / "out/result.md").read_text()
    assert "| 80.97 % |" in table and "78.60" not in table


def test_the_command(tmp_path, capsys):
    probes, ids, gallery = clustered(7)
    np.save(tmp_path / "P.npy", probes)
    np.save(tmp_path / "G.npy", gallery)
    (tmp_path / "ids").write_text("\n".join(map(str, ids)) + "\n")
    arguments = ["--probe-features", str(tmp_path / "P.npy"), "--probe-ids", str(tmp_path / "ids"),
                 "--gallery-features", str(tmp_path / "G.npy"), "--verification-fpr", "1e-2", "--submission",
                 str(tmp_path / "s.bin"), "--out", str(tmp_path / "out")]
    trillion_pairs.main(arguments)
    found = json.loads((tmp_path / "out/result.json").read_text())["trillion_pairs"]
    assert found["verification"] == pytest.approx(slow(probes, ids, gallery, 1e-2, 1e-3)[1])
    assert (tmp_path / "s.bin").stat().st_size == 16 + 190 * 32
    assert "our reading" in capsys.readouterr().out
    assert "paper" not in (tmp_path / "out/result.md").read_text()  # Table 8 is of other lists
    with pytest.raises(InputError, match="--gallery-features"):
        trillion_pairs.main([*arguments[:4], "--out", str(tmp_path / "out")])
    for flag in ("--verification-fpr", "--identification-fpr"):
        for rate in ("nan", "0", "-1", "1.5", "inf"):
            with pytest.raises(InputError, match=f"false positive rate {float(rate):g}: above 0 and at most 1"):
                trillion_pairs.main([*arguments, flag, rate])
    (tmp_path / "G.npy").write_bytes((tmp_path / "G.npy").read_bytes()[:-1])
    with pytest.raises(InputError, match="G.npy: no whole .npy array"):
        trillion_pairs.main(arguments)
    np.save(tmp_path / "G.npy", gallery)
    (tmp_path / "ids").write_text("0\n")
    with pytest.raises(InputError, match="1 ids for 40 features"):
        trillion_pairs.main(arguments)
