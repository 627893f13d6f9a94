"""The plot command, the page that refreshes itself, and event files."""
from pathlib import Path
from typing import List

from arcface_mxnet.logs import format as lines
from arcface_mxnet.logs.catalogue import published_run
from arcface_mxnet.logs.plot import curves, follow, main, page
from arcface_mxnet.logs.writer import write
from arcface_mxnet.runtime.errors import InputError

import pytest


def start(folder: Path, windows: int = 2) -> Path:
    with open(folder / "train.log", "w") as stream:
        stream.write("Called with argument: Namespace(batch_size=8, lr=0.1, network='y1')\n")
        for batch in range(20, 20 * windows + 1, 20):
            stream.write(lines.epoch_batch(0, batch - 20, batch, 50.0, 0.25, 2.0) + "\n")
    return folder


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main([str(start(tmp_path)), "--with", "none"]) == 0
    assert (tmp_path / "curves.png").exists() and (tmp_path / "curves.svg").exists()
    assert capsys.readouterr().out.split() == [str(tmp_path / "curves.png"), str(tmp_path / "curves.svg")]


def test_which_runs_are_drawn(tmp_path: Path) -> None:
    folder = start(tmp_path)
    assert [other.name for other in curves(str(folder), None)[1]] == ["moli-softmax (published)"]  # no loss is printed
    assert [other.name for other in curves(str(folder), ["r50", "r34"])[1]] == ["r50 (published)", "r34 (published)"]
    assert curves(str(folder), ["none"])[1] == [] and curves("y1", ["y1"])[1] == []
    assert curves("y1", None)[0].released == published_run("y1").released_step


def test_bad_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown published run 'r1'"):
        main([str(start(tmp_path)), "--with", "r1"])
    with pytest.raises(InputError, match="unknown published run 'r1'"):
        main([str(tmp_path), "--live", "--with", "r1"])
    with pytest.raises(InputError, match="nowhere"):
        main([str(tmp_path / "nowhere")])
    with pytest.raises(InputError, match="y1: has no folder to write into"):
        main(["y1", "--with", "none"])


def test_the_live_page_follows_a_run_to_its_end(tmp_path: Path) -> None:
    """It waits for the first line, shows each state, and stops refreshing when the run has stopped."""
    seen: List[str] = []
    path = tmp_path / "live.html"

    def time_passes(seconds: float) -> None:
        assert seconds == 7
        if path.exists():
            seen.append(path.read_text())
            with open(tmp_path / "train.log", "a") as log:
                log.write(lines.stopped(40, "all steps done") + "\n")
        else:
            start(tmp_path)

    assert follow(lambda: curves(str(tmp_path), ["y1"]), path, 7, time_passes) == 2
    last = path.read_text()
    assert len(seen) == 1 and '<meta http-equiv="refresh" content="7">' in seen[0] and "step 41" in seen[0]
    assert "refresh" not in last and "stopped: all steps done" in last and last.count("<svg") == 1
    assert "beside the published run y1" in last and "The run has no validation yet." in last


def test_a_page_escapes_what_a_log_says(tmp_path: Path) -> None:
    ours, _ = curves(str(start(tmp_path)), ["none"])
    ours.run.facts["stopped"] = "<script>"
    text = page(ours, [], 5)
    assert "<script>" not in text and "&lt;script&gt;" in text


def test_event_files_hold_every_figure(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    run = published_run("moli-softmax").run
    columns = ["acc", "lr", "speed"]
    columns += [f"{target}_{kind}" for target in run.targets for kind in ("accuracy", "std", "xnorm")]
    assert write(run, tmp_path) == int(run.table[columns].notna().sum().sum())
    data = b"".join(path.read_bytes() for path in tmp_path.glob("events.out.tfevents.*"))
    assert b"cfp_fp/accuracy" in data and b"train/rate" in data
