"""Stand-ins of the benchmarks and training sets at demo scale: on constructed embeddings whose figures are known."""
import dataclasses

from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.recognition.reproduction import demo_data
from arcface_mxnet.recognition.reproduction.demo_data import KINDS, Kind, Shot, clips, moved, shoot, stills
from arcface_mxnet.recognition.reproduction.training_runs import Recipe, run_folder
from arcface_mxnet.recognition.settings import OptimizerSettings
from arcface_mxnet.runtime.errors import InputError

import numpy as np
import pytest


def known_rows(monkeypatch, **rows):
    """Let each kind's embeddings be the given ones, (people, shots, d)."""
    monkeypatch.setattr(demo_data, "rows_of", lambda kind, embed, work: rows[kind].copy())


def people_rows(people, shots, size, spread, seed=0):
    """A direction of its own for each person, and a little noise on each picture."""
    rng = np.random.RandomState(seed)
    rows = np.zeros((people, shots, size), np.float32)
    rows[np.arange(people), :, np.arange(people)] = 1
    return rows + spread * rng.randn(people, shots, size).astype(np.float32)


def test_pairs_are_ten_folds_of_different_people_half_of_them_genuine():
    pairs = demo_data.paired(40)
    person = pairs.items // 2
    np.testing.assert_array_equal(person[:, 0] == person[:, 1], pairs.same)
    folds = np.split(person, 10)
    assert all(pairs.same[8 * fold:8 * fold + 8].sum() == 4 for fold in range(10))
    assert sum(len(set(fold.ravel())) for fold in folds) == len(set(person.ravel())) == 40
    assert len(set(map(tuple, pairs.items.tolist()))) == 80


def test_people_apart_are_told_apart_and_people_alike_are_not(monkeypatch):
    known_rows(monkeypatch, calfw=people_rows(40, 2, 64, 0.01), ytf=people_rows(40, 10, 64, 0.01))
    assert demo_data.image_pairs("calfw", None, None).accuracy == 1.0
    assert demo_data.video_pairs(None, None).accuracy == 1.0
    known_rows(monkeypatch, cplfw=np.random.RandomState(1).randn(200, 2, 8).astype(np.float32))
    assert demo_data.image_pairs("cplfw", None, None).accuracy == pytest.approx(0.5, abs=0.1)


def test_a_video_is_the_centre_of_its_frames(monkeypatch):
    rows = people_rows(40, 10, 64, 0.01)
    rows[:, 3] = np.roll(rows[:, 3], 1, axis=0)  # one frame of each first video shows somebody else
    known_rows(monkeypatch, ytf=rows)
    assert demo_data.video_pairs(None, None).accuracy == 1.0


def test_mistaken_distractors_and_probes_cost_rank_1_until_they_are_cleaned_away(monkeypatch):
    probes = people_rows(40, 7, 200, 0.03)
    probes[:, 6] = people_rows(40, 1, 200, 0.0)[:, 0]  # nearer to each picture than the others are
    distractors = np.zeros((50, 1, 200), np.float32)
    distractors[np.arange(50), 0, 100 + np.arange(50)] = 1
    known_rows(monkeypatch, probes=probes, distractors=distractors)
    original, refined = (demo_data.megaface(None, None, refined) for refined in (False, True))
    lost = demo_data.MISTAKEN * 30 + demo_data.MISLABELLED * 10  # ordered pairs: of a person, of one picture
    assert original.rank1 == pytest.approx(1 - lost / (40 * 30), abs=10 / 1200)
    assert refined.rank1 == 1.0 and original.distractors == refined.distractors == 58


def test_templates_of_a_subject_match_and_a_clip_counts_once(monkeypatch):
    rows = people_rows(150, 10, 400, 0.01)
    known_rows(monkeypatch, ijb=rows)
    for target, subjects in demo_data.IJB_SUBJECTS.items():
        result = demo_data.template_pairs(None, None, target)
        assert (result.tar[demo_data.IJB_FAR], result.genuine, result.impostor) == (1.0, subjects,
                                                                                    subjects * (subjects - 1))
    rows[:, 2:5] = np.roll(rows[:, 2:5], 1, axis=0)  # the clip of every first template is another subject's
    known_rows(monkeypatch, ijb=rows)
    assert demo_data.template_pairs(None, None, "IJB-B").tar[demo_data.IJB_FAR] == 1.0  # two stills against one medium


def test_all_pairs_and_clips_by_person(monkeypatch):
    known_rows(monkeypatch, probes=people_rows(40, 7, 200, 0.01), iqiyi=people_rows(60, 28, 100, 0.01),
               distractors=np.random.RandomState(0).randn(300, 1, 200).astype(np.float32))
    found = demo_data.trillion_pairs(None, None)
    assert found.identification == found.verification == 1.0 and found.genuine_pairs == 40 * 15
    training, test = demo_data.retrieval_videos(None, None)
    assert training.features.shape == (240, 100) and test.features.shape == (180, 100)
    assert np.bincount(test.classes)[[0, 1, 40]].tolist() == [60, 3, 3]
    np.testing.assert_array_equal(training.features[5].argmax(), 1)


def test_another_drawing_or_description_is_another_digest(monkeypatch):
    before = demo_data.digest()
    monkeypatch.setitem(KINDS, "ytf", Kind("templates", 100_000, 10, clips(2, 5)))
    assert demo_data.digest() != before


