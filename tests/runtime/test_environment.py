import ctypes
import os
import subprocess
import sys

from arcface_mxnet.runtime import environment
from arcface_mxnet.runtime.environment import (
    Gpu,
    available_cores,
    check_python,
    link_library,
    list_gpus,
    missing_library,
    missing_library_advice,
    no_mxnet_wheel,
    preload_libraries,
    wheel_needs_cuda,
)
from arcface_mxnet.runtime.errors import InputError

import pytest


class Driver:
    """Answers like libcuda for the machine it is given."""

    def __init__(self, gpus, start=0):
        self.gpus, self.start = gpus, start

    def cuInit(self, flags):
        return self.start

    def cuDeviceGetCount(self, count):
        count._obj.value = len(self.gpus)
        return 0

    def cuDeviceGet(self, device, index):
        device._obj.value = index

    def cuDeviceGetName(self, name, size, device):
        name.value = self.gpus[device.value][0].encode()

    def cuDeviceGetAttribute(self, value, attribute, device):
        value._obj.value = self.gpus[device.value][1][attribute - 75]


def test_gpus_are_read_from_the_driver():
    driver = Driver([("Tesla P40", (6, 1)), ("NVIDIA H100", (9, 0))])
    assert list_gpus(driver) == [Gpu(0, "Tesla P40", (6, 1)), Gpu(1, "NVIDIA H100", (9, 0))]


def test_a_driver_that_does_not_start_has_no_gpus():
    assert list_gpus(Driver([("Tesla T4", (7, 5))], start=100)) == []


@pytest.mark.parametrize("name, capability, runs", [
    ("K80", (3, 7), False), ("P40", (6, 1), True), ("V100", (7, 0), True), ("T4", (7, 5), True), ("A100", (8, 0), True),
    ("3090", (8, 6), True), ("L4 and 4090", (8, 9), True), ("H100", (9, 0), False), ("B200", (10, 0), False)])
def test_which_gpus_the_wheel_has_code_for(name, capability, runs):
    assert Gpu(0, name, capability).runs_wheel is runs


def fake_install(tmp_path, package):
    folder = tmp_path / "mxnet"
    folder.mkdir()
    (tmp_path / f"{package}-1.9.1.dist-info").mkdir()
    return folder


def test_the_wheel_is_told_by_its_metadata(tmp_path):
    (tmp_path / "gpu").mkdir()
    assert not wheel_needs_cuda(fake_install(tmp_path, "mxnet"))
    assert wheel_needs_cuda(fake_install(tmp_path / "gpu", "mxnet_cu112"))


def test_libraries_are_loaded_by_path_dependencies_first(tmp_path, monkeypatch):
    folder = fake_install(tmp_path, "mxnet_cu112")
    for library in environment._LIBRARIES:
        path = tmp_path / "nvidia" / library
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    loaded = []
    monkeypatch.setattr(environment, "installed_mxnet", lambda: folder)
    monkeypatch.setattr(ctypes, "CDLL", lambda path, mode: loaded.append(path.rpartition("/")[2]))
    preload_libraries()
    assert loaded[0] == "libcuda.so.1"
    assert loaded.index("libcublasLt.so.11") < loaded.index("libcublas.so.11") < loaded.index("libcusolver.so.11")
    assert loaded.index("libcusparse.so.11") < loaded.index("libcusolver.so.11")
    assert len(loaded) == 1 + len(environment._LIBRARIES)


