"""Set-up: which files for which machine, what is locked, progress, and the engine's first import."""
import importlib.util
import re
import subprocess
import sys
import time
from pathlib import Path

from arcface_mxnet.runtime import setup
from arcface_mxnet.runtime.environment import Gpu, missing_library_advice
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.setup import (
    CPU,
    GPU,
    TORCH,
    choose_requirements,
    fingerprint,
    install,
    main,
    make_environment,
    pip_install,
    try_engine,
    without,
)

import pytest

ROOT = Path(__file__).parents[2]
P40, H100 = Gpu(0, "Tesla P40", (6, 1)), Gpu(0, "NVIDIA H100", (9, 0))
RTX5090 = Gpu(1, "NVIDIA GeForce RTX 5090", (12, 0))


@pytest.fixture()
def wheel(monkeypatch):
    """Whether MXNet has a wheel for the machine: a function that sets it."""
    def has(reason):
        monkeypatch.setattr(setup, "no_mxnet_wheel", lambda: reason)
    has(None)
    return has


@pytest.mark.parametrize("engines, gpus, files", [
    ([], [], [CPU]), ([], [P40], [GPU]), ([], [H100], [CPU]), ([], [H100, P40], [GPU]), (["torch"], [P40], [TORCH]),
    (["mxnet", "torch"], [], [CPU, TORCH]), (["mxnet"], [P40], [GPU])])
def test_the_files_follow_engine_and_cards(engines, gpus, files, wheel):
    assert choose_requirements(engines, gpus)[0] == files


def test_a_card_that_is_newer_than_the_wheel_is_named_with_what_serves_it(wheel):
    files, why = choose_requirements([], [H100, RTX5090])
    assert files == [CPU]
    for line, card in zip(why, ("GPU 0 (NVIDIA H100, compute capability 9.0)", "GPU 1 (NVIDIA GeForce RTX 5090, ")):
        assert line.startswith(card) and "ENGINE=torch" in line and "ONNX Runtime's CUDA provider" in line


def test_without_a_wheel_of_mxnet_the_other_engine_is_installed(wheel):
    wheel("MXNet 1.9.1 has no wheel for Darwin arm64")
    files, why = choose_requirements([], [])
    assert files == [TORCH] and why[0].startswith("MXNet 1.9.1 has no wheel for Darwin arm64: installing")
    assert choose_requirements(["torch"], []) == ([TORCH], [])
    with pytest.raises(InputError, match="--engine mxnet: MXNet 1.9.1 has no wheel .*; use --engine torch"):
        choose_requirements(["mxnet"], [])


@pytest.mark.parametrize("name", [CPU, GPU, TORCH, "requirements-docs.txt"])
def test_every_locked_package_has_one_version_and_hashes(name):
    blocks = re.split(r"\n(?=[A-Za-z])", (ROOT / name).read_text())[1:]
    assert len(blocks) > 100
    for block in blocks:
        assert re.match(r"[\w.-]+==[\w.+]+( ; [^\\]+)? \\\n", block), block.splitlines()[0]
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", block), block.splitlines()[0]


@pytest.mark.parametrize("name, engine", [(CPU, "mxnet"), (GPU, "mxnet-cu112"), (TORCH, "torch")])
def test_what_the_project_requires_is_in_the_lock(name, engine):
    locked = set(re.findall(r"^([\w.-]+)==", (ROOT / name).read_text(), re.MULTILINE))
    project = (ROOT / "pyproject.toml").read_text()
    required = re.search(r"^dependencies = \[(.*?)^\]", project, re.MULTILINE | re.DOTALL).group(1)
    names = set(re.findall(r'"([\w-]+)', required))
    assert len(names) > 5 and names <= locked
    assert engine in locked and {"pytest", "ruff", "mypy", "onnxruntime", "setuptools"} <= locked


