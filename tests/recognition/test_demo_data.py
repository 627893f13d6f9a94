"""Stand-ins of the benchmarks and training sets at demo scale: on constructed embeddings whose figures are known."""
import dataclasses
import functools
import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.graph.checkpoint import load
from arcface_mxnet.recognition import reproduce
from arcface_mxnet.recognition.engine.checkpoint import RunDirectory
from arcface_mxnet.recognition.reproduction import (
    demo_benchmarks,
    demo_data,
    demo_pictures,
    report,
    tables,
    training_runs,
)
from arcface_mxnet.recognition.reproduction.demo_benchmarks import KINDS
from arcface_mxnet.recognition.reproduction.demo_data import Size
from arcface_mxnet.recognition.reproduction.demo_pictures import Kind, Shot, clips, moved, shoot, stills
from arcface_mxnet.recognition.reproduction.figures import Order
from arcface_mxnet.recognition.reproduction.paper_runs import PaperRecipe
from arcface_mxnet.recognition.reproduction.processes import Devices
from arcface_mxnet.recognition.reproduction.tables import LEFT_OUT
from arcface_mxnet.recognition.reproduction.training_runs import Recipe, at_once, run_folder
from arcface_mxnet.recognition.settings import OptimizerSettings
from arcface_mxnet.runtime.environment import available_cores
from arcface_mxnet.runtime.errors import InputError

import numpy as np
import pytest


def known_rows(monkeypatch, **rows):
    """Let each kind's embeddings be the given ones, (people, shots, d)."""
    monkeypatch.setattr(demo_benchmarks, "rows_of", lambda kind, embed, work: rows[kind].copy())


def people_rows(people, shots, size, spread, seed=0):
    """A direction of its own for each person, and a little noise on each picture."""
    rng = np.random.RandomState(seed)
    rows = np.zeros((people, shots, size), np.float32)
    rows[np.arange(people), :, np.arange(people)] = 1
    return rows + spread * rng.randn(people, shots, size).astype(np.float32)


def test_pairs_are_ten_folds_of_different_people_half_of_them_genuine():
    pairs = demo_benchmarks.paired(40)
    person = pairs.items // 2
    np.testing.assert_array_equal(person[:, 0] == person[:, 1], pairs.same)
    folds = np.split(person, 10)
    assert all(pairs.same[8 * fold:8 * fold + 8].sum() == 4 for fold in range(10))
    assert sum(len(set(fold.ravel())) for fold in folds) == len(set(person.ravel())) == 40
    assert len(set(map(tuple, pairs.items.tolist()))) == 80


def test_people_apart_are_told_apart_and_people_alike_are_not(monkeypatch):
    known_rows(monkeypatch, calfw=people_rows(40, 2, 64, 0.01), ytf=people_rows(40, 10, 64, 0.01))
    assert demo_benchmarks.image_pairs("calfw", None, None).accuracy == 1.0
    assert demo_benchmarks.video_pairs(None, None).accuracy == 1.0
    known_rows(monkeypatch, cplfw=np.random.RandomState(1).randn(200, 2, 8).astype(np.float32))
    assert demo_benchmarks.image_pairs("cplfw", None, None).accuracy == pytest.approx(0.5, abs=0.1)


def test_a_video_is_the_centre_of_its_frames(monkeypatch):
    rows = people_rows(40, 10, 64, 0.01)
    rows[:, 3] = np.roll(rows[:, 3], 1, axis=0)  # one frame of each first video shows somebody else
    known_rows(monkeypatch, ytf=rows)
    assert demo_benchmarks.video_pairs(None, None).accuracy == 1.0


def test_mistaken_distractors_and_probes_cost_rank_1_until_they_are_cleaned_away(monkeypatch):
    probes = people_rows(80, 7, 200, 0.03)
    probes[:, 6] = people_rows(80, 1, 200, 0.0)[:, 0]  # nearer to each picture than the others are
    distractors = np.zeros((50, 1, 200), np.float32)
    distractors[np.arange(50), 0, 100 + np.arange(50)] = 1
    known_rows(monkeypatch, probes=probes, distractors=distractors)
    original, refined = (demo_benchmarks.megaface(None, None, refined) for refined in (False, True))
    lost = demo_benchmarks.MISTAKEN * 30 + demo_benchmarks.MISLABELLED * 10  # ordered pairs
    assert original.rank1 == pytest.approx(1 - lost / (80 * 30), abs=40 / 2400)
    assert refined.rank1 == 1.0 and original.distractors == refined.distractors == 50 + demo_benchmarks.MISTAKEN


