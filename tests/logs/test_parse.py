"""Logs of every generation become one table; released ones are checked against docs/original.md, section 4.6."""
import re
from pathlib import Path
from typing import Any, Dict, List

from arcface_mxnet.logs import format as lines
from arcface_mxnet.logs import original_format
from arcface_mxnet.logs.parse import Run, load, main, parse, parse_metrics
from arcface_mxnet.logs.writer import MetricsWriter
from arcface_mxnet.runtime.errors import InputError, Notice

import numpy as np
import pytest

START = "num_classes 100\nCalled with argument: Namespace(batch_size=10, lr=0.1, network='y1')\n"


def window(epoch: int, last: int, acc: float = 0.5, loss: float = 1.5) -> str:
    return lines.epoch_batch(epoch, last - 20, last, 100.0, acc, loss) + "\n"


def validation(step: int, accuracy: float = 0.9, target: str = "lfw") -> str:
    block = [lines.testing_verification(), lines.embedding_shape(12000, 128), lines.infer_time(1.5),
             lines.xnorm(target, step, 11.5), lines.accuracy_flip(target, step, accuracy, 0.01)]
    return "\n".join(block) + "\n"


def published(fixtures: Path, name: str) -> Run:
    return load(fixtures / "logs" / name)


# (file, lines, last step, validations, {(step, column): value}): docs/original.md, section 4.6, and `grep` on the files
PUBLISHED = [
    ("insightface_model-y1-test2.log", 11192, 187317, 93, {
        (2000, "lfw_accuracy"): .98600, (100000, "cfp_fp_accuracy"): .87671, (142000, "agedb_30_accuracy"): .95917,
        (148000, "cfp_fp_accuracy"): .89214, (142000, "saved"): 71, (21, "speed"): 990.78, (21, "acc"): .002976}),
    ("insightface_model-r34-amf.log", 8513, 134819, 67, {
        (1, "cosine"): -.004653, (1, "cosine_margin"): -.482971, (2000, "lfw_accuracy"): .90717,
        (62000, "cfp_ff_accuracy"): .99614, (120000, "agedb_30_accuracy"): .97700, (2000, "lfw_xnorm"): 22.135833,
        (2000, "lfw_std"): .01282}),
    ("insightface_model-r100-gg.log", 10076, 168129, 84, {
        (160000, "cfp_fp_accuracy"): .98300, (164000, "agedb_30_accuracy"): .98283, (164000, "saved"): 82}),
    ("insightface_model-r50-gg.log", 7094, 112147, 56, {(100000, "cfp_fp_accuracy"): .92743}),
    ("moli_arcface_loss_test2.log", 9731, 160172, 80, {
        (112000, "lfw_accuracy"): .99517, (160000, "agedb_30_accuracy"): .95017}),
    ("moli_softmax_loss_test2.log", 2602, 42076, 21, {(42000, "lfw_accuracy"): .99033, (42000, "saved"): 21}),
]


@pytest.mark.parametrize(("name", "count", "last", "validations", "values"), PUBLISHED)
def test_published_logs(fixtures: Path, name: str, count: int, last: int, validations: int,
                        values: Dict[Any, float]) -> None:
    run = published(fixtures, name)
    assert run.lines == count
    assert len(run.unread) <= 0.002 * count
    assert run.table["step"].is_monotonic_increasing and run.table["step"].is_unique
    assert run.table["step"].iloc[-1] == last
    assert len(run.validations) == validations
    table = run.table.set_index("step")
    for (step, column), value in values.items():
        assert table.at[step, column] == value
    assert (run.table["images"] == run.table["step"] * 512).all()


@pytest.mark.parametrize("name", [row[0] for row in PUBLISHED])
def test_every_number_of_a_published_log_is_in_the_tables(fixtures: Path, name: str) -> None:
    """Speeds, accuracies and losses of all windows, norms and accuracies of all validations, by a plain search."""
    text, run = (fixtures / "logs" / name).read_text(errors="replace"), published(fixtures, name)
    windows = re.findall(r"Speed: ([\d.]+) samples/sec\t(?:Train-)?acc=([\d.]+|nan)(?:\tlossvalue=([\d.]+|nan))?", text)
    assert len(windows) == len(run.windows) > 1000
    for place, column in enumerate(("speed", "acc", "loss")):
        numbers = [float(row[place]) for row in windows if row[place]]
        if numbers:
            np.testing.assert_array_equal(run.windows[column].to_numpy(float), numbers)
    for column, form in (("xnorm", r"\[(\w+)\]\[(\d+)\]XNorm: ([\d.]+)"),
                         ("accuracy", r"\[(\w+)\]\[(\d+)\]Accuracy-Flip: ([\d.]+)\+-"),
                         ("std", r"\[(\w+)\]\[(\d+)\]Accuracy-Flip: [\d.]+\+-([\d.]+)")):
        printed = re.findall(form, text)
        assert len(printed) > 20
        table = run.table.set_index("step")
        assert [table.at[int(step), f"{target}_{column}"] for target, step, _ in printed] == [
            float(number) for _, _, number in printed]


