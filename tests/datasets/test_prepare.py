"""The data command: every verb has help with an example; bad input is one line and status 2, from any folder."""
import subprocess
import sys
from pathlib import Path

from arcface_mxnet.datasets import prepare
from arcface_mxnet.datasets.records import RecordWriter
from arcface_mxnet.runtime.errors import InputError

import cv2
import numpy as np
import pytest

HERE = Path(prepare.__file__).parents[1]


@pytest.mark.parametrize("verb", sorted(prepare.VERBS))
def test_every_verb_shows_an_example(verb, capsys):
    with pytest.raises(SystemExit) as left:
        prepare.main([verb, "--help"])
    printed = capsys.readouterr().out
    assert left.value.code == 0 and f"python datasets/prepare.py {verb}" in printed.split("example:")[1]


def test_the_overview_lists_every_verb(capsys):
    with pytest.raises(SystemExit) as left:
        prepare.main(["--help"])
    printed = capsys.readouterr().out
    assert left.value.code == 0 and all(f"\n  {verb} " in printed for verb in prepare.VERBS)
    assert all(verb.summary for verb in prepare.VERBS.values())


def test_an_unknown_verb_lists_the_known_ones():
    with pytest.raises(InputError, match="unknown verb 'make'; known: .*build.*verify"):
        prepare.main(["make"])


@pytest.mark.parametrize("program", [[str(HERE / "datasets" / "prepare.py")], ["-m", "arcface_mxnet.datasets.prepare"]])
def test_bad_input_is_one_line_and_status_2(tmp_path, program):
    done = subprocess.run([sys.executable, *program, "verify", "nothing here"], cwd=tmp_path, capture_output=True,
                          text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("error: nothing here") and "not found" in done.stderr


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc here")
@pytest.mark.parametrize("arguments", [["synthetic", "--kind", "sheet", "--out"], ["synthetic", "--out"],
                                       ["build", "photos"]])
def test_an_output_where_no_file_can_be_made_is_one_line(tmp_path, arguments):
    """/proc answers the making of a file as if it were not there: that is no defect of ours."""
    (tmp_path / "photos" / "one").mkdir(parents=True)
    (tmp_path / "photos" / "one" / "1.jpg").write_bytes(cv2.imencode(".jpg", np.zeros((112, 112, 3), np.uint8))[1])
    done = subprocess.run([sys.executable, str(HERE / "datasets" / "prepare.py"), *arguments, "/proc/out"],
                          cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: /proc/out") and last.endswith("choose another path")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("flag", ["--out", "--report"])
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, full_disk, flag):
    arguments = ["clean", "set", "--features", "e.npy", flag]
    chance = np.random.default_rng(0)
    with RecordWriter(tmp_path / "set") as writer:
        for identity in range(2):
            writer.add(identity, [cv2.imencode(".jpg", chance.integers(0, 256, (112, 112, 3), dtype=np.uint8))[1]
                                  .tobytes() for _ in range(4)])
    np.save(tmp_path / "e.npy", chance.standard_normal((8, 4)).astype(np.float32))
    done = subprocess.run([sys.executable, str(HERE / "datasets" / "prepare.py"), *arguments, str(full_disk / "out")],
                          cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert f"error: {full_disk / 'out'}: No space left on device; make room" in done.stderr.splitlines()[-1]
    assert not any(full_disk.iterdir())
