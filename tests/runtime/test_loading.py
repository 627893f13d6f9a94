"""Ctrl-C while libraries load: one line and 130 at any moment; other programs keep their signals."""
import ast
import signal
import subprocess
import sys
import time
from pathlib import Path

from arcface_mxnet.runtime.loading import ROOMS

import pytest

HOUSE = Path(__file__).parents[2]
LIBRARIES = ("numpy", "pandas", "cv2", "matplotlib", "scipy", "sklearn", "skimage", "onnx", "tqdm")
COMMANDS = [["datasets/prepare.py", "verify", "nowhere"], ["evaluation/verification.py", "-h"],
            ["-m", "arcface_mxnet.logs.parse", "-h"]]


def interrupted(command, delay):
    """(status, what it said) of a command that gets SIGINT `delay` seconds after our first module was loaded."""
    process = subprocess.Popen([sys.executable, "-X", "importtime", *command], cwd=HOUSE, stderr=subprocess.PIPE,
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
    code = ("import arcface_mxnet.runtime.loading, signal\n"
            "signal.signal(signal.SIGINT, arcface_mxnet.runtime.loading._leave)\n"
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
    return sorted(path for room in ROOMS for path in (HOUSE / room).rglob("*.py")
                  if path.name != "__main__.py" and "run_command(main)" in path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", _scripts(), ids=lambda path: str(path.relative_to(HOUSE)))
def test_every_command_imports_the_package_before_any_library(path):
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names]
            first = names[0].split(".")[0]
            if first == "arcface_mxnet":
                return
            assert first not in LIBRARIES, f"{first} before arcface_mxnet"
