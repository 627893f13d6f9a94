"""The launcher with workers that are a few lines of shell: what it starts, forwards, ends and says."""
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from arcface_mxnet.recognition import launch
from arcface_mxnet.recognition.engine import launcher
from arcface_mxnet.recognition.engine.launcher import (
    Job,
    Place,
    addresses_of,
    arguments,
    environment,
    free_port,
    how_it_ended,
    own_address,
    places,
    read_hosts,
)
from arcface_mxnet.runtime.errors import InputError

import pytest

ROOT = Path(__file__).parents[2]
JOB = Job(3, 2, ("localhost", "node7"), "10.0.0.1", 9091, "",
          ("python", "-m", "arcface_mxnet.recognition.train", "--lr", "0.1 x"))


def start(script, *flags, workers=2):
    """The launcher in a process of its own; scheduler and server are idle ones (see idle_nodes)."""
    command = [sys.executable, str(ROOT / "tests" / "recognition" / "launch_idle.py"), "-n", str(workers), "-s", "1",
               *flags, "--", "sh", "-c", script]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_lines_come_back_with_the_rank_the_worker_said(marked):
    process = start('echo before; echo "# worker 1 of 2"; echo after', workers=1)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out.splitlines() == ["[worker 0] before", "[worker 1] # worker 1 of 2", "[worker 1] after"]


def test_one_that_dies_ends_all_with_the_reason(marked, tmp_path):
    process = start('mkdir $LAUNCH_MARK/first 2>/dev/null && exec sleep 1000; '
                    'echo "worker 7 of 8"; sleep 0.5; kill -9 $$')
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGKILL
    assert err.splitlines()[-1] == "error: worker 7 was killed by SIGKILL; all others were ended"


def test_a_worker_that_fails_gives_its_status(marked):
    process = start('mkdir $LAUNCH_MARK/first 2>/dev/null && exec sleep 1000; echo "error: no such set"; exit 2')
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2 and "ended with status 2; all others were ended" in err
    assert "error: no such set" in out


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_workers_finish_first(marked, number):
    process = start("trap 'echo saved; exit 143' TERM; echo ready; while :; do sleep 0.05; done")
    ready = [process.stdout.readline(), process.stdout.readline()]
    assert all("ready" in line for line in ready)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert out.count("saved") == 2 and err.splitlines()[-1] == f"stopped by {number.name}"


def test_workers_that_do_not_listen_are_ended_after_the_grace(marked):
    process = start("trap '' TERM; echo ready; while :; do sleep 0.05; done", "--grace", "0.5")
    process.stdout.readline(), process.stdout.readline()
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143 and "the workers did not end within 0.5 s" in err


def test_nothing_outlives_a_launcher_that_is_killed(marked):
    process = start("echo ready; exec sleep 1000")
    process.stdout.readline(), process.stdout.readline()
    process.kill()
    process.communicate()


def test_roles_go_round_the_hosts():
    assert [(place.role, place.number, place.host) for place in places(JOB)] == [
        ("scheduler", 0, "localhost"), ("server", 0, "localhost"), ("server", 1, "node7"),
        ("worker", 0, "localhost"), ("worker", 1, "node7"), ("worker", 2, "localhost")]


def test_a_worker_elsewhere_is_reached_by_ssh_with_its_words_kept(tmp_path):
    line = arguments(JOB, Place("worker", 1, "node7"), "/home/me/my faces")
    assert line[:5] == ["ssh", "-tt", "-o", "BatchMode=yes", "node7"]
    shown = subprocess.run(["sh", "-c", line[5].replace("/home/me/my faces", str(tmp_path))
                            .replace("python -m", "printf '%s|' $DMLC_ROLE")], capture_output=True, text=True).stdout
    assert shown.endswith("arcface_mxnet.recognition.train|--lr|0.1 x|")
    assert "DMLC_ROLE=worker" in line[5] and "DMLC_PS_ROOT_URI=10.0.0.1" in line[5] and "DMLC_NUM_SERVER=2" in line[5]