def test_y1_speed_rate_and_facts(fixtures: Path) -> None:
    run = published(fixtures, "insightface_model-y1-test2.log")
    assert run.median_speed == pytest.approx(1070.9, abs=0.05)
    assert run.facts["batches_per_epoch"] == 7519 and run.facts["num_classes"] == 85742 and run.facts["gpus"] == 4
    assert run.facts["images_per_epoch"] == 3850178
    assert run.facts["packs"] == {"lfw": 6000, "cfp_fp": 7000, "agedb_30": 6000}
    assert run.facts["pretrained"] == "../models2/model-y1-test/model,70"
    assert run.table.drop_duplicates("lr")[["step", "lr"]].to_numpy().tolist() == [
        [21, 0.1], [100008, 0.01], [140003, 0.001], [160000, 0.0001]]  # the first lines after the drops


def test_r34_first_right_answer(fixtures: Path) -> None:
    run = published(fixtures, "insightface_model-r34-amf.log")
    assert run.windows.loc[run.windows["acc"] > 0, "step"].iloc[0] == 1721  # printed for batch 1720, counted from 0
    assert run.windows["acc"].max() == pytest.approx(.797, abs=0.0005)
    assert run.median_speed == pytest.approx(807.6, abs=0.05)


def test_every_window_of_a_published_log_is_in_the_table(fixtures: Path) -> None:
    """Against an independent reading: a plain search of the file, steps by hand."""
    path = fixtures / "logs" / "moli_softmax_loss_test2.log"
    rows = [(int(epoch) * 7431 + int(batch) + 1, float(speed), float(acc)) for epoch, batch, speed, acc in re.findall(
        r"Epoch\[(\d+)\] Batch \[(\d+)\]\tSpeed: ([\d.]+) samples/sec\tacc=([\d.]+)", path.read_text())]
    assert [tuple(row) for row in load(path).windows[["step", "speed", "acc"]].to_numpy().tolist()] == rows


def test_the_program_of_2021() -> None:
    text = START + "call reset()\nINFO:root:" + window(0, 20) + "INFO:root:" + window(0, 40, loss=1.25) + validation(50)
    text += "saving 1\n" + 'INFO:root:Saved checkpoint to "m-0001.params"\n' + lines.accuracy_highest(50, .9)
    run = parse(text)
    assert run.unread == [] and run.targets == ["lfw"]
    assert run.table["step"].tolist() == [21, 41, 50]
    assert run.table["loss"].tolist()[:2] == [1.5, 1.25]
    assert run.table["images"].tolist() == [210, 410, 500]
    assert run.table.set_index("step").at[50, "saved"] == 1


def test_the_model_parallel_program() -> None:
    run = parse("Iter[0] Batch [20]\tSpeed: 300.00 samples/sec\n{fc7_acc} 30 0.25\nCELOSS,30,12.5\n"
                "lr-batch-epoch: 0.1 0.2 40 0\nlr change to 0.01 0.02\nIter[0] Batch [60]\tSpeed: 310.00 samples/sec\n")
    assert run.unread == []
    assert run.table.set_index("step").loc[[21, 61], "speed"].tolist() == [300.0, 310.0]
    assert run.table.set_index("step").loc[30, ["acc", "loss"]].tolist() == [0.25, 12.5]
    assert run.table["lr"].iloc[-1] == 0.01


def test_the_partial_fc_program() -> None:
    rows = [original_format.partial_fc(rank, "2021-01-01 12:00:00,123", step, 200.0, 1600.0, step // 100,
                                        30.0 - step / 100)
            for step in (50, 100) for rank in (0, 1)]
    run = parse("\n".join(rows))
    assert run.unread == []
    assert run.table["step"].tolist() == [50, 100] and run.table["epoch"].tolist() == [0, 1]
    assert run.table["loss"].tolist() == [29.5, 29.0] and run.median_speed == 1600.0


def test_time_stamps_and_python_2_tuples() -> None:
    run = parse("[2018-05-07 22:35:37]  gpu num: 1\r\n[2018-05-07 22:35:57]  (12000L, 3L, 112L, 112L)\n"
                "[2018-05-07 22:35:57]  ver lfw\n2018-05-07 22:36:46,123 INFO:root:Epoch[0] Batch [20]\tSpeed: 587.77 "
                "samples/sec\tacc=0.000558\n")
    assert run.unread == [] and run.facts == {"gpus": 1, "packs": {"lfw": 6000}, "batches_per_epoch": 21}
    assert run.table["acc"].tolist() == [0.000558]


