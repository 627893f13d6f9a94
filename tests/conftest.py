"""Shared by all tests: where the real published files are."""
import os
import shutil
import subprocess
from pathlib import Path

import pytest

FIXTURES_VARIABLE = "ARCFACE_FIXTURES"


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
