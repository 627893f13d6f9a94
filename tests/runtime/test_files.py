import errno
import hashlib
import os
import subprocess

from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import (
    atomic_open,
    atomic_path,
    sha256,
    verify_checksum,
    write_checksum,
    write_json,
)

import pytest


def test_a_failed_write_leaves_the_earlier_file_and_nothing_else(tmp_path):
    path = tmp_path / "model.params"
    path.write_bytes(b"good")
    with pytest.raises(RuntimeError), atomic_open(path) as stream:
        stream.write(b"half")
        raise RuntimeError
    assert path.read_bytes() == b"good"
    assert os.listdir(tmp_path) == ["model.params"]


def test_a_full_disk_names_the_file_that_was_wanted(tmp_path):
    with pytest.raises(OSError) as error, atomic_open(tmp_path / "settings.json"):
        with open("/dev/full", "wb", buffering=0) as stream:
            stream.write(b"x")
    assert (error.value.errno, error.value.filename) == (errno.ENOSPC, str(tmp_path / "settings.json"))


def test_the_file_is_not_there_before_it_is_whole(tmp_path):
    path = tmp_path / "sub" / "settings.json"
    with atomic_path(path) as temporary:
        temporary.write_text("{}")
        assert not path.exists()
        assert temporary.parent == path.parent
    assert path.read_text() == "{}"


def test_permissions_are_those_of_an_ordinary_file(tmp_path):
    with open(tmp_path / "ordinary", "w"):
        pass
    write_json(tmp_path / "ours", {})
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_checksum_beside_is_what_sha256sum_checks(tmp_path):
    path = tmp_path / "model.params"
    path.write_bytes(os.urandom(3_000_000))
    assert write_checksum(path) == sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    subprocess.run(["sha256sum", "-c", "model.params.sha256"], cwd=tmp_path, check=True, capture_output=True)
    assert verify_checksum(path) is True


def test_one_flipped_byte_is_found(tmp_path):
    path = tmp_path / "model.params"
    path.write_bytes(bytes(1000))
    assert verify_checksum(path) is None
    write_checksum(path)
    path.write_bytes(bytes(500) + b"\1" + bytes(499))
    with pytest.raises(InputError, match="model.params: .*do not match model.params.sha256"):
        verify_checksum(path)
