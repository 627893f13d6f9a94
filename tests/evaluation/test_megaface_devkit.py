"""Devkit files byte for byte, its variant of the protocol, noise lists and run_experiment."""
import json
import os
import stat
import struct

from arcface_mxnet.evaluation.megaface import noise, run_experiment
from arcface_mxnet.evaluation.megaface.devkit_files import (
    matrix_bytes,
    parse_matrix,
    read_matrix,
    read_paths,
    read_probes,
    read_tree,
    write_matrix,
    write_tree,
)
from arcface_mxnet.evaluation.megaface.protocol import Features
from arcface_mxnet.evaluation.megaface.run_experiment import evaluate_devkit, thin
from arcface_mxnet.runtime.errors import InputError
from tests.evaluation.megaface_reference import normalised, pairs, score, tar, trials

import numpy as np
import pytest

PUBLISHED_CMC = [  # two results of the devkit at 100 distractors, printed in a public thread (insightface issue 372)
    ([0, 1, 2, 3, 4, 5, 7, 9, 11, 14, 17, 21, 26, 32, 41, 54, 74, 100],
     [.7638087868690491, .8032987713813782, .8251949548721313, .8412851095199585, .8535284996032715, .8639559149742126,
      .8812437057495117, .8939622640609741, .9058541655540466, .9195685982704163, .9295989274978638, .9410156607627869,
      .952159047126770, .9628793001174927, .9738143682479858, .9844045042991638, .9947472810745239, 1.0]),
    ([0, 1, 2, 3, 5, 7, 9, 11, 13, 16, 19, 23, 28, 35, 43, 54, 71, 90, 100],
     [.7660283446311951, .7958394885063171, .8119166493415833, .8239842653274536, .8400874733924866, .8548563718795776,
      .8678092360496521, .8797271251678467, .8903498053550720, .9029837250709534, .9138927459716797, .9261426329612732,
      .9374357461929321, .9487678408622742, .9589608907699585, .9698048830032349, .9801931977272034, .9904252886772156,
      1.0])]


def test_a_feature_file_byte_for_byte():
    expected = struct.pack("<4i", 3, 1, 4, 5) + struct.pack("<3f", 1.5, -2, 0.25)
    assert matrix_bytes(np.array([1.5, -2, 0.25], np.float32)) == expected
    assert parse_matrix(expected, "x").tolist() == [[1.5], [-2], [0.25]]


def test_matrices_of_both_types_and_any_shape_come_back(tmp_path):
    for values in (np.arange(6, dtype=np.float32).reshape(2, 3), np.arange(4, dtype=np.float64).reshape(4, 1)):
        write_matrix(tmp_path / "m.bin", values)
        np.testing.assert_array_equal(read_matrix(tmp_path / "m.bin"), values)
    assert (tmp_path / "m.bin").read_bytes()[:16] == struct.pack("<4i", 4, 1, 8, 6)


@pytest.mark.parametrize("content", [
    b"", b"123", struct.pack("<4i", 3, 1, 4, 5) + bytes(11), struct.pack("<4i", 3, 1, 4, 5) + bytes(13),
    struct.pack("<4i", 3, 1, 8, 5) + bytes(24), struct.pack("<4i", 3, 1, 4, 7) + bytes(12),
    struct.pack("<4i", -3, 1, 4, 5)])
def test_damaged_matrices_are_refused_by_name(content):
    with pytest.raises(InputError, match="^broken.bin: no whole devkit matrix"):
        parse_matrix(content, "broken.bin")


def test_trees_come_back_and_missing_other_or_broken_features_are_named(tmp_path):
    names = ["a/x.png", "a/y.png", "b/z.png"]
    features = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    write_tree(tmp_path, names, "_e.bin", features)
    np.testing.assert_array_equal(read_tree(tmp_path, names, "_e.bin"), features)
    assert read_tree(tmp_path, names, "_e.bin", spare=1)[:, 4].tolist() == [0, 0, 0]
    with pytest.raises(InputError, match="1 of 4 features are missing, the first: .*b/w.png_e.bin"):
        read_tree(tmp_path, [*names, "b/w.png"], "_e.bin")
    with pytest.raises(InputError, match="4 dimensions where the others have 5"):
        read_tree(tmp_path, names, "_e.bin", dimensions=5)
    write_matrix(tmp_path / "b/z.png_e.bin", np.array([1, np.nan, 0, 0], np.float32))
    with pytest.raises(InputError, match="b/z.png_e.bin: not finite"):
        read_tree(tmp_path, names, "_e.bin")


