"""One writer for an output: refused while another process holds it, free when that one is gone, however it went."""
import os
import signal
import subprocess
import sys
from pathlib import Path

from arcface_mxnet.runtime.errors import InputError, Notice
from arcface_mxnet.runtime.locks import claimed, lock_path

import pytest

HOLD = ("import sys, time\n"
        "from arcface_mxnet.runtime.errors import run_command\n"
        "from arcface_mxnet.runtime.files import atomic_open\n"
        "from arcface_mxnet.runtime.locks import claimed\n"
        "from pathlib import Path\n"
        "def main(argv):\n"
        "    folder = Path(sys.argv[1])\n"
        "    with claimed(folder):\n"
        "        folder.mkdir(exist_ok=True)\n"
        "        with atomic_open(folder / 'half', 'w') as stream:\n"
        "            stream.write('half')\n"
        "            print('held', flush=True)\n"
        "            for _ in range(6000):  # a signal just before a long sleep would be seen after it\n"
        "                time.sleep(0.01)\n"
        "run_command(main)\n")


@pytest.fixture
def holder(tmp_path):
    """Another process that holds tmp_path/out and is in the middle of writing a file there."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "out")], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_the_second_comer_is_told_who_holds_it(holder, tmp_path):
    with pytest.raises(InputError, match=rf"out: is being written by process {holder.pid} on .* since .*; wait"):
        with claimed(tmp_path / "out"):
            pass
    with claimed(tmp_path / "other"):
        pass
    assert not lock_path(tmp_path / "other").exists()


@pytest.mark.parametrize("command", [
    "recognition/export.py slim --model none,0", "recognition/reproduce.py page --page none",
    "evaluation/megaface/noise.py", "evaluation/megaface/generate.py --model none,0"])
def test_commands_that_write_several_files_claim_their_output_first(holder, tmp_path, command):
    done = subprocess.run([sys.executable, *command.split(), "--out", str(tmp_path / "out")], capture_output=True,
                          text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 2 and f"is being written by process {holder.pid}" in done.stderr, done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_leaves_nothing(holder, tmp_path, number):
    holder.send_signal(number)
    _, said = holder.communicate(timeout=30)
    assert (holder.returncode, said) == (128 + number, "interrupted\n" if number == signal.SIGINT else "terminated\n")
    assert os.listdir(tmp_path / "out") == [] and os.listdir(tmp_path) == ["out"]
    with claimed(tmp_path / "out"):
        pass


def test_what_sigkill_leaves_is_removed_and_named_at_the_next_start(holder, tmp_path):
    holder.kill()
    holder.wait()
    left = os.listdir(tmp_path / "out")
    assert len(left) == 1 and lock_path(tmp_path / "out").exists()
    (tmp_path / "out" / ".keep.tmp").write_text("the user's own")
    with pytest.warns(Notice, match=f"{left[0]}: removed"), claimed(tmp_path / "out"):
        assert os.listdir(tmp_path / "out") == [".keep.tmp"]
    assert not lock_path(tmp_path / "out").exists()


def test_a_command_may_claim_what_it_holds(tmp_path):
    with claimed(tmp_path / "out"):
        with claimed(tmp_path / "out"):
            pass
        assert lock_path(tmp_path / "out").exists()  # the inner one gave nothing back


def test_a_signal_that_is_ignored_stays_ignored(tmp_path):
    """As under nohup."""
    code = ("import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
            "from arcface_mxnet.runtime.errors import run_command\n"
            "def main(argv):\n    signal.raise_signal(signal.SIGHUP)\n    print('went on')\nrun_command(main)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "went on\n", "")