def test_what_is_not_understood_is_listed() -> None:
    run = parse("use cpu\nSegmentation fault\n# a remark\n/lib/x.py:3: UserWarning: old\n  the(line)\n"
                "[09:59:59] src/engine/engine.cc:55: MXNet start\n  a line by itself\n")
    assert run.unread == [(2, "Segmentation fault"), (7, "  a line by itself")]


def test_a_line_with_damaged_numbers_is_listed_not_fatal() -> None:
    run = parse("[lfw][2000]XNorm: 1.2.3\nEpoch[0] Batch [20]\tSpeed: 1.2.3 samples/sec\tacc=0.5\n" + window(0, 40))
    assert [number for number, _ in run.unread] == [1, 2] and run.table["step"].tolist() == [41]


def test_epochs_are_as_long_as_the_set_or_as_the_log_shows() -> None:
    rate_lines = "lr-batch-epoch: 0.1 399 1\n"  # step 1000: epoch 1, batch 399, so 600 batches an epoch
    assert parse(START + "1000\n" + window(0, 20) + window(1, 20)).table["step"].tolist() == [21, 121]
    assert parse(START + window(0, 20) + rate_lines + window(1, 420)).table["step"].tolist() == [21, 1021]
    assert parse(window(0, 20) + window(0, 40) + window(1, 20)).table["step"].tolist() == [21, 41, 62]


def test_a_validation_belongs_to_the_epoch_of_the_window_it_lies_in() -> None:
    run = parse(START + "1000\n" + window(0, 80) + validation(110) + window(1, 20) + lines.lr_change(0.01) + "\n" +
                window(1, 40) + validation(145))
    assert run.table[["step", "epoch", "lr"]].to_numpy().tolist() == [
        [81, 0, 0.1], [110, 1, 0.1], [121, 1, 0.1], [141, 1, 0.01], [145, 1, 0.01]]


def test_a_resumed_log_has_no_step_twice() -> None:
    text = START + "1000\n" + window(0, 20, .1) + window(0, 40, .2) + validation(40, .8) + "lr change to 0.01\n"
    text += window(0, 60, .3) + validation(60, .7) + lines.resuming("run", 45, 0, 45) + "\n" + window(0, 60, .4)
    run = parse(text)
    assert run.windows[["step", "acc"]].to_numpy().tolist() == [[21, .1], [41, .2], [61, .4]]
    assert run.validations["step"].tolist() == [40]
    assert run.windows["lr"].tolist() == [0.1, 0.1, 0.1]  # the drop was after the restart point


def test_each_run_of_a_file_has_its_own_table() -> None:
    first = START + "1000\n" + window(0, 80, .1) + "lr change to 0.01\n" + window(1, 80, .2) + validation(160, .8)
    second = "gpu num: 1\n" + START + window(0, 20, .3) + validation(20, .4)
    run = parse(first + second)
    assert run.windows[["step", "acc"]].to_numpy().tolist() == [[21, .3]]
    assert run.validations["lfw_accuracy"].tolist() == [.4] and run.windows["lr"].tolist() == [.1]
    assert "images_per_epoch" not in run.facts  # a fact of the first run alone
    assert [(span.first, span.last) for span in run.runs] == [(1, 11), (12, 20)] and run.number == 2
    assert "2 runs: 1 (lines 1 to 11), 2 (lines 12 to 20); run 2 is read" in run.others
    before = parse(first + second, run=1)
    assert before.table.equals(parse(first).table) and before.lines == 11
    with pytest.raises(InputError, match="--run 3: it holds 2 runs: 1 .lines 1 to 11"):
        parse(first + second, "two.log", run=3)


def test_an_epoch_that_goes_back_is_another_run() -> None:
    run = parse(window(0, 20, .1) + window(1, 20, .2) + window(0, 20, .3))
    assert run.windows["acc"].tolist() == [.3] and len(run.runs) == 2
    assert len(parse(window(3, 20) + lines.resuming("run", 21, 0, 21) + "\n" + window(0, 40)).runs) == 1


def test_the_command_names_the_runs_of_a_file(tmp_path: Path, capsys: Any) -> None:
    log = tmp_path / "two.log"
    log.write_text(START + window(0, 20, .1) + START + window(0, 20, .3))
    with pytest.warns(Notice, match="two.log holds 2 runs"):
        assert main([str(log), "--csv", str(tmp_path / "last.csv")]) == 0
    with pytest.warns(Notice):
        main([str(log), "--run", "1", "--csv", str(tmp_path / "first.csv")])
    assert ",0.3," in (tmp_path / "last.csv").read_text() and ",0.1," in (tmp_path / "first.csv").read_text()


