import errno
import os
import subprocess
import sys
import warnings

from arcface_mxnet.runtime.errors import InputError, Notice, run_command, unknown

import pytest


def test_unknown_lists_the_known_names_sorted():
    assert str(unknown("loss", "arcfase", ["cosface", "arcface"])) == "unknown loss 'arcfase'; known: arcface, cosface"


@pytest.mark.parametrize("error, status, said", [
    (InputError("train.rec: not found; give --data-dir"), 2, "error: train.rec: not found; give --data-dir\n"),
    (OSError(errno.ENOSPC, "No space left on device", "x.params"), 2,
     "error: x.params: No space left on device; make room or choose another folder\n"),
    (OSError(errno.EISDIR, "Is a directory", "train.idx"), 2,
     "error: train.idx: Is a directory; choose another path\n"),
    (OSError(errno.EEXIST, "File exists", "run"), 2,
     "error: run: File exists; it is no folder; choose another path\n"),
    (OSError(errno.EPERM, "Operation not permitted", "/sys/out"), 2,
     "error: /sys/out: Operation not permitted; choose another path\n"),
    (FileNotFoundError(errno.ENOENT, "No such file or directory", "/proc/nowhere/out"), 2,
     "error: /proc/nowhere/out: No such file or directory; no file can be made there, choose another path\n"),
    (KeyboardInterrupt(), 130, "interrupted\n"),
])
def test_bad_input_ends_with_one_line_and_its_status(error, status, said, capsys):
    def main(argv):
        raise error

    with pytest.raises(SystemExit) as stopped:
        run_command(main)
    assert stopped.value.code == status
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("error", [OSError(errno.EBADF, "bad descriptor"),
                                   FileNotFoundError(errno.ENOENT, "No such file or directory", "/tmp/forgotten")])
def test_a_defect_of_ours_keeps_its_traceback(error):
    def main(argv):
        raise error

    with pytest.raises(OSError):
        run_command(main)


def test_a_reader_that_goes_away_is_no_error():
    code = ("from arcface_mxnet.runtime.errors import run_command\n"
            "run_command(lambda argv: [print(i) for i in range(99999)] and 0)")
    shown = subprocess.run(f"{sys.executable} -c '{code}' | head -1", shell=True, capture_output=True, text=True)
    assert shown.stdout == "0\n"
    assert shown.stderr == ""


def test_the_status_of_main_is_the_status_of_the_process():
    code = "from arcface_mxnet.runtime.errors import run_command\nrun_command(lambda argv: 143)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 143


def test_a_notice_is_one_line_and_another_warning_is_pythons_own(capsys):
    def main(argv):
        warnings.warn("LRN is left alone", Notice, stacklevel=1)
        warnings.warn("old", FutureWarning, stacklevel=1)
    with warnings.catch_warnings(), pytest.raises(SystemExit):
        warnings.simplefilter("always")
        run_command(main)
    first, second = capsys.readouterr().err.splitlines()[:2]
    assert first == "note: LRN is left alone" and "test_errors.py" in second and "FutureWarning: old" in second


def test_a_reader_that_has_gone_ends_it_in_silence():
    """`prepare.py catalog | head -1`: what is left in the buffer is written where the error is understood."""
    code = "from arcface_mxnet.runtime.errors import run_command; run_command(lambda argv: print('x'))"
    left, right = os.pipe()
    os.close(left)
    done = subprocess.run([sys.executable, "-c", code], stdout=right, stderr=subprocess.PIPE, text=True)
    os.close(right)
    assert (done.returncode, done.stderr) == (128 + 13, "")