def test_packages_are_left_out_with_their_hashes():
    text = (ROOT / TORCH).read_text()
    small = without(text, setup._CUDA_PACKAGE.match)
    names = set(re.findall(r"^([\w.-]+)==", small, re.MULTILINE))
    assert not [name for name in names if name.startswith(("nvidia", "cuda", "torch", "triton"))]
    assert {"numpy", "sympy", "filelock"} <= names
    dropped = len(re.findall(r"^\S", text, re.MULTILINE)) - len(re.findall(r"^\S", small, re.MULTILINE))
    assert dropped > 30
    assert small.count("--hash") < text.count("--hash")
    assert without(text, lambda line: False) == text


@pytest.mark.parametrize("gpus, indexed", [([], True), ([H100], False)])
def test_pytorch_comes_without_cuda_where_there_is_no_gpu(gpus, indexed, monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(setup.sys, "platform", "linux")
    monkeypatch.setattr(setup, "pip_install", lambda python, root, arguments, packages=0: calls.append(
        (arguments, Path(arguments[-1]).read_text())))
    install(tmp_path, ROOT, TORCH, gpus)
    assert len(calls) == 1 + indexed
    assert ("nvidia-" in calls[0][1]) is not indexed
    if indexed:
        assert setup.TORCH_CPU_INDEX in calls[1][0]
        assert {line.split(";")[0].strip() for line in calls[1][1].splitlines()} >= {"torch==2.13.0"}


def test_an_index_of_pytorch_out_of_reach_is_named_with_what_serves(monkeypatch, tmp_path, capsys):
    """The lock's other packages are there by then; PyPI's build satisfies the same pin when set-up runs again."""
    def pip(python, root, arguments, packages=0):
        if setup.TORCH_CPU_INDEX in arguments:
            raise InputError("pip ended with status 1: ERROR: No matching distribution found for torch==2.13.0")

    monkeypatch.setattr(setup.sys, "platform", "linux")
    monkeypatch.setattr(setup, "pip_install", pip)
    with pytest.raises(InputError, match=r"whl/cpu did not give PyTorch \(pip ended.*\): run this again, or take "
                                         f"PyPI's build.*: .*python -m pip install --no-deps -r {TORCH}$") as caught:
        install(tmp_path / "python", ROOT, TORCH, [])
    assert "\n" not in str(caught.value)


def test_set_up_ends_with_how_to_use_it_and_is_silent_when_nothing_changed(monkeypatch, tmp_path, capsys):
    done = []
    for name in ("install", "pip_install", "try_engine"):
        monkeypatch.setattr(setup, name, lambda *given, name=name: done.append(name))
    monkeypatch.setattr(setup, "machine_gpus", lambda: [])
    monkeypatch.setattr(setup, "make_environment", lambda folder: folder.mkdir() or folder / "bin" / "python")
    folder = tmp_path / "venv"
    assert main(["--venv", str(folder), "--requirements", CPU]) == 0
    assert done == ["install", "pip_install", "try_engine"]
    assert capsys.readouterr().err == f"{folder} is set up; to use it: . {folder}/bin/activate\n"
    assert main(["--venv", str(folder), "--requirements", CPU]) == 0 and len(done) == 3
    assert capsys.readouterr().err == ""


def test_the_environment_is_made_again_when_a_file_changes(tmp_path):
    (tmp_path / "pyproject.toml").write_text("a")
    (tmp_path / "r.txt").write_text("b")
    first = fingerprint(tmp_path, ["r.txt"])
    assert fingerprint(tmp_path, ["r.txt"]) == first
    (tmp_path / "r.txt").write_text("c")
    assert fingerprint(tmp_path, ["r.txt"]) != first


class Pip:
    """A process that says one more line of a log each time it is looked at."""

    def __init__(self, log, lines, site):
        self.log, self.lines, self.site = log, list(lines), site

    def poll(self):
        if not self.lines:
            return 0
        line = self.lines.pop(0)
        if line.startswith("unpack"):
            (self.site / f"{line.split()[1]}.dist-info").mkdir()
        with open(self.log, "a") as stream:
            stream.write(line + "\n")
        return None


def test_progress_counts_what_pip_fetches_and_unpacks(tmp_path, monkeypatch):
    site = tmp_path / "lib" / "python3.11" / "site-packages"
    site.mkdir(parents=True)
    log = tmp_path / "pip.log"
    log.touch()
    shown = []

    class Bar:
        def __init__(self, total, label, unit):
            self.total, self.label, self.done = total, label, 0

        def update(self, count):
            self.done += count
            shown.append((self.label, self.done, self.total))

        def close(self):
            pass

    monkeypatch.setattr(setup, "bar", Bar)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    lines = ["Ignoring c: markers 'x' don't match your environment", "Collecting a==1", "Collecting b==2",
             "Requirement already satisfied: d==4", "Installing collected packages: a, b", "unpack a-1", "unpack b-2"]
    setup._show_progress(Pip(log, lines, site), log, tmp_path / "bin" / "python", 4)
    assert ("fetching", 1, 3) in shown and ("fetching", 3, 3) in shown
    assert shown[-1] == ("installing", 2, 2) and ("installing", 1, 2) in shown


def test_what_pip_cannot_do_is_one_line_after_its_own_words(tmp_path, capsys):
    with pytest.raises(InputError, match="pip ended with status 1: ERROR: .*nowhere.txt"):
        pip_install(Path(sys.executable), tmp_path, ["-r", "nowhere.txt"])
    assert "nowhere.txt" in capsys.readouterr().err


def test_an_engine_that_does_not_load_is_an_error_of_set_up(tmp_path, monkeypatch, capsys):
    """The order of what a bare machine lacks: one library from a wheel, the next from nowhere."""
    said = iter(["OSError: libgomp.so.1: cannot open shared object file: No such file",
                 "error: libquadmath.so.0: cannot open shared object file; apt-get install libquadmath0"])
    monkeypatch.setattr(subprocess, "run",
                        lambda *given, **named: subprocess.CompletedProcess(given, 1, "", next(said)))
    monkeypatch.setattr(setup, "link_library", lambda prefix, library: Path("copy") if "gomp" in library else None)
    with pytest.raises(InputError, match="libquadmath.so.0: .*apt-get install libquadmath0, dnf install libquadmath"):
        try_engine(tmp_path / "bin" / "python", tmp_path, "mxnet")
    assert capsys.readouterr().err == "libgomp.so.1 is not on this machine: taken from copy\n"
    monkeypatch.setattr(subprocess, "run",
                        lambda *given, **named: subprocess.CompletedProcess(given, 1, "", "a\nValueError: b\n"))
    with pytest.raises(InputError, match="mxnet was installed and does not run: ValueError: b"):
        try_engine(tmp_path / "bin" / "python", tmp_path, "mxnet")


def test_the_engine_of_this_environment_runs():
    try_engine(Path(sys.executable), ROOT, "mxnet")


def test_a_python_without_venv_names_its_package(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"apt-get install python3\.\d+-venv"):
        make_environment(tmp_path / "venv")


def test_an_unknown_requirements_file_is_one_line(tmp_path):
    with pytest.raises(InputError, match="--requirements nowhere.txt: not found"):
        main(["--requirements", "nowhere.txt", "--venv", str(tmp_path / "venv")])


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.cuda"])
def test_containers_are_made_from_the_lock(name):
    text = (ROOT / name).read_text()
    locks = re.findall(r"requirements[\w-]*\.txt", text)
    assert locks and all((ROOT / lock).is_file() for lock in locks)
    assert "--no-deps -r" in text and "--no-deps --no-build-isolation -e ." in text
    for library in ("libgomp.so.1", "libquadmath.so.0"):
        assert missing_library_advice(library).split("apt-get install ")[1].split(",")[0] in text
