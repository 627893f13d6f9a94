"""Processes of a test: all inherit a mark, and none may be left when it ends."""
import os
import time
from pathlib import Path
from typing import List

import pytest

MARK = "LAUNCH_MARK"


def alive(mark: str) -> List[int]:
    """Processes other than this one whose environment carries `mark`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            ended = "State:\tZ" in (entry / "status").read_text()
            if mark.encode() in (entry / "environ").read_bytes() and not ended:
                found.append(int(entry.name))
        except OSError:
            continue
    return [number for number in found if number != os.getpid()]


@pytest.fixture
def marked(monkeypatch, tmp_path):
    """A mark that all processes of a test inherit; afterwards none may be left."""
    mark = f"{MARK}={tmp_path}"
    monkeypatch.setenv(MARK, str(tmp_path))
    yield mark
    deadline = time.monotonic() + 5
    while alive(mark) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert alive(mark) == []