def test_lists_in_both_forms(tmp_path):
    (tmp_path / "l.json").write_text(json.dumps({"path": ["a/1.png", "b/2.png"], "id": ["A", "B"]}))
    assert read_probes(tmp_path / "l.json") == (["a/1.png", "b/2.png"], ["A", "B"])
    (tmp_path / "l.txt").write_text("# comment\na/1.png\nb/2.png\n")
    assert read_probes(tmp_path / "l.txt").ids == ["a", "b"]
    (tmp_path / "bad.json").write_text('{"id": []}')
    with pytest.raises(InputError, match="bad.json: not a devkit list"):
        read_paths(tmp_path / "bad.json")


@pytest.mark.parametrize("ranks, rates", PUBLISHED_CMC)
def test_curves_are_thinned_as_the_devkit_thins(ranks, rates):
    whole = np.array([rates[np.searchsorted(ranks, rank, side="right") - 1] for rank in range(101)])
    assert thin(whole).tolist() == ranks


def whole_numbers(seed=0, people=5, each=4, distractors=300):
    generator = np.random.default_rng(seed)
    ids = np.repeat([f"p{person}" for person in range(people)], each)
    probes = generator.integers(-2, 3, (people * each, 6)) + 3 * np.repeat(generator.integers(-1, 2, (people, 6)),
                                                                          each, axis=0)
    return probes.astype(np.float32), ids, generator.integers(-4, 5, (distractors, 6)).astype(np.float32)


def thinned(points):
    """The devkit's rule, point by point."""
    kept = [points[0]]
    for point in points[1:]:
        if point[1] > kept[-1][1] + 0.01:
            kept.append(point)
    return kept if kept[-1] == points[-1] else [*kept, points[-1]]


def test_the_devkits_variant_equals_a_slow_one():
    probes, ids, distractors = whole_numbers(people=26, distractors=60)
    result = evaluate_devkit(Features(probes, False), ids, Features(distractors, False))
    slow = trials(probes, ids, distractors)
    ranks = np.array([rank for _, _, rank in slow])
    expected = thinned([(rank, np.mean(ranks <= rank)) for rank in range(61)])
    np.testing.assert_allclose(np.column_stack(result.cmc), expected)
    assert result.rank1 == np.mean(ranks == 0)
    both = pairs(probes, ids, distractors, 100)
    expected = thinned([(accepts / 6000, tar(*both, accepts / 6000)) for accepts in range(6001)])
    np.testing.assert_allclose(np.column_stack(result.roc), expected, atol=1e-12)
    for row in (0, 77):
        scores = [2 * score(probes[row], distractor) for distractor in distractors]
        best = np.argsort(-np.array(scores), kind="stable")[:5]
        assert result.matches[row]["distractors"] == {"idx": best.tolist(), "score": [scores[i] for i in best]}
        searched = sorted((query, rank) for query, mate, rank in slow if mate == row)
        assert list(zip(*result.matches[row]["probes"].values())) == searched
    assert any(rank != dict((mate, other) for query, mate, other in slow if query == 77)[query]
               for query, rank in searched)  # the rank of the mate for this probe would be another one


def test_the_traditional_curve_equals_a_slow_one():
    """Ten galleries of one image a person, drawn as documented, every rank counted one by one."""
    probes, ids, distractors = whole_numbers(people=7, distractors=50)
    result = evaluate_devkit(Features(probes, False), ids, Features(distractors, False))
    people, generator, ranks = list(np.unique(ids)), np.random.RandomState(0), []
    for _ in range(10):
        gallery = {person: np.flatnonzero(ids == person)[generator.randint(4)] for person in people}
        for query in range(len(ids) - len(people)):
            mate = gallery[ids[query]]
            if mate != query:
                against = [distractors[row] for row in range(50)] + [probes[gallery[one]] for one in people]
                ranks.append(sum(score(probes[query], other) > score(probes[query], probes[mate])
                                 for other in against))
    ranks = np.array(ranks)
    last = 50 + len(people) - 1
    expected = thinned([(rank, np.mean(ranks <= rank)) for rank in range(last + 1)])
    np.testing.assert_allclose(np.column_stack(result.traditional_cmc), expected)
    assert result.traditional_cmc[0][-1] == last and 150 < len(ranks) < 210


