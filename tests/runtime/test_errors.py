"""Bad input is one line; Ctrl-C while libraries load is one line and 130; other programs keep their signals."""
import ast
import errno
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

from arcface_mxnet.runtime.errors import FOLDERS, InputError, Notice, one_line, run_command, unknown

import pytest

ROOT = Path(__file__).parents[2]
LIBRARIES = ("numpy", "pandas", "cv2", "matplotlib", "scipy", "sklearn", "skimage", "onnx", "tqdm")
COMMANDS = [["datasets/prepare.py", "verify", "nowhere"], ["evaluation/verification.py", "-h"],
            ["-m", "arcface_mxnet.logs.parse", "-h"]]


def test_unknown_lists_the_known_names_sorted():
    assert str(unknown("loss", "zzz", ["cosface", "arcface"])) == "unknown loss 'zzz'; known: arcface, cosface"


@pytest.mark.parametrize("given", ["arcfase", "ArcFace", "ARCFACE", "arc_face"])
def test_unknown_says_what_was_probably_meant(given):
    assert str(unknown("loss", given, ["cosface", "arcface"], "x: ")) == (
        f"x: unknown loss '{given}'; known: arcface, cosface; did you mean arcface?")


def test_what_foreign_code_says_is_one_line_and_never_nothing():
    assert one_line(ValueError("\n  a\tb \r\n c\n")) == "a b c"
    assert one_line(AssertionError()) == "AssertionError"
    assert one_line(ValueError("x" * 999)) == "x" * 200


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


def interrupted(command, delay):
    """(status, what it said) of a command that gets SIGINT `delay` seconds after our first module was loaded."""
    process = subprocess.Popen([sys.executable, "-X", "importtime", *command], cwd=ROOT, stderr=subprocess.PIPE,
                               stdout=subprocess.DEVNULL, text=True)
    said = []
    for line in process.stderr:
        if line.startswith("import time:") and line.rsplit("|", 1)[-1].strip() == "arcface_mxnet":
            time.sleep(delay)
            process.send_signal(signal.SIGINT)
        if not line.startswith("import time:"):
            said.append(line)
    return process.wait(), "".join(said)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command[:2]))
@pytest.mark.parametrize("delay", [0.0, 0.04, 0.08, 0.2])
def test_one_line_at_any_moment_of_loading(command, delay):
    status, said = interrupted(command, delay)
    assert "Traceback" not in said and "ImportError" not in said
    if status in (0, 2) or status == -signal.SIGINT and delay:  # it had ended, or was in Python's last instants
        assert said.count("\n") <= 1 and delay
    else:
        assert (status, said) == (130, "interrupted\n")


def test_the_signal_is_given_back_for_the_work():
    """run_command: SIGINT is a KeyboardInterrupt again, so that what is half written is cleaned up."""
    code = ("import arcface_mxnet.runtime.errors, signal\n"
            "signal.signal(signal.SIGINT, arcface_mxnet.runtime.errors._leave)\n"
            "from arcface_mxnet.runtime.errors import run_command\n"
            "def main(argv):\n"
            "    try:\n        signal.raise_signal(signal.SIGINT)\n"
            "    finally:\n        print('cleaned up')\n"
            "run_command(main)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "cleaned up\n", "interrupted\n")


@pytest.mark.parametrize("command", [["-c", "{}"], ["{file}"], ["-m", "other"]])
def test_another_program_keeps_its_signals(tmp_path, command):
    """A notebook, a script or a module of somebody else's that imports the package."""
    code = "import signal, arcface_mxnet.datasets; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    (tmp_path / "other.py").write_text(code)
    filled = [part.format(code, file=tmp_path / "other.py") for part in command]
    done = subprocess.run([sys.executable, *filled], capture_output=True, text=True, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_ignored_stays_ignored():
    """A command begun in the background of a script is not ended by Ctrl-C, as any other."""
    code = ("import signal, os, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); "
            "os.execv(sys.executable, sys.argv[1:])")
    asked = ["-c", "import sys; sys.argv[0] = '-m'; import arcface_mxnet.datasets\n"
             "import signal; print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"]
    done = subprocess.run([sys.executable, "-c", code, sys.executable, *asked], capture_output=True, text=True)
    assert done.stdout == "True\n"


def _scripts():
    """Files that people start by their path; `-m` imports the package first."""
    return sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")
                  if path.name != "__main__.py" and "run_command(main)" in path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", _scripts(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_imports_the_package_before_any_library(path):
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names]
            first = names[0].split(".")[0]
            if first == "arcface_mxnet":
                return
            assert first not in LIBRARIES, f"{first} before arcface_mxnet"


@pytest.mark.parametrize("path", _scripts(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_ends_in_a_sentence_where_the_package_is_not_installed(path):
    if path == ROOT / "runtime" / "setup.py":
        return  # makes the installation
    done = subprocess.run([sys.executable, "-S", "-E", str(path), "-h"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("error: arcface_mxnet is not installed in this Python")