def test_our_start_lines_then_resume() -> None:
    run = parse(START + window(0, 20, .1) + START + lines.resuming("run", 21, 0, 21) + "\n" + window(0, 40, .3))
    assert run.windows["step"].tolist() == [21, 41]


def test_metrics(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with MetricsWriter(path) as metrics:
        metrics.train(20, 0, 160, 99.5, 0.1, 0.25, 2.5)
        metrics.validation(30, 0, 240, "lfw", 0.75, 0.02, 9.5, auc=0.8)
        metrics.validation(30, 0, 240, "cfp_fp", 0.65, 0.03, 9.25)
        metrics.train(40, 1, 320, 99.5, 0.01, 0.5, float("nan"))
    run = load(path)
    assert run.table["step"].tolist() == [20, 30, 40] and run.targets == ["lfw", "cfp_fp"]
    assert run.table["images"].tolist() == [160, 240, 320] and run.table["epoch"].tolist() == [0, 0, 1]
    middle = run.table.iloc[1]
    assert middle["lfw_accuracy"] == 0.75 and middle["cfp_fp_std"] == 0.03
    assert np.isnan(run.table["loss"].iloc[2])
    assert parse_metrics('{"kind": "train", "st\n').unread == [(1, '{"kind": "train", "st')]


def test_a_run_directory_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "train.log").write_text(START + window(0, 20))
    assert load(tmp_path).table["step"].tolist() == [21]
    with MetricsWriter(tmp_path / "metrics.jsonl") as metrics:
        metrics.train(21, 0, 210, 100.0, 0.1, 0.5, 1.5)
    (tmp_path / "settings.json").write_text('{"contexts": 2}')
    run = load(tmp_path)
    assert run.settings["network"] == "y1" and run.settings["contexts"] == 2 and run.facts["num_classes"] == 100


@pytest.mark.parametrize(("content", "expected"), [
    (None, "not found"), ("", "empty"), ("x\n", "not one line")])
def test_bad_input_is_named(tmp_path: Path, content: Any, expected: str) -> None:
    path = tmp_path / "x.log"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=f"x.log: {expected}"):
        load(path)


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither metrics.jsonl nor train.log"):
        load(tmp_path)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    log = tmp_path / "x.log"
    log.write_text(START + window(0, 20) + "what is this\n" + validation(21))
    assert main([str(log), "--csv", str(tmp_path / "x.csv")]) == 0
    told: List[str] = capsys.readouterr().out.splitlines()
    assert "1 not understood" in told[0] and told[1] == "  line 4: what is this"
    assert (tmp_path / "x.csv").read_text().splitlines() == [
        "step,epoch,images,speed,lr,acc,loss,lfw_accuracy,lfw_std,lfw_xnorm",
        "21,0,210.0,100.0,0.1,0.5,1.5,0.9,0.01,11.5"]


@pytest.mark.parametrize("encode", [lambda text: text.encode("utf-16"), lambda text: text.encode("utf-8-sig"),
                                    lambda text: text.replace("\n", "\r\n").encode(),
                                    lambda text: text.replace("\n", "\r").encode(),
                                    lambda text: b"\xe9\0\n" + text.encode()])
def test_logs_of_other_systems(tmp_path, encode):
    """PowerShell's redirection writes UTF-16; a crash leaves bytes that are no text."""
    lines = [f"INFO:root:Epoch[0] Batch [{step}]\tSpeed: 500.00 samples/sec\tacc=0.1" for step in (20, 40, 60)]
    (tmp_path / "x.log").write_bytes(encode("\n".join(lines) + "\n"))
    run = load(tmp_path / "x.log")
    assert len(run.table) == 3 and len(run.unread) <= 1


TRAIN = '{"kind": "train", "step": 20, "epoch": 0, "images": 1, "speed": %s, "lr": 1, "acc": null, "loss": 1}'


@pytest.mark.parametrize("row", [
    "[" * 100000, '{"kind": "train", "step": 1e400}', '{"kind": "train", "step": ' + "9" * 5000 + "}", TRAIN % '"fast"',
    '{"kind": "validation", "step": 20, "epoch": [], "images": 1, "target": "lfw", "accuracy": 1}'])
def test_records_that_are_none_are_listed(tmp_path, row):
    good = TRAIN % "1"
    (tmp_path / "metrics.jsonl").write_text(f"{good}\n{row}\n")
    run = load(tmp_path / "metrics.jsonl")
    assert len(run.table) == 1 and [number for number, _ in run.unread] == [2]
