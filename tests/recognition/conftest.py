"""What several tests take: a mark on the processes of a test, none of which may be left; images near their centres."""
import dataclasses
import os
import time
from pathlib import Path
from typing import List

from arcface_mxnet.recognition.drop import rank_by_run
from arcface_mxnet.recognition.reproduction import subcentre_table

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


@pytest.fixture
def near_images(monkeypatch):
    """The drop step's angles, a third of what they are: two steps of training leave every image far off."""
    def near(run, records, where=None):
        found = rank_by_run(run, records, where)
        return dataclasses.replace(found, angles=found.angles / 3)

    monkeypatch.setattr(subcentre_table, "rank_by_run", near)