def test_templates_of_a_subject_match_and_a_clip_counts_once(monkeypatch):
    rows = people_rows(400, 10, 400, 0.01)
    known_rows(monkeypatch, ijb=rows)
    for target, subjects in demo_benchmarks.IJB_SUBJECTS.items():
        result = demo_benchmarks.template_pairs(None, None, target)
        assert (result.tar[demo_benchmarks.IJB_FAR], result.genuine, result.impostor) == (1.0, subjects,
                                                                                    subjects * (subjects - 1))
    rows[:, 2:5] = np.roll(rows[:, 2:5], 1, axis=0)  # the clip of every first template is another subject's
    known_rows(monkeypatch, ijb=rows)
    result = demo_benchmarks.template_pairs(None, None, "IJB-B")
    assert result.tar[demo_benchmarks.IJB_FAR] == 1.0  # two stills against one medium


def test_all_pairs_and_clips_by_person(monkeypatch):
    known_rows(monkeypatch, probes=people_rows(40, 7, 200, 0.01), iqiyi=people_rows(60, 28, 100, 0.01),
               distractors=np.random.RandomState(0).randn(300, 1, 200).astype(np.float32))
    found = demo_benchmarks.trillion_pairs(None, None)
    assert found.identification == found.verification == 1.0 and found.genuine_pairs == 40 * 15
    training, test = demo_benchmarks.retrieval_videos(None, None)
    assert training.features.shape == (240, 100) and test.features.shape == (180, 100)
    assert np.bincount(test.classes)[[0, 1, 40]].tolist() == [60, 3, 3]
    np.testing.assert_array_equal(training.features[5].argmax(), 1)


def test_another_drawing_or_description_is_another_digest(monkeypatch):
    before = demo_benchmarks.digest()
    monkeypatch.setitem(KINDS, "ytf", Kind("templates", 100_000, 10, clips(2, 5)))
    assert demo_benchmarks.digest() != before


def test_a_clip_is_one_sitting_and_stills_are_not():
    images = demo_pictures.decoded(shoot(6_900_001, "templates", (*clips(1, 3), *stills(3, 5)))).astype(float)
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
    base = Kind("train", 0, Size().identities, stills(Size().images))
    taken = [(kind.purpose, number) for kind in (*KINDS.values(), *demo_data.training_kinds(Size()).values(), base)
             for number in range(kind.first, kind.first + kind.people)]
    assert len(taken) == len(set(taken))


def test_pictures_are_kept_and_read_back_person_by_person(tmp_path, monkeypatch):
    few = Kind("templates", 950_000, 2, stills(2))
    drawn = [shoot(6_950_000 + person, "templates", stills(2)) for person in range(2)]
    monkeypatch.setattr(demo_pictures, "_drawn", lambda name, kind: drawn)
    assert demo_pictures.pictures("few", few, tmp_path) == drawn
    monkeypatch.setattr(demo_pictures, "_drawn", None)
    assert demo_pictures.pictures("few", few, tmp_path) == drawn


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
    monkeypatch.setitem(demo_data.MAKERS, "vgg", lambda work, size: people)
    folder = demo_data.demo_set("vgg", tmp_path, Size(20, 3))
    with RecordSet.open(folder) as records:
        assert records.identities == 2 and records.images == 6
        assert [records.read(key)[1] for key in records.keys.tolist()] == people[0] + people[1]
    monkeypatch.setitem(demo_data.MAKERS, "vgg", None)
    assert demo_data.demo_set("vgg", tmp_path, Size(20, 3)) == folder
    with pytest.raises(InputError, match="unknown training set at demo scale 'msra'"):
        demo_data.demo_set("msra", tmp_path, Size())


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