def test_without_a_query_that_has_a_mate_the_traditional_curve_is_flat():
    probes, _, distractors = whole_numbers(people=2, each=2, distractors=5)
    ids = np.array(["a", "b", "c", "c"])  # the first probe alone is searched, and it has no mate
    result = evaluate_devkit(Features(probes, False), ids, Features(distractors, False))
    assert [axis.tolist() for axis in result.traditional_cmc] == [[0, 7], [0, 0]]


def test_tar_between_thinned_points_is_read_as_the_community_reads_it():
    probes, ids, distractors = whole_numbers()
    result = evaluate_devkit(Features(probes, False), ids, Features(distractors, False))
    object.__setattr__(result, "roc", (np.array([0, 1e-6, 1e-4, 1]), np.array([0.5, 0.6, 0.8, 1])))
    assert result.tar(5e-7) == pytest.approx(0.55)
    assert result.tar(1e-6) == pytest.approx(0.6)
    assert result.tar(1e-5) == pytest.approx(0.7)
    assert result.tar(1) == 1


def test_noisy_probes_become_their_persons_centre_and_noisy_distractors_go_far_away():
    names = ["ann/ann_1.png", "ann/ann_2.png", "ann/ann_3.png", "bob/bob_1.png"]
    features = normalised(np.random.default_rng(1).standard_normal((4, 7))).astype(np.float32)
    cleaned = noise.clean_probes(features, names, frozenset(["ann_2.png"]), seed=3)
    np.testing.assert_array_equal(cleaned[[0, 2, 3], :7], features[[0, 2, 3]])
    assert cleaned[:, 7].tolist() == [0, 0, 0, 0]
    centre = features[0].astype(float) + features[2]
    assert np.linalg.norm(cleaned[1]) == pytest.approx(1)
    assert np.abs(cleaned[1, :7] * np.linalg.norm(centre) - centre).max() < 0.0025
    np.testing.assert_array_equal(cleaned, noise.clean_probes(features, names, frozenset(["ann_2.png"]), seed=3))
    wide = np.zeros((2, 4), np.float32)
    assert noise.mark_distractors(wide, ["1/2/3.jpg", "x/1/2/4.jpg"], frozenset(["1/2/4.jpg"])) == 1
    assert wide[:, 3].tolist() == [0, 100]
    with pytest.raises(InputError, match="every image of bob"):
        noise.clean_probes(features, names, frozenset(["bob_1.png"]), seed=3)


def test_noise_lists_skip_comments_and_take_the_second_column(tmp_path):
    (tmp_path / "n.txt").write_text("# rules\na/b/1.jpg\nwhy\ta/b/2.jpg\na/b/1.jpg\n")
    assert noise.read_noises(tmp_path / "n.txt") == {"a/b/1.jpg", "a/b/2.jpg"}


def test_the_published_noise_lists(fixtures):
    probes = noise.read_noises(fixtures / "megaface/facescrub_noises.txt")
    assert len(probes) == 605
    assert len({name.rpartition(".")[0].rpartition("_")[0] for name in probes}) == 265
    assert len(noise.read_noises(fixtures / "megaface/megaface_noises.txt")) == 707
    listed = [line.split()[0] for line in
              (fixtures / "megaface/facescrub2template_name.txt").read_text().splitlines()]
    persons = np.array([name.split("/")[0] for name in listed])
    stems = {name.rpartition(".")[0] for name in probes}
    noisy = [name for name in listed if name.split("/")[1].rpartition(".")[0] in stems]
    assert len(listed) == 3530 and len(set(persons)) == 80
    assert (len(noisy), len({name.split("/")[0] for name in noisy})) == (24, 18)
    _, sizes = np.unique(persons, return_counts=True)
    assert np.sum(sizes * (sizes - 1)) == 153634


@pytest.fixture
def devkit(tmp_path):
    """Feature trees, lists and the devkit's folders, as the original expects them."""
    probes, ids, distractors = whole_numbers(distractors=40)
    names = [f"{person}/{person}_{number}.png" for number, person in enumerate(ids)]
    others = [f"1/{number}@N00/{number}.jpg" for number in range(40)]
    write_tree(tmp_path / "in/facescrub", names, "_insightface.bin", probes)
    write_tree(tmp_path / "in/megaface", others, "_insightface.bin", distractors)
    lists = tmp_path / "templatelists"
    lists.mkdir()
    (lists / "facescrub_features_list.json").write_text(json.dumps({"path": names, "id": ids.tolist()}))
    for size in (10, 40):
        (lists / f"megaface_features_list.json_{size}_1").write_text(json.dumps({"path": others[:size]}))
    (tmp_path / "experiments").mkdir()
    return tmp_path, names, others, probes, ids, distractors