def test_without_a_driver_one_line_says_how_to_go_on_with_the_cpu(tmp_path, monkeypatch):
    folder = fake_install(tmp_path, "mxnet_cu112")
    monkeypatch.setattr(environment, "installed_mxnet", lambda: folder)
    monkeypatch.delenv("NVIDIA_VISIBLE_DEVICES", raising=False)
    with pytest.raises(InputError, match="no NVIDIA driver .*requirements-cpu.txt") as said:
        preload_libraries()
    assert "\n" not in str(said.value) and "container" not in str(said.value)
    monkeypatch.setenv("NVIDIA_VISIBLE_DEVICES", "all")  # as Dockerfile.cuda and NVIDIA's images set it
    with pytest.raises(InputError, match="; start the container with --gpus all; to go on with the CPU: pip "):
        preload_libraries()


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    folder = fake_install(tmp_path, "mxnet_cu112")
    monkeypatch.setattr(environment, "installed_mxnet", lambda: folder)
    monkeypatch.setattr(environment, "load_driver", lambda: None)
    with pytest.raises(InputError, match="libcudart.so.11.0: not found; run 'pip install --no-deps -r"):
        preload_libraries()


def test_cores_are_those_this_process_may_use():
    code = "import os; os.sched_setaffinity(0, {0})\n" \
           "from arcface_mxnet.runtime.environment import available_cores as n; print(n())"
    alone = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert alone.stdout.strip() == "1"
    assert available_cores() == len(os.sched_getaffinity(0))


@pytest.mark.parametrize("version, good", [((3, 7), False), ((3, 8), True), ((3, 14), True), ((3, 15), False)])
def test_another_python_gets_one_sentence(version, good):
    if good:
        check_python(version)
        return
    with pytest.raises(InputError, match=r"Python 3\.\d+ is not one of 3.8 to 3.14; for example .make setup PYTHON="):
        check_python(version)


@pytest.mark.parametrize("system, machine, libc, said", [
    ("Linux", "x86_64", "glibc", None),
    ("Darwin", "x86_64", "", None),
    ("Linux", "x86_64", "", "without glibc"),
    ("Linux", "aarch64", "glibc", "Arm Performance Libraries"),
    ("Darwin", "arm64", "", "no wheel for Darwin arm64"),
    ("Windows", "AMD64", "", "no wheel for Windows amd64"),
])
def test_where_mxnet_has_no_wheel_the_reason_is_said(system, machine, libc, said, monkeypatch):
    monkeypatch.setattr(environment.platform, "system", lambda: system)
    monkeypatch.setattr(environment.platform, "machine", lambda: machine)
    monkeypatch.setattr(environment.platform, "libc_ver", lambda: (libc, ""))
    reason = no_mxnet_wheel()
    assert reason is None if said is None else said in reason


@pytest.mark.parametrize("library, package", [("libgomp.so.1", "apt-get install libgomp1, dnf install libgomp"),
                                              ("libquadmath.so.0", "apk add libquadmath"),
                                              ("libfoo.so.3", "the package of your system")])
def test_a_library_that_the_loader_misses_is_named_with_its_package(library, package):
    said = f"OSError: {library}: cannot open shared object file: No such file or directory"
    assert missing_library(said) == library
    advice = missing_library_advice(library)
    assert package in advice and "\n" not in advice
    assert missing_library(f"error: {advice}") == library  # set-up reads it out of what the command said
    assert missing_library("ValueError: libgomp.so.1 is fine") is None


def test_a_library_is_linked_to_another_wheels_copy(tmp_path):
    site = tmp_path / "lib" / "python3.11" / "site-packages"
    for folder in ("mxnet", "scikit_learn.libs", "scipy.libs"):
        (site / folder).mkdir(parents=True)
    copy = site / "scikit_learn.libs" / "libgomp-a34b3233.so.1.0.0"
    copy.write_bytes(b"gomp")
    (site / "scipy.libs" / "libgfortran-040039e1.so.5.0.0").touch()
    assert link_library(tmp_path, "libgomp.so.1") == copy
    assert (site / "mxnet" / "libgomp.so.1").read_bytes() == b"gomp"
    assert link_library(tmp_path, "libgomp.so.1") == copy  # again, over an old link
    assert link_library(tmp_path, "libgfortran.so.3") is None  # another version is another library
    assert link_library(tmp_path, "libquadmath.so.0") is None