def test_how_a_worker_elsewhere_ended_comes_back(tmp_path):
    def status(*command):
        line = arguments(JOB._replace(command=command), Place("worker", 1, "node7"), str(tmp_path))[5]
        return subprocess.run(["sh", "-c", line]).returncode

    assert how_it_ended(status("sh", "-c", "kill -9 $$"), remote=True) == "was killed by SIGKILL"
    assert how_it_ended(status("sh", "-c", "exit 3"), remote=True) == "ended with status 3"
    assert how_it_ended(255, remote=True) == "could not be reached by ssh, or was lost"
    assert how_it_ended(-15, remote=False) == "was killed by SIGTERM"
    assert how_it_ended(137, remote=False) == "ended with status 137"


def test_an_interrupt_at_the_terminal_leaves_a_worker_elsewhere_time_to_save(tmp_path):
    """As behind ssh -tt: one process group, which all get SIGINT."""
    worker = ("sh", "-c", "trap 'sleep 0.3; touch saved; exit 130' INT; touch ready; while :; do sleep 0.05; done")
    line = arguments(JOB._replace(command=worker), Place("worker", 1, "node7"), str(tmp_path))[5]
    process = subprocess.Popen(["sh", "-c", line], start_new_session=True)
    while not (tmp_path / "ready").exists():
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=20) == 130 and (tmp_path / "saved").exists()


def test_each_machine_announces_the_address_it_is_reached_at(monkeypatch):
    known = {"node7": "10.0.0.7", "node8": "127.0.1.1"}

    def look_up(name):
        if name not in known:
            raise OSError("not known")
        return known[name]

    monkeypatch.setattr(socket, "gethostbyname", look_up)
    found = addresses_of(["localhost", "me@node7", "node8", "alias"])
    assert found == {"me@node7": "10.0.0.7"}
    job = JOB._replace(hosts=("localhost", "me@node7", "alias"), addresses=found)
    said = [environment(job, Place("worker", 0, host)).get("DMLC_NODE_HOST") for host in job.hosts]
    assert said == ["10.0.0.1", "10.0.0.7", None]
    assert "DMLC_NODE_HOST" not in environment(job._replace(interface="eth1"), Place("worker", 0, "localhost"))
    assert own_address(["somebody@127.0.0.1"]) == "127.0.0.1"


def test_settings_of_threads_and_engine_go_along(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("MXNET_ENGINE_TYPE", "NaiveEngine")
    monkeypatch.setenv("SECRET", "x")
    line = arguments(JOB, Place("worker", 1, "node7"), "/")[5]
    assert " OMP_NUM_THREADS=3 " in line and "MXNET_ENGINE_TYPE=NaiveEngine" in line and "SECRET" not in line


def test_everything_binds_where_it_was_told():
    assert environment(JOB._replace(interface="eth1"), Place("server", 0, "node7"))["DMLC_INTERFACE"] == "eth1"
    alone = JOB._replace(hosts=("localhost",), address="127.0.0.1")
    assert environment(alone, Place("server", 0, "localhost"))["DMLC_NODE_HOST"] == "127.0.0.1"
    assert "DMLC_ROLE" not in environment(alone, Place("server", 0, "localhost"))
    assert own_address(["localhost"]) == "127.0.0.1" and free_port("127.0.0.1") > 1023


@pytest.mark.parametrize("arguments, message", [
    (["-n", "0", "--", "x"], "-n 0: at least 1"),
    (["-n", "2"], "no command for the workers; put it after --"),
    (["-n", "2", "-H", "missing", "--", "x"], "missing: not found; give -H"),
    (["-n", "2", "--address", "203.0.113.1", "--", "x"], "--address 203.0.113.1: not an address of this machine"),
])
def test_bad_flags_are_one_line(arguments, message):
    with pytest.raises(InputError, match=message):
        launch.job_from(launch.build_parser().parse_args(arguments))


def test_help_of_a_role_is_of_the_role_and_not_of_the_launcher(capsys):
    with pytest.raises(SystemExit):
        launcher.main(["--help"])
    assert "A scheduler or server of MXNet's parameter server" in capsys.readouterr().out


def test_a_host_list_is_read(tmp_path):
    file = tmp_path / "hosts"
    file.write_text("# two machines\nnode1\n\nme@node2  # the second\n")
    assert read_hosts(str(file)) == ["node1", "me@node2"]
    for text, message in (("", "names no machine"), ("-oProxyCommand=x", "is not the name of one machine"),
                          ("a b", "is not the name of one machine")):
        file.write_text(text)
        with pytest.raises(InputError, match=message):
            read_hosts(str(file))
