"""`python -m arcface_mxnet.evaluation.megaface`: saved features, devkit trees, images and a checkpoint; bad input."""
import json
import subprocess
import sys

from arcface_mxnet.evaluation import paper
from arcface_mxnet.evaluation.megaface.__main__ import main
from arcface_mxnet.evaluation.megaface.devkit_files import write_tree
from arcface_mxnet.graph.checkpoint import save
from arcface_mxnet.runtime.errors import InputError
from tests.evaluation.megaface_reference import normalised, pairs, tar, trials

import cv2
import numpy as np
import pytest


@pytest.fixture
def saved(tmp_path):
    """Features of 20 probes of 5 people and 120 distractors as .npy, ids and names as text, and as devkit trees."""
    generator = np.random.default_rng(0)
    people = np.repeat(np.arange(5), 4)
    probes = (generator.standard_normal((5, 8))[people] + 0.6 * generator.standard_normal((20, 8))).astype(np.float32)
    distractors = generator.standard_normal((120, 8)).astype(np.float32)
    np.save(tmp_path / "P.npy", probes)
    np.save(tmp_path / "D.npy", distractors)
    names = [f"person{person}/person{person}_{row}.png" for row, person in enumerate(people)]
    others = [f"{row % 3}/{row}@N00/{row}.jpg" for row in range(120)]
    (tmp_path / "P.txt").write_text("\n".join(f"person{person}" for person in people) + "\n")
    (tmp_path / "names").write_text("\n".join(names) + "\n")
    (tmp_path / "others").write_text("\n".join(others) + "\n")
    (tmp_path / "noises").mkdir()
    (tmp_path / "noises/facescrub_noises.txt").write_text("#\nperson1_5.png\n")
    (tmp_path / "noises/megaface_noises.txt").write_text("#\n1/1@N00/1.jpg\n2/2@N00/2.jpg\n")
    write_tree(tmp_path / "tree/facescrub", names, "_e.bin", normalised(probes))
    write_tree(tmp_path / "tree/megaface", others, "_e.bin", normalised(distractors))
    return tmp_path, probes, people, distractors


def from_arrays(root, *more, out="out"):
    return ["--probe-features", str(root / "P.npy"), "--probe-ids", str(root / "P.txt"), "--distractor-features",
            str(root / "D.npy"), "--distractors", "120", "--far", "1e-3,1e-2", "--out", str(root / out), *more]


def from_trees(root, *more, out="trees"):
    return ["--probe-dir", str(root / "tree/facescrub"), "--distractor-dir", str(root / "tree/megaface"), "--ending",
            "_e.bin", "--probe-list", str(root / "names"), "--distractor-list", str(root / "others"),
            "--distractors", "120", "--far", "1e-3,1e-2", "--out", str(root / out), *more]


def draw_pictures(root, small):
    """An image for every name, under probes/ and distractors/, and a checkpoint."""
    save(small(dimensions=6), str(root / "model"), 0)
    generator = np.random.default_rng(1)
    for place, names in (("probes", "names"), ("distractors", "others")):
        for name in (root / names).read_text().split():
            path = root / place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), generator.integers(0, 255, (16, 16, 3), np.uint8))


def result(root, out="out"):
    return json.loads((root / out / "result.json").read_text())


def test_saved_features_give_the_slow_figures(saved, capsys):
    root, probes, people, distractors = saved
    main(from_arrays(root, "--devkit", "--distractors", "10,120"))
    found = result(root)
    for count in (10, 120):
        unit, others = normalised(probes), normalised(distractors)[:count]
        ranks = np.array([rank for _, _, rank in trials(unit, people, others)])
        both = pairs(unit, people, others)
        entry = found[str(count)]
        assert entry["rank1"] == entry["cmc"]["1"] == np.mean(ranks == 0)
        assert entry["cmc"]["10"] == pytest.approx(np.mean(ranks < 10))
        assert {float(far): rate for far, rate in entry["tar"].items()} == pytest.approx(
            {1e-3: tar(*both, 1e-3), 1e-2: tar(*both, 1e-2)})
        assert entry["devkit"]["rank1"] == pytest.approx(entry["rank1"], abs=1e-7)
        assert (root / f"out/cmc_facescrub_megaface_insightface_{count}_1.json").exists()
    assert found["120"]["impostor_pairs"] == 2400 and found["120"]["about"]["data"]["P.npy"]
    assert (root / "out/120_cmc.png").exists() and "rank-1" in (root / "out/result.md").read_text()
    assert "120 distractors, set 1: rank-1" in capsys.readouterr().out


