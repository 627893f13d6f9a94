"""train.log and metrics.jsonl: whole lines, no step twice."""
import errno
import io
import json
from pathlib import Path
from typing import Any, Dict, List

from arcface_mxnet.logs.writer import LogWriter, MetricsWriter, callback_of
from arcface_mxnet.runtime.errors import InputError, Notice

import pytest
from tqdm import tqdm


def records(path: Path) -> List[Dict[str, Any]]:
    return [json.loads(text) for text in path.read_text().splitlines()]


def test_lines_reach_the_file_and_the_stream(tmp_path: Path) -> None:
    stream = io.StringIO()
    with LogWriter(tmp_path / "run" / "train.log", stream) as log:
        log("use cpu")
        assert (tmp_path / "run" / "train.log").read_text() == "use cpu\n"
        log("num_classes 10")
    assert stream.getvalue() == "use cpu\nnum_classes 10\n"


def test_a_line_stands_alone_above_a_bar(tmp_path: Path) -> None:
    screen = io.StringIO()
    with LogWriter(tmp_path / "train.log", screen) as log, tqdm(total=10, file=screen, mininterval=0) as bar:
        bar.update(1)
        log("call reset()")
        assert (tmp_path / "train.log").read_text() == "call reset()\n"
    assert any(part.strip() == "call reset()" for part in screen.getvalue().replace("\r", "\n").split("\n"))


def test_a_full_disk_names_the_file() -> None:
    log = LogWriter("/dev/full", io.StringIO())
    for fails in (lambda: log("use cpu"), log.close):
        with pytest.raises(OSError) as error:
            fails()
        assert (error.value.errno, error.value.filename) == (errno.ENOSPC, "/dev/full")


def test_a_torn_last_line_does_not_swallow_the_next(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    path.write_text("use cpu\nlr-batch-ep")
    with LogWriter(path, io.StringIO()) as log:
        log("call reset()")
    assert path.read_text() == "use cpu\nlr-batch-ep\ncall reset()\n"


def test_resuming_never_repeats_a_step(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with MetricsWriter(path) as metrics:
        for step in (20, 40, 60):
            metrics.train(step, 0, step * 8, 100.0, 0.1, 0.5, 1.5)
        metrics.validation(40, 0, 320, "lfw", 0.9, 0.01, 11.0, auc=0.95)
    with open(path, "a", encoding="utf-8") as stream:
        stream.write('{"kind": "train", "st')  # a kill in the middle of a write
    with MetricsWriter(path, step=40) as metrics:
        metrics.train(60, 0, 480, 100.0, 0.1, 0.6, 1.25)
    assert [(record["kind"], record["step"]) for record in records(path)] == [
        ("train", 20), ("train", 40), ("validation", 40), ("train", 60)]
    assert records(path)[-1]["loss"] == 1.25


def test_a_new_run_starts_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"kind": "train", "step": 20}\n')
    MetricsWriter(path).close()
    assert path.read_text() == ""


def test_numbers_that_are_not_finite_stay_valid_json(tmp_path: Path) -> None:
    with MetricsWriter(tmp_path / "metrics.jsonl") as metrics:
        metrics.train(20, 0, 160, 100.0, 0.1, 0.0, float("nan"))
    assert records(tmp_path / "metrics.jsonl")[0]["loss"] is None


def test_a_foreign_file_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("hello\n{\"step\": 1}\n")
    with pytest.raises(InputError, match=r"metrics\.jsonl: line 1"):
        MetricsWriter(path, step=1)
    assert path.read_text().startswith("hello")


def test_a_callback_gets_what_the_file_gets_and_cannot_stop_a_run(tmp_path: Path) -> None:
    seen: List[Any] = []

    def broken(record: Any) -> None:
        raise ConnectionError("no server\nhere")

    with pytest.warns(Notice, match="failed at step 1 .ConnectionError: no server here.; it is not called again"):
        with MetricsWriter(tmp_path / "m", callbacks=[broken, seen.append]) as metrics:
            metrics.train(1, 0, 4, 2.0, 0.1, 0.5, float("nan"))
            metrics.validation(2, 0, 8, "lfw", 0.9, 0.1, 3.0)
            assert metrics.callbacks == [seen.append]
    assert seen == records(tmp_path / "m") and len(seen) == 2 and seen[0]["loss"] is None


@pytest.mark.parametrize("text, said", [
    ("json", "expected MODULE:NAME"), (":dumps", "expected MODULE:NAME"), ("no_such_module:f", "No module named"),
    ("json:no_such", "no attribute 'no_such'"), ("json:__name__", "is no function")])
def test_what_is_no_callback_is_refused(text: str, said: str) -> None:
    with pytest.raises(InputError, match=f"--callback {text}: .*{said}"):
        callback_of(text)
    assert callback_of("json:decoder.JSONDecoder") is json.JSONDecoder
