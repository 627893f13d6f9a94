"""Every protocol's command and every kind of damaged input: one line that names the file, never a traceback."""
import io
import json

from arcface_mxnet.datasets.pairs import write_pack
from arcface_mxnet.evaluation import aggregate, angles, iqiyi, search, trillion_pairs, verification, video
from arcface_mxnet.evaluation.clustering.__main__ import main as clustering
from arcface_mxnet.evaluation.features import normalise
from arcface_mxnet.evaluation.ijb.__main__ import main as ijb
from arcface_mxnet.evaluation.megaface import noise, run_experiment
from arcface_mxnet.evaluation.megaface.__main__ import main as megaface
from arcface_mxnet.evaluation.megaface.devkit_files import write_matrix, write_tree
from arcface_mxnet.runtime.errors import InputError

import cv2
import numpy as np
import pytest

PROBE, DISTRACTOR = "tree/facescrub/p0/p0_0.png_e.bin", "tree/megaface/0/0@N/0.jpg_e.bin"
NOISES = ("noises/facescrub_noises.txt", "noises/megaface_noises.txt")


def write_lines(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def write_features(root, generator):
    for name, rows, columns in (("pairs", 40, 8), ("frames", 24, 8), ("train", 24, 8), ("train_c", 24, 5), ("g", 40, 8),
                                ("test", 24, 8), ("test_c", 24, 5), ("q", 5, 8), ("F", 24, 8), ("F2", 24, 8),
                                ("W", 5, 8), ("P", 20, 8), ("D", 30, 8)):
        np.save(root / f"{name}.npy", generator.standard_normal((rows, columns)).astype(np.float32))


def write_megaface(root):
    people = np.repeat(np.arange(5), 4)
    probes = [f"p{person}/p{person}_{row}.png" for row, person in enumerate(people)]
    others = [f"{row % 3}/{row}@N/{row}.jpg" for row in range(30)]
    write_lines(root / "P.txt", people)
    write_lines(root / "pl", probes)
    write_lines(root / "dl", others)
    write_lines(root / NOISES[0], ["p1_5.png"])
    write_lines(root / NOISES[1], ["1/1@N/1.jpg"])
    write_tree(root / "tree/facescrub", probes, "_e.bin", normalise(np.load(root / "P.npy")))
    write_tree(root / "tree/megaface", others, "_e.bin", normalise(np.load(root / "D.npy")))
    write_lines(root / "lists/facescrub_features_list.json",
                [json.dumps({"path": probes, "id": people.tolist()})])
    write_lines(root / "lists/megaface_features_list.json_10_1", [json.dumps({"path": others[:10]})])


def write_ijb(root):
    subjects, templates = np.tile(np.arange(6), 2), np.arange(12) + 10
    write_lines(root / "ijbc_face_tid_mid.txt", [f"{row}.jpg {templates[row // 2]} {row}" for row in range(24)])
    write_lines(root / "ijbc_name_5pts_score.txt", [f"{row}.jpg " + "1 " * 10 + "0.9" for row in range(24)])
    write_lines(root / "ijbc_template_pair_label.txt",
                [f"{a} {b} {int(a + 6 == b)}" for a in templates[:6] for b in templates[6:]])
    for name, rows in (("gallery_G1", range(3)), ("gallery_G2", range(3, 6)), ("probe_mixed", range(6, 12))):
        write_lines(root / f"ijbc_1N_{name}.csv", ["TEMPLATE_ID,SUBJECT_ID"]
                    + [f"{templates[row]},{subjects[row]}" for row in rows])


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Sound input of every command, in the working folder."""
    generator = np.random.default_rng(0)
    write_features(tmp_path, generator)
    pictures = [cv2.imencode(".png", generator.integers(0, 255, (16, 16, 3), np.uint8))[1].tobytes()] * 40
    write_pack(tmp_path / "lfw.bin", pictures, [True, False] * 10)
    videos = [f"P_{number // 2}/{number % 2}" for number in range(8)]
    write_lines(tmp_path / "splits.txt", [
        f"{split}, {pair}, {videos[2 * (split + pair) % 8]}, "
        f"{videos[(2 * (split + pair) + (1 if pair < 2 else 3)) % 8]}, {int(pair < 2)}"
        for split in (1, 2) for pair in range(4)])
    write_lines(tmp_path / "frames.ids", [f"{name}/{frame}.jpg" for name in videos for frame in range(3)])
    write_megaface(tmp_path)
    write_ijb(tmp_path)
    for part in ("train", "test"):
        write_lines(tmp_path / f"{part}.ids", [f"v{row // 2}" for row in range(24)])
        write_lines(tmp_path / f"{part}.labels", [f"v{video} {video % 4}" for video in range(12)])
    write_lines(tmp_path / "g.ids", [f"g{row}" for row in range(40)])
    write_lines(tmp_path / "g.labels", [row // 8 for row in range(40)])
    write_lines(tmp_path / "scores", [row / 40 for row in range(40)])
    monkeypatch.chdir(tmp_path)
    return tmp_path


IJB = "--target ijbc --meta . --features F.npy --flipped-features F2.npy --mode N1D1F2 --out out"
MEGAFACE = "--probe-features P.npy --probe-ids P.txt --distractor-features D.npy --far 1e-2 --out out"
GROUPS = "--features g.npy --groups g.labels --out out"
CLUSTERS = "--features g.npy --labels g.labels --out out"
COMMANDS = {  # command line, features, lists of one line a row, other files
    "pairs": (verification.main, "--features pairs.npy --data-dir . --target lfw --bootstrap 9 --out out",
              ["pairs.npy"], [], ["lfw.bin"]),
    "ytf": (video.main, "--features frames.npy --ids frames.ids --splits splits.txt --out out", ["frames.npy"],
            ["frames.ids"], ["splits.txt"]),
    "megaface": (megaface, MEGAFACE, ["P.npy", "D.npy"], ["P.txt"], []),
    "megaface refined": (megaface, f"{MEGAFACE} --noises noises --probe-names pl --distractor-names dl",
                         ["P.npy", "D.npy"], ["P.txt", "pl", "dl"], NOISES),
    "megaface trees": (megaface, "--probe-dir tree/facescrub --distractor-dir tree/megaface --ending _e.bin "
                       "--probe-list pl --distractor-list dl --noises noises --far 1e-2 --out out", [], [],
                       ["pl", "dl", *NOISES, PROBE, DISTRACTOR]),
    "run_experiment": (run_experiment.main, "tree/megaface tree/facescrub _e.bin out -s 10 -p "
                       "lists/facescrub_features_list.json -dlp lists", [], [],
                       ["lists/facescrub_features_list.json", "lists/megaface_features_list.json_10_1", PROBE,
                        DISTRACTOR]),
    "noise": (noise.main, "--facescrub-noises noises/facescrub_noises.txt --megaface-noises noises/megaface_noises.txt "
              "--facescrub-lst pl --megaface-lst dl --algorithm e --features tree --out clean",
              [], [], ["pl", "dl", *NOISES, PROBE, DISTRACTOR]),
    "ijb verify": (ijb, f"verify {IJB}", ["F.npy", "F2.npy"], [],
                   ["ijbc_face_tid_mid.txt", "ijbc_name_5pts_score.txt", "ijbc_template_pair_label.txt"]),
    "ijb identify": (ijb, f"identify {IJB}", ["F.npy", "F2.npy"], [], ["ijbc_face_tid_mid.txt",
                     "ijbc_1N_gallery_G1.csv", "ijbc_1N_probe_mixed.csv"]),
    "trillion pairs": (trillion_pairs.main, "--probe-features P.npy --probe-ids P.txt --gallery-features D.npy "
                       "--out out", ["P.npy", "D.npy"], ["P.txt"], []),
    "iqiyi": (iqiyi.main, "--train-features train.npy --train-ids train.ids --train-labels train.labels "
              "--test-features test.npy --test-ids test.ids --test-labels test.labels --context-train train_c.npy "
              "--context-test test_c.npy --hidden 4 --epochs 1 --out out", ["train.npy", "test.npy", "test_c.npy"],
              ["train.ids", "test.ids"], ["train.labels", "test.labels"]),
    "search": (search.main, "--queries q.npy --gallery g.npy --gallery-ids g.ids --k 3 --backend blocks --out out",
               ["g.npy"], ["g.ids"], []),
    "angles": (angles.main, "--features g.npy --labels g.labels --centres W.npy --negatives 9 --out out", ["g.npy"],
               ["g.labels"], []),
    "aggregate": (aggregate.main, f"{GROUPS} --rule detector --scores scores", ["g.npy"], ["g.labels", "scores"], []),
    "quality": (aggregate.main, f"{GROUPS} --rule quality --train-features g.npy --train-labels g.labels --max-steps 2",
                ["g.npy"], ["g.labels"], []),
    "clustering": (clustering, f"{CLUSTERS} --method threshold --threshold 0.5", ["g.npy"], ["g.labels"], []),
    "gcn": (clustering, f"{CLUSTERS} --train-features g.npy --train-labels g.labels --hops 5,3,2 --train-hops 5,3,2 "
            "--epochs 1", ["g.npy"], ["g.labels"], []),
}
WITHOUT_A_SECOND_SIDE = ("pairs", "ytf", "aggregate", "quality", "clustering", "gcn")


def features_with(change):
    return lambda path: np.save(path, change(np.load(path)))


FEATURES = {
    "another dimension": features_with(lambda rows: rows[:, :3]),
    "no dimension": features_with(lambda rows: rows[:, :0]),
    "no row": features_with(lambda rows: rows[:0]),
    "NaN": features_with(lambda rows: np.where(np.arange(len(rows))[:, None] == 3, np.float32(np.nan), rows)),
    "infinity": features_with(lambda rows: np.where(np.arange(len(rows))[:, None] == 3, np.float32(np.inf), rows)),
    "whole numbers": features_with(lambda rows: rows.astype(np.int64)),
    "one axis": features_with(np.ravel),
    "half written": lambda path: path.write_bytes(path.read_bytes()[:-50]),
    "half a header": lambda path: path.write_bytes(path.read_bytes()[:40]),
    "empty": lambda path: path.write_bytes(b""),
    "an archive": lambda path: path.open("wb").write(archive()),
    "missing": lambda path: path.unlink(),
}
LISTS = {
    "a line too few": lambda path: write_lines(path, path.read_text().splitlines()[:-1]),
    "a line too many": lambda path: write_lines(path, [*path.read_text().splitlines(), "7"]),
    "an empty line": lambda path: write_lines(path, ["", *path.read_text().splitlines()[1:]]),
    "empty": lambda path: path.write_text(""),
    "no text": lambda path: path.write_bytes(b"\x80\xfe\xe9\n" * len(path.read_text().splitlines())),
    "missing": lambda path: path.unlink(),
}
OTHERS = {
    "empty": lambda path: path.write_bytes(b""),
    "no text": lambda path: path.write_bytes(b"\x80\xfe\xe9 1 2\n" * 5),
    "missing": lambda path: path.unlink(),
}


def archive():
    """Bytes of an .npz."""
    stream = io.BytesIO()
    np.savez(stream, a=np.ones(3))
    return stream.getvalue()


def cases():
    for name, (_, _, features, lists, others) in COMMANDS.items():
        for files_of, damages in ((features, FEATURES), (lists, LISTS), (others, OTHERS)):
            for file in files_of:
                for damage in damages:
                    if damage != "another dimension" or name not in WITHOUT_A_SECOND_SIDE:
                        yield pytest.param(name, file, damages[damage], id=f"{name}: {file} {damage}")


def run(name):
    main, line = COMMANDS[name][:2]
    main(line.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_sound_input_passes(files, name):
    run(name)


@pytest.mark.parametrize("name, file, damage", list(cases()))
def test_damaged_input_is_one_line(files, name, file, damage):
    damage(files / file)
    with pytest.raises(InputError) as caught:
        run(name)
    assert "\n" not in str(caught.value) and len(str(caught.value)) > 20


@pytest.mark.parametrize("name", ["megaface trees", "run_experiment", "noise"])
@pytest.mark.parametrize("file", [PROBE, DISTRACTOR])
def test_damaged_feature_files_name_themselves(files, name, file):
    whole = (files / file).read_bytes()
    for content in (whole[:-1], whole[:9], whole + b"more"):
        (files / file).write_bytes(content)
        with pytest.raises(InputError, match=file.rsplit("/", 1)[1]):
            run(name)
    for values in (np.full(8, np.nan), np.ones(5)):
        write_matrix(files / file, values.astype(np.float32))
        with pytest.raises(InputError, match=r"\.bin: (not finite|\d+ dimensions)"):
            run(name)


@pytest.mark.parametrize("name", ["megaface trees", "run_experiment"])
def test_a_devkit_list_of_another_length_is_refused(files, name):
    path = files / "lists/megaface_features_list.json_10_1"
    path.write_text(json.dumps({"path": json.loads(path.read_text())["path"][:9]}))
    main, line = COMMANDS[name][:2]
    with pytest.raises(InputError, match="json_10_1: names 9 images instead of 10"):
        main(line.replace("--distractor-list dl", "--distractor-list lists --distractors 10").split())


def test_a_byte_order_mark_is_no_part_of_a_name(files):
    path = files / "P.txt"
    lines = path.read_text()
    run("megaface")
    first = json.loads((files / "out/result.json").read_text())
    path.write_text("\ufeff" + lines)
    run("megaface")
    assert json.loads((files / "out/result.json").read_text())["30"]["rank1"] == first["30"]["rank1"]
