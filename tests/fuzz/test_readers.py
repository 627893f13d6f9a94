"""Sound files are read; damaged ones are read or refused in one line. `python -m tests.fuzz` is the long form."""
from tests.fuzz.mutations import KINDS, Change, mutate
from tests.fuzz.readers import READERS, attempt

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

CHANGES = st.lists(st.builds(Change, st.sampled_from(KINDS), st.floats(0, 0.999999), st.integers(0, (1 << 16) - 1)),
                   min_size=1, max_size=4)


def laid_out(folder, files):
    for name, data in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)


@pytest.mark.parametrize("name", sorted(READERS))
def test_the_sound_files_are_read(tmp_path, name):
    laid_out(tmp_path, READERS[name].files())
    assert attempt(READERS[name], tmp_path)


@pytest.mark.parametrize("name", sorted(READERS))
def test_damaged_files_are_read_or_refused_in_one_line(tmp_path, name):
    reader = READERS[name]
    files = reader.files()

    @settings(max_examples=25, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(CHANGES)
    def check(changes):
        laid_out(tmp_path, {**files, reader.damaged: mutate(files[reader.damaged], changes)})
        attempt(reader, tmp_path)

    check()
