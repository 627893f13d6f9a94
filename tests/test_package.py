"""The wheel: one import name, whole, and at peace with a package called `datasets` in the same environment."""
import os
import subprocess
import sys
import zipfile
from pathlib import Path

from arcface_mxnet.runtime.commands import main
from arcface_mxnet.runtime.errors import CONSOLE_SCRIPT

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("runtime", "graph", "engines", "datasets", "evaluation", "recognition", "logs")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel built from a copy of the tree, as `pip wheel .` in a clone builds it."""
    copy, out = tmp_path_factory.mktemp("tree") / "project", tmp_path_factory.mktemp("wheel")
    files = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                           capture_output=True, text=True)
    if files.returncode:
        pytest.skip("not a git checkout")
    for name in files.stdout.splitlines():
        source, target = ROOT / name, copy / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():
            target.symlink_to(os.readlink(source))
        elif source.is_file():
            target.write_bytes(source.read_bytes())
    subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation",
                    "--disable-pip-version-check", "--wheel-dir", str(out), str(copy)], check=True)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory):
    """A folder of packages: the wheel installed after a package called `datasets`."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "datasets").mkdir()
    (folder / "datasets" / "__init__.py").write_text("OWNER = 'somebody else'\n")
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--disable-pip-version-check",
                    "--target", str(folder), str(wheel)], check=True)
    return folder


def run(site, *arguments, cwd):
    return subprocess.run([sys.executable, *map(str, arguments)], cwd=cwd, capture_output=True, text=True,
                          env={"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin", "HOME": str(cwd)}, timeout=120)


def test_a_wheel_holds_one_package_with_all_its_files(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"arcface_mxnet"}
    wanted = {f"arcface_mxnet/{path.relative_to(ROOT).as_posix()}" for folder in FOLDERS
              for kind in ("*.py", "*.json", "*.csv", "*.html") for path in (ROOT / folder).rglob(kind)}
    assert wanted <= set(names) and "arcface_mxnet/py.typed" in names


def test_a_wheel_brings_the_console_script(wheel):
    with zipfile.ZipFile(wheel) as archive:
        written = next(name for name in archive.namelist() if name.endswith("/entry_points.txt"))
        assert f"{CONSOLE_SCRIPT} = {main.__module__}:{main.__name__}" in archive.read(written).decode()


@pytest.mark.parametrize("words, shown", [
    (["--version"], "arcface 0."), (["logs", "plot", "--help"], "usage: arcface logs plot"),
    (["data", "verify", "--help"], "usage: arcface data verify")])
def test_the_commands_of_the_console_script_run_from_the_wheel(site, tmp_path, words, shown):
    done = run(site, "-m", "arcface_mxnet", *words, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "") and shown in done.stdout


@pytest.mark.parametrize("module, words, shown", [
    ("recognition.train", ["--list"], "arcface"), ("evaluation.verification", ["--help"], "usage:"),
    ("datasets.prepare", ["--help"], "usage:")])
def test_commands_run_from_the_wheel_beside_another_datasets(site, tmp_path, module, words, shown):
    done = run(site, "-m", f"arcface_mxnet.{module}", *words, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "") and shown in done.stdout


def test_the_library_and_the_other_package_are_two(site, tmp_path):
    code = "import datasets; from arcface_mxnet.datasets import records; print(datasets.OWNER, records.__file__)"
    done = run(site, "-c", code, cwd=tmp_path)
    assert done.stdout.split("/")[0].strip() == "somebody else" and str(site) in done.stdout


def test_the_scripts_of_a_checkout_run_beside_it_too(site, tmp_path):
    done = run(site, ROOT / "recognition" / "train.py", "--list", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "") and "arcface" in done.stdout