def test_the_papers_figures_stand_beside_lists_as_long_as_its_own(saved, monkeypatch):
    root = saved[0]
    monkeypatch.setattr(paper, "FULL_SIZE", 120)
    main(from_arrays(root))
    assert "paper" not in (root / "out/result.md").read_text()  # a million distractors, but other probes
    monkeypatch.setattr(paper, "PROBES", 20)
    monkeypatch.setattr(paper, "PROBE_PERSONS", 5)
    main(from_arrays(root))
    assert "| 81.03 % |" in (root / "out/result.md").read_text()


def test_devkit_trees_give_the_same_figures_as_arrays(saved):
    root = saved[0]
    main(from_arrays(root))
    main(from_trees(root))
    for figure in ("rank1", "cmc", "tar"):
        assert result(root)["120"][figure] == result(root, "trees")["120"][figure]


def test_noise_lists_apply_the_same_way_to_trees_and_arrays(saved):
    root = saved[0]
    noises = ["--noises", str(root / "noises")]
    main(from_arrays(root, *noises, "--probe-names", str(root / "names"), "--distractor-names", str(root / "others")))
    main(from_trees(root, *noises))
    refined = result(root, "trees")["120"]
    assert refined["about"]["notes"]["refined"] and refined["tar"] == result(root)["120"]["tar"]
    assert refined["rank1"] == result(root)["120"]["rank1"]


def test_several_sets_are_shuffled_and_named_after_the_first(saved):
    root = saved[0]
    main(from_arrays(root, "--sets", "2"))
    found = result(root)
    assert set(found) == {"120", "120_2"}
    assert found["120"]["rank1"] == found["120_2"]["rank1"]


def test_a_checkpoint_and_images(saved, small):
    root = saved[0]
    draw_pictures(root, small)
    arguments = ["--model", f"{root / 'model'},0", "--probe-images", str(root / "probes"), "--distractor-images",
                 str(root / "distractors"), "--probe-list", str(root / "names"), "--distractor-list",
                 str(root / "others"), "--size", "16,16", "--gpus", "cpu", "--far", "0.01",
                 "--distractors", "120", "--out", str(root / "run")]
    main(arguments)
    assert 0 <= result(root, "run")["120"]["rank1"] <= 1
    assert result(root, "run")["120"]["about"]["model"]
    (root / "distractors/0/0@N00/0.jpg").write_text("no image")
    with pytest.raises(InputError, match="1 images cannot be read, the first: 0/0@N00/0.jpg"):
        main([*arguments[:-1], str(root / "again")])


@pytest.mark.parametrize("change, message", [
    (lambda root: np.save(root / "D.npy", np.ones((5, 3), np.float32)), "probes of 8 dimensions"),
    (lambda root: np.save(root / "P.npy", np.full((20, 8), np.nan, np.float32)), "row 0 is not finite"),
    (lambda root: np.save(root / "P.npy", np.zeros((20, 8), np.float32)), "row 0 is all zeros"),
    (lambda root: (root / "P.txt").write_text("a\n"), "1 ids for 20 features"),
    (lambda root: (root / "D.npy").write_bytes((root / "D.npy").read_bytes()[:-9]), "half written"),
    (lambda root: (root / "D.npy").unlink(), "D.npy: not found")])