def test_sets_keep_the_papers_proportions_and_strangers_suffice():
    size = Size(1200, 40)
    assert (size.part, size.vgg, size.asian) == (Size(150, 26), Size(120, 150), Size(720, 15))
    kinds = demo_data.training_kinds(size)
    shown = {name: (kind.people, len(kind.shots)) for name, kind in kinds.items()}
    assert shown["asian"] == (720, 15) and shown["vgg"] == (120, 150)
    everyone = [[b"x"] * size.images] * size.identities + [[b"x"] * size.asian.images] * size.asian.identities
    strangers = [b"stranger %d" % number for number in range(2 * kinds["strangers"].people)]
    strange = [image for images in demo_data.with_noise(everyone, strangers) for image in images if image != b"x"]
    assert len(set(strange)) == len(strange) < len(strangers)
    assert "1,200 people x 40 images" in demo_data.about_set("noisy", size)


def test_tasks_at_once_take_their_share_of_the_cores_and_an_error_is_raised():
    tasks = {name: functools.partial(os.getenv, "OMP_NUM_THREADS") for name in ("a", "b")}
    assert set(at_once(tasks, 2, "tasks").values()) == {str(max(1, available_cores() // 2))}
    with pytest.raises(InputError, match="--seeds x"):
        at_once({"a": functools.partial(reproduce.seeds_of, "x")}, 2, "tasks")


def stubborn(folder, number):
    """A run that a signal stops after it has saved, as the Trainer does; a failed one where its number is 0."""
    def stop(*_):
        raise InputError("stopped")
    if number == 0:
        raise InputError("this one fails")
    before = signal.signal(signal.SIGTERM, stop)
    try:
        time.sleep(60)
    finally:
        signal.signal(signal.SIGTERM, before)
    (folder / str(number)).touch()


def test_an_error_ends_the_runs_beside_it_and_those_that_wait(tmp_path):
    with pytest.raises(InputError, match="this one fails"):
        at_once({number: functools.partial(stubborn, tmp_path, number) for number in range(6)}, 2, "runs")
    assert not multiprocessing.active_children() and not list(tmp_path.iterdir())


def test_shared_softmax_steps_are_trained_once_and_before_the_runs(tiny_faces, tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(training_runs, "softmax_start", lambda *given: done.append(("start", given[0])))
    monkeypatch.setattr(training_runs, "trained", lambda *given: done.append(given[:2]))
    recipe = Recipe(steps=3, warm=2)
    wanted = [(loss, seed, tiny_faces, recipe) for seed in (0, 1) for loss in ("arcface", "cosface", "arcface")]
    training_runs.train_all(wanted, tmp_path, 1, "a table")
    assert done == [("start", 0), ("start", 1), ("arcface", 0), ("cosface", 0), ("arcface", 1), ("cosface", 1)]


def test_what_lies_beside_the_dominant_centre_is_counted_by_what_is_wrong(tiny_faces, monkeypatch):
    from arcface_mxnet.datasets.clean import Findings
    from arcface_mxnet.recognition.reproduction import subcentre_table
    with RecordSet.open(tiny_faces) as records:
        angles = np.where(np.arange(records.images) % 3 == 0, 80.0, 40.0)
        wrong = demo_data.wrong_images([8] * 12)
        found = subcentre_table._beyond(records, Findings(angles, np.arange(12), np.eye(12), []), 75.0, True)
    shares = [sum(angle > 75 for angle, is_wrong in zip(angles, wrong) if is_wrong == kind) / sum(wrong == kind)
              for kind in (True, False)]
    assert (found.share, found.wrong_found, found.right_lost) == pytest.approx((1 / 3, *shares))
    monkeypatch.setattr(subcentre_table, "scattered",
                        lambda subject, seed, order: subcentre_table.Dropped(0.5, 0.8 + 0.1 * seed, 0.02))
    rows = {row: subcentre_table.SUBCENTRE[row] for row in ("MS1MV0, K=1", "MS1MV0, K=10", "MS1MV3, K=3")}
    assert subcentre_table.scatter_lines(Order(Path(), Path(), seeds=(0, 1)), rows) == [
        "MS1MV0, K=10: beyond 75 degrees of the dominant centre of their identity lie 2.0 % of the right images and "
        "85.0 % of the wrong ones"]


def test_what_a_drop_step_has_told_is_not_measured_again(tmp_path, monkeypatch):
    from arcface_mxnet.recognition.reproduction import subcentre_table
    monkeypatch.setattr(subcentre_table, "subject_run", lambda subject, seed, order: tmp_path / "a-run")
    told = subcentre_table.Dropped(0.4, 0.9, 0.1)
    (tmp_path / "dropped").mkdir()
    (tmp_path / "dropped" / "a-run-75.json").write_text(json.dumps(told._asdict()))
    assert subcentre_table.scattered(subcentre_table.SUBCENTRE["MS1MV0, K=3"], 0, Order(tmp_path, tmp_path)) == told


def test_of_several_centres_the_first_begins_where_softmax_ended(tiny_faces, tmp_path):
    recipe = Recipe(steps=1, warm=2, batch=8, network="demo")
    run = RunDirectory(training_runs.trained("subcentre", 0, tiny_faces, tmp_path, recipe))
    settings, _ = run.settings()
    begun = load(settings.checkpoint.pretrained.rpartition(",")[0], 0)
    softmax = load(str(training_runs.softmax_start(0, tiny_faces, tmp_path, recipe)), 0)
    centres = begun.args["fc7_weight"].reshape(len(softmax.args["fc7_weight"]), 3, -1)
    assert settings.loss.loss_K == 3 and np.array_equal(centres[:, 0], softmax.args["fc7_weight"])
    assert np.array_equal(begun.args["pre_fc1_weight"], softmax.args["pre_fc1_weight"])
    assert np.allclose(np.linalg.norm(centres, axis=2), np.linalg.norm(centres[:, :1], axis=2), rtol=1e-5)
    assert abs(np.sum(centres[:, 1] * centres[:, 2])) < 0.5 * np.sum(centres[:, 1] ** 2)  # each its own direction
    assert training_runs.start_of("arcface", 0, tiny_faces, tmp_path, recipe) == training_runs.softmax_start(
        0, tiny_faces, tmp_path, recipe)


def test_runs_on_noisy_labels_have_more_softmax_and_all_are_cut_alike():
    from arcface_mxnet.recognition.reproduction.subcentre_table import longer_softmax
    assert tables.recipe_of(Order(Path(), Path())) == Recipe(network="demo")
    for most, steps in ((0, (2000, 4800)), (7, (7, 7)), (9000, (9000, 4800))):
        cut = tables.recipe_of(longer_softmax(Order(Path(), Path(), max_steps=most)))
        assert (cut.steps, cut.warm) == steps


def test_a_set_of_another_size_is_passed_over_as_often():
    for size, steps in ((Size(2000, 40), (10_000, 2000)), (Size(1200, 20), (3000, 600)), (Size(1, 1), (1, 1))):
        recipe = tables.recipe_of(Order(Path(), Path(), size=size))
        assert (recipe.steps, recipe.warm) == steps


def test_the_time_of_a_run_is_that_of_its_images_at_their_speeds(tmp_path):
    rows = [{"kind": "train", "step": step, "epoch": 0, "images": images, "speed": speed, "lr": 0.1, "acc": 0.5,
             "loss": 1.0} for step, images, speed in ((1, 100, 50.0), (2, 300, 400.0))]
    (tmp_path / "settings.json").write_text("{}")
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert training_runs.training_seconds(tmp_path) == pytest.approx(100 / 50 + 200 / 400)
    (tmp_path / "made_by.json").write_text(json.dumps({"commit": "c", "processor": "P"}))
    told = training_runs.told_runs([tmp_path])
    assert told == {"runs": {tmp_path.name: "c"}, "seconds": {tmp_path.name: 2}, "processors": ["P"]}
    assert report._made({"made_from": told}).endswith("1 run, a median of 2 s of training each, 0 min in all, on P")


def test_rows_that_were_not_asked_for_are_neither_run_nor_silent(tmp_path, monkeypatch):
    from arcface_mxnet.recognition.reproduction import benchmark_tables
    rows = ("Softmax", "CASIA, R50, ArcFace", "CASIA, R50, ArcFace, m = 0.40")
    order = Order(tmp_path / "o", tmp_path / "w", rows=rows, seeds=(0, 1))
    ran = []
    monkeypatch.setattr(benchmark_tables, "recipe_and_data", lambda subject, order: (Recipe(), tmp_path))
    monkeypatch.setattr(benchmark_tables, "train_rows", lambda order, subjects, name: ran.extend(subjects))
    monkeypatch.setattr(benchmark_tables, "row_figures", lambda *given: {"Id": 1.0, "Ver": 2.0})
    monkeypatch.setattr(benchmark_tables, "made_of", lambda order, runs: {})
    monkeypatch.setattr(benchmark_tables, "trained_how", lambda order, name: "somehow")
    benchmark_tables.table6(order)
    assert {subject.loss for subject in ran} == {"softmax", "arcface", "arcface040"}
    made = json.loads((tmp_path / "o" / "table6.json").read_text())
    cells = {(cell["row"], cell["column"]): cell for cell in made["cells"]}
    assert cells["Softmax", "Id"]["values"] == [1.0, 1.0] and cells["Triplet", "Id"]["why"] == LEFT_OUT
    ours = cells["CASIA, R50, ArcFace, m = 0.40", "Ver"]
    assert (ours["paper"], ours["values"], ours["made_by"]) == (None, [2.0, 2.0], "arcface040 on demo")
    assert cells["FaceNet", "Id"]["why"] == benchmark_tables.OTHERS


def test_the_table_of_noise_says_how_far_its_softmax_had_come(tiny_faces, tmp_path, monkeypatch):
    from arcface_mxnet.recognition.reproduction import subcentre_table
    recipe = Recipe(steps=3, warm=2)
    folder = run_folder("softmax", 0, tiny_faces, tmp_path / "warm", training_runs.warm_recipe(recipe))
    folder.mkdir(parents=True)
    (folder / "settings.json").write_text("{}")
    rows = [{"kind": "train", "step": step, "epoch": 0, "images": 10 * step, "speed": 5.0, "lr": 0.1, "acc": acc,
             "loss": 1.0} for step, acc in ((1, 0.25), (2, 0.5))]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setattr(subcentre_table, "recipe_and_data", lambda subject, order: (recipe, tiny_faces))
    order = Order(tmp_path / "o", tmp_path, seeds=(0,))
    told = subcentre_table.started(order, [subcentre_table.SUBCENTRE["MS1MV0, K=3"]])
    assert told == ["the 2 steps of softmax before the runs on noisy end at a training accuracy of 50.0 %"]


def test_runs_of_a_named_engine_are_measured_where_they_are_trained(tiny_faces, tmp_path, monkeypatch):
    pytest.importorskip("torch")
    assert Recipe().embeds_on() is None and Recipe().where() == {"gpus": "cpu"}
    named = Recipe(engine="torch")
    assert named.where() == {"gpus": "cpu", "engine": "torch"}
    assert named.embeds_on().engine.NAME == "torch" and named.embeds_on().devices.device.type == "cpu"
    assert training_runs.trained_on(named).startswith(f"{training_runs.processor()}, engine torch ")
    order = Order(tmp_path, tmp_path, engine="torch")
    assert order.embeds_on == named.embeds_on() and Order(tmp_path, tmp_path).embeds_on is None
    assert training_runs.trained_on(Recipe()) == training_runs.processor()
    several = PaperRecipe("demo", "own", tiny_faces, devices="cpu", engine="torch")
    assert training_runs.trained_on(several) == training_runs.trained_on(named)
    monkeypatch.setattr("arcface_mxnet.recognition.reproduction.paper_runs.devices_of", lambda *_: Devices(4, 4, 4))
    assert training_runs.trained_on(several) == f"{training_runs.trained_on(named)}, and 3 more"
    on_card = Recipe(engine="torch", devices="cuda:0")
    assert on_card.where()["cuda_graphs"] and Recipe(engine="torch", devices="0").where()["cuda_graphs"]
    assert "cuda_graphs" not in Recipe(engine="mxnet", devices="0").where()
    folders = [training_runs.run_folder("arcface", 0, tiny_faces, tmp_path, recipe)
               for recipe in (Recipe(), named, on_card)]
    assert folders[1] == folders[2] != folders[0]
