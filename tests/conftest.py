"""Shared by all tests: where the real published files are."""
import os
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