def test_bad_files_are_one_line(saved, change, message):
    change(saved[0])
    with pytest.raises(InputError, match=message) as caught:
        main(from_arrays(saved[0]))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("more, message", [
    (["--distractors", "10,x"], "expected numbers"), (["--distractors", "121"], "--distractors 121"),
    (["--far", "2"], "--far"), (["--far", "nan"], "--far nan"), (["--far", "1e-3,nan"], "--far 0.001,nan"),
    (["--sets", "0"], "--sets 0: at least 1"), (["--sets", "-3"], "--sets -3"),
    (["--distractor-dir", "x"], "--distractor-features and --distractor-dir: give one"),
    (["--probe-images", "x"], "--probe-features and --probe-images: give one"),
    (["--noises", "nowhere"], "--probe-names")])
def test_bad_flags_are_one_line(saved, more, message):
    with pytest.raises(InputError, match=message):
        main(from_arrays(saved[0], *more))


def test_the_process_ends_with_status_2(saved):
    run = subprocess.run([sys.executable, "-m", "arcface_mxnet.evaluation.megaface",
                          *from_arrays(saved[0], "--far", "7")], capture_output=True, text=True, check=False)
    assert run.returncode == 2 and run.stderr.startswith("error: --far 7") and run.stderr.count("\n") == 1


def without_list(arguments):
    place = arguments.index("--distractor-list")
    return arguments[:place] + arguments[place + 2:]


def test_trees_need_no_list_of_distractors(saved, capsys):
    """Without a list the distractors are every feature of the tree, sorted by path."""
    root = saved[0]
    ordered = sorted((root / "others").read_text().split())
    (root / "others").write_text("\n".join(ordered) + "\n")
    (root / "tree/megaface/0/notes.txt").write_text("no feature")
    noises = ["--noises", str(root / "noises"), "--distractors", "7,120"]
    main(from_trees(root, *noises))
    capsys.readouterr()
    main(without_list(from_trees(root, *noises, out="plain")))
    listed, found = result(root, "trees"), result(root, "plain")
    for count in ("7", "120"):
        for figure in ("rank1", "cmc", "tar"):
            assert found[count][figure] == listed[count][figure]
    assert "all 120 images in" in found["7"]["about"]["notes"]["distractors"]
    assert "sorted by path" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"no file \*_x.bin"):
        main(without_list(from_trees(root, "--distractor-dir", str(root / "noises"), "--ending", "_x.bin",
                                     "--probe-features", str(root / "P.npy"), "--probe-dir", "", "--probe-ids",
                                     str(root / "P.txt"))))


def test_the_devkits_lists_beside_the_probe_list_are_taken(saved):
    root = saved[0]
    lists = root / "templatelists"
    lists.mkdir()
    names = (root / "names").read_text().split()
    (lists / "facescrub_features_list.json").write_text(json.dumps(
        {"path": names, "id": [name.split("/")[0] for name in names]}))
    others = (root / "others").read_text().split()
    chosen = {(30, 1): others[50:80], (60, 1): others[20:80], (30, 2): others[:30], (60, 2): others[:60]}
    for (size, number), paths in chosen.items():
        (lists / f"megaface_features_list.json_{size}_{number}").write_text(json.dumps({"path": paths}))
    flags = without_list(from_trees(root, "--probe-list", str(lists / "facescrub_features_list.json"), "--sets", "2"))
    place = flags.index("--distractors")
    main(flags[:place] + flags[place + 2:])
    found = result(root, "trees")
    assert set(found) == {"30", "60", "30_2", "60_2"}
    assert "templatelists" in found["30"]["about"]["notes"]["distractors"]
    np.save(root / "D.npy", saved[3][50:80])
    main(from_arrays(root, "--distractors", "30"))
    assert found["30"]["rank1"] == result(root)["30"]["rank1"] and found["30"]["tar"] == result(root)["30"]["tar"]


def test_images_need_no_list_of_distractors(saved, small):
    root = saved[0]
    draw_pictures(root, small)
    main(["--model", f"{root / 'model'},0", "--probe-images", str(root / "probes"), "--distractor-images",
          str(root / "distractors"), "--probe-list", str(root / "names"), "--size", "16,16", "--gpus", "cpu",
          "--far", "0.01", "--out", str(root / "run")])
    assert set(result(root, "run")) == {"10", "100", "120"}
