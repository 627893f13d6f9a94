"""Shared by all tests: where the real published files are, and which tests need an engine that is not here."""
import functools
import importlib.util
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from hypothesis import settings

FIXTURES_VARIABLE = "ARCFACE_FIXTURES"
ROOT = Path(__file__).resolve().parents[1]
LONGEST = ("test_original.py", "test_losses_trained.py", "test_train_heads.py", "test_paper_scale.py",
           "test_to_onnx.py", "test_train_torch.py", "test_train.py", "test_train_bags.py", "test_inference.py",
           "test_distributed.py")
_MXNET = re.compile(r'^(from arcface_mxnet\.engines\.mxnet|\w+ = place\("mxnet")', re.MULTILINE)
_OURS = re.compile(r"^from (?:arcface_mxnet\.)?([.\w]+) import (\w+|\()", re.MULTILINE)


settings.register_profile("any machine", deadline=None)  # how long an example takes is no property of what is tested
settings.load_profile("any machine")

os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # each process of more would load PyTorch first

# Under nohup or behind a shell's & these are ignored, and every process under test would inherit that.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)


@functools.lru_cache(maxsize=None)
def needs_mxnet(path: Path) -> bool:
    """Whether a module of this repository cannot be imported without MXNet, for itself or for one it imports."""
    if path.suffix != ".py" or not path.is_file():
        return False
    text = path.read_text(encoding="utf-8")
    if _MXNET.search(text):
        return True
    taken = [ROOT / f"{module.replace('.', '/')}{ending}" for module, name in _OURS.findall(text)
             for ending in (".py", f"/{name}.py")]
    return any(needs_mxnet(other) for other in taken if other != path)


def pytest_ignore_collect(collection_path, config):
    """Leave out what needs MXNet where it is not installed; everything else is tested there too."""
    if importlib.util.find_spec("mxnet") is None and needs_mxnet(Path(str(collection_path))):
        return True
    return None


def pytest_configure(config):
    """Keep the order below: pytest-xdist (from 3.7 on, where it can be told) would begin with the files of most tests.
    """
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Run the longest files first: one that begins last leaves the other workers idle."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """Folder of the published files; tests that need them skip, with the reason, where there are none."""
    folder = Path(os.environ.get(FIXTURES_VARIABLE, Path(__file__).parents[2] / "shared" / "reference" / "fixtures"))
    if not (folder / "MANIFEST.sha256").exists():
        pytest.skip(f"no published files in {folder}; set {FIXTURES_VARIABLE} to the folder that holds them")
    return folder


@pytest.fixture(scope="session")
def tiny_faces(tmp_path_factory) -> Path:
    """A small built-in dataset (12 identities x 8 images, packs of 40 pairs); read only."""
    from arcface_mxnet.datasets.synthetic import write_dataset
    return write_dataset(tmp_path_factory.mktemp("tiny") / "faces", identities=12, images_per_identity=8, pairs=40,
                         seed=5, workers=1)


@pytest.fixture
def full_disk(tmp_path):
    """A file system of 64 KB; only root may mount one."""
    if shutil.which("mount") is None:
        pytest.skip("no mount here")
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs root to mount a small file system")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)