def test_a_clip_is_one_sitting_and_stills_are_not():
    images = demo_data.decoded(shoot(6_900_001, "templates", (*clips(1, 3), *stills(3, 5)))).astype(float)
    assert images.shape == (6, 3, 32, 32)

    def apart(rows):
        return np.mean([np.abs(images[a] - images[b]).mean() for a in rows for b in rows if a < b])

    assert 0 < apart((0, 1, 2)) < 0.8 * apart((3, 4, 5))
    assert shoot(6_900_001, "templates", (Shot(0, 1),)) == shoot(6_900_001, "templates", clips(1, 3))[1:2]


def test_frames_differ_in_pose_and_keep_light_age_and_place():
    from arcface_mxnet.datasets.faces.nuisance import NuisanceRanges, draw_nuisance
    base = draw_nuisance(NuisanceRanges(), 1, 7, 0)
    first, second = (moved(base, 1, 7, Shot(0, frame)) for frame in (0, 1))
    changed = {field.name for field in dataclasses.fields(base)
               if not np.array_equal(getattr(first, field.name), getattr(second, field.name))}
    assert {"yaw", "pitch", "roll", "landmark_noise"} <= changed
    assert not changed & {"light", "age_drift", "scene_seed", "hair_change", "glasses", "hat", "tint"}


def test_kinds_share_no_person():
    taken = [(f"{kind.purpose}", number) for kind in KINDS.values()
             for number in range(kind.first, kind.first + kind.people)]
    assert len(taken) == len(set(taken))


def test_pictures_are_kept_and_read_back_person_by_person(tmp_path, monkeypatch):
    monkeypatch.setitem(KINDS, "few", Kind("templates", 950_000, 2, stills(2)))
    drawn = [shoot(6_950_000 + person, "templates", stills(2)) for person in range(2)]
    monkeypatch.setattr(demo_data, "_drawn", lambda name, kind: drawn)
    assert demo_data.pictures("few", tmp_path) == drawn
    monkeypatch.setattr(demo_data, "_drawn", None)
    assert demo_data.pictures("few", tmp_path) == drawn


def test_noise_replaces_the_stated_share_and_says_which():
    people = [[b"%d-%d" % (person, image) for image in range(40)] for person in range(100)]
    noisy = demo_data.with_noise(people, [b"stranger %d" % number for number in range(10_000)])
    wrong = demo_data.wrong_images([40] * 100)
    flat, own = [image for images in noisy for image in images], [image for images in people for image in images]
    np.testing.assert_array_equal([one != two for one, two in zip(flat, own)], wrong)
    assert wrong.mean() == pytest.approx(demo_data.NOISE, abs=0.03)
    strange = [image for image in flat if image.startswith(b"stranger")]
    assert len(strange) == len(set(strange)) and len(strange) / wrong.sum() == pytest.approx(0.5, abs=0.05)
    others = [(place // 40, int(image.split(b"-")[0])) for place, image in enumerate(flat)
              if wrong[place] and not image.startswith(b"stranger")]
    assert all(person != shown for person, shown in others)


def test_training_sets_are_record_sets_in_order_and_made_once(tmp_path, monkeypatch):
    people = [shoot(900_100 + person, "train", stills(3)) for person in range(2)]
    monkeypatch.setitem(demo_data.MAKERS, "vgg", lambda work: people)
    folder = demo_data.demo_set("vgg", tmp_path)
    with RecordSet.open(folder) as records:
        assert records.identities == 2 and records.images == 6
        assert [records.read(key)[1] for key in records.keys.tolist()] == people[0] + people[1]
    monkeypatch.setitem(demo_data.MAKERS, "vgg", None)
    assert demo_data.demo_set("vgg", tmp_path) == folder
    with pytest.raises(InputError, match="unknown training set at demo scale 'msra'"):
        demo_data.demo_set("msra", tmp_path)


def test_a_run_is_known_by_loss_seed_recipe_and_data(tiny_faces, tmp_path):
    def folder(loss="arcface", seed=0, data=tiny_faces, **recipe):
        return run_folder(loss, seed, data, tmp_path, Recipe(**recipe)).name

    names = [folder(), folder(loss="cosface"), folder(seed=1), folder(steps=100), folder(rate=0.03), folder(warm=0)]
    assert len(set(names)) == len(names) and folder() == names[0]
    copy = demo_data.write_people(tmp_path / "other", [shoot(900_000, "train", stills(2))] * 2, "test")
    assert copy == (2, 4) and folder(data=tmp_path / "other")[-8:] != names[0][-8:]


def test_a_setting_left_at_its_default_does_not_name_a_run():
    from arcface_mxnet.recognition.reproduction.training_runs import _not_default
    assert _not_default(OptimizerSettings()) == {} and _not_default(OptimizerSettings(lr=0.3)) == {"lr": 0.3}


def test_rows_without_figures_and_rows_at_chance_are_said():
    from arcface_mxnet.recognition.reproduction.benchmark_tables import gaps
    from arcface_mxnet.recognition.reproduction.subcentre_table import Dropped, drop_lines, untrained
    found = {"a": [{"IJB-B": 40.0}, {}], "b": [{"IJB-B": 2.0}, {"IJB-B": 4.0}], "c": [{}, {}]}
    assert gaps(found, "a", "b") == ["a minus b, IJB-B: +38 (ahead in 1 of 1 seeds)"] and gaps(found, "c", "b") == []
    assert "do not show the paper's effect in b; c." in untrained(found)[0]
    told = drop_lines({"x": [Dropped(0.5, 0.9, 0.2), Dropped(0.5, 0.7, 0.4)], "y": [Dropped(0.25, None, 0.25)]})
    assert told == ["x: the step removes 50.0 % of the images: 80.0 % of the wrong ones and 30.0 % of the right ones",
                    "y: the step removes 25.0 % of the images"]