def command(root, *more):
    return [str(root / "in/megaface"), str(root / "in/facescrub"), "_insightface.bin", str(root / "out"),
            "-s", "10", "40", *more]


def test_run_experiment_computes_what_the_binaries_would(devkit, monkeypatch, capsys):
    root, _, _, probes, ids, distractors = devkit
    monkeypatch.chdir(root / "experiments")
    run_experiment.main(command(root))
    for size in (10, 40):
        found = json.loads((root / f"out/cmc_facescrub_megaface_insightface_{size}_1.json").read_text())
        ranks = np.array([rank for _, _, rank in trials(probes, ids, distractors[:size])])
        assert set(found) == {"cmc", "roc", "traditional_cmc"}
        assert found["cmc"][0][0] == 0 and found["cmc"][1][0] == np.float32(np.mean(ranks == 0))
        matches = json.loads((root / f"out/matches_facescrub_megaface_insightface_{size}_1.json").read_text())
        assert len(matches) == len(probes) and len(matches[0]["distractors"]["idx"]) == 5
        assert (root / f"out/otherFiles/megaface_features_insightface_{size}_1").exists()
    assert capsys.readouterr().out.count("Rank 1: ") == 2
    with pytest.raises(InputError, match="--num_sets 0: at least 1"):
        run_experiment.main(command(root, "-ns", "0"))
    with pytest.raises(InputError, match="no such folder"):
        run_experiment.main([str(root / "nowhere"), *command(root)[1:]])
    (root / "in/megaface/1/7@N00/7.jpg_insightface.bin").unlink()
    with pytest.raises(InputError, match="1 of 10 features are missing"):
        run_experiment.main(command(root))


def test_run_experiment_runs_the_binaries_where_they_are(devkit, monkeypatch):
    root = devkit[0]
    (root / "bin").mkdir()
    for name in ("Identification", "FuseResults"):
        program = root / "bin" / name
        program.write_text(f'#!/bin/sh\necho "{name} $@" >> {root}/calls\n'
                           + ('touch "$5"\n' if name == "Identification" else 'touch "$5" "$6"\n'))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.chdir(root / "experiments")
    run_experiment.main(command(root, "-d"))
    calls = (root / "calls").read_text().splitlines()
    assert [line.split()[0] for line in calls] == ["Identification", "Identification", "FuseResults",
                                                   "Identification", "FuseResults"]
    first = calls[0].split()
    assert first[1] == os.path.join("..", "models", "jb_identity.bin") and first[2] == "path" and first[3] == first[4]
    assert calls[2].split()[4] == "10" and calls[2].split()[5].endswith("cmc_facescrub_megaface_insightface_10_1.json")
    assert not list((root / "out/otherFiles").glob("facescrub_megaface_*.bin"))
    (root / "bin/FuseResults").write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(InputError, match="FuseResults: stopped with status 3"):
        run_experiment.main(command(root))


def test_the_noise_command_writes_cleaned_trees(devkit, capsys):
    root, names, others, probes, _, _ = devkit
    for name, lines in (("fs", names), ("mf", others), ("fn", ["p0_1.png"]), ("mn", ["1/3@N00/3.jpg"])):
        (root / name).write_text("\n".join(lines) + "\n")
    noise.main(["--facescrub-lst", str(root / "fs"), "--megaface-lst", str(root / "mf"), "--facescrub-noises",
                str(root / "fn"), "--megaface-noises", str(root / "mn"), "--features", str(root / "in"),
                "--out", str(root / "clean")])
    far = read_tree(root / "clean/megaface", others, "_insightface.bin")
    assert far.shape == (40, 7) and np.flatnonzero(far[:, 6] == 100).tolist() == [3]
    cleaned = read_tree(root / "clean/facescrub", names, "_insightface.bin")
    np.testing.assert_array_equal(cleaned[2:, :6], probes[2:])
    assert "1 of them noise" in capsys.readouterr().out
