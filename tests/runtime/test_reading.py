"""What is opened is a regular file; what is not says what it is."""
import os

from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.reading import file_status, inside, open_file, read_file, shown

import pytest


def test_a_file_is_read_whole_and_no_larger_than_allowed(tmp_path):
    (tmp_path / "a").write_bytes(b"1234")
    assert read_file(tmp_path / "a", "r", 4) == b"1234"
    with open_file(tmp_path / "a", "r") as stream:
        assert stream.read() == b"1234"
    with pytest.raises(InputError, match="a: 4 bytes where at most 3 are read; r$"):
        read_file(tmp_path / "a", "r", 3)


@pytest.mark.parametrize("make,said", [
    (lambda path: None, "not found"), (os.mkdir, "is a folder"), (os.mkfifo, "is a pipe"),
    (lambda path: os.symlink(path, path), "is a loop of links"),
    (lambda path: os.symlink("nowhere", path), "not found"),
    (lambda path: os.symlink("/dev/zero", path), "is a device")])
def test_anything_else_is_named_and_never_waited_for(tmp_path, make, said):
    make(tmp_path / "a")
    for read in (file_status, open_file, lambda path, remedy: read_file(path, remedy, 9)):
        with pytest.raises(InputError, match=f"a: {said}.*; look again$"):
            read(tmp_path / "a", "look again")


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000])
def test_names_that_no_file_has(name):
    with pytest.raises(InputError, match="no name of a file|longer than a file system"):
        open_file(name, "r")


def test_what_git_lfs_leaves_is_named(tmp_path):
    (tmp_path / "a").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n")
    with pytest.raises(InputError, match="a Git LFS pointer, not the file itself; fetch it with `git lfs pull`"):
        open_file(tmp_path / "a", "r")


def test_text_from_a_file_is_shown_on_one_line():
    assert shown("a\nb\x1b[31m\u202ec\udce9") == r"'a\nb\x1b[31m\u202ec\udce9'"
    assert shown("ü" * 61) == f"'{'ü' * 60}'..." and shown(b"\0a") == r"'\x00a'" and shown(3) == "'3'"


def test_names_that_leave_their_folder_are_told(tmp_path):
    (tmp_path / "d" / "in").mkdir(parents=True)
    (tmp_path / "d" / "out").symlink_to(tmp_path)
    assert inside(tmp_path / "d", "in/a.png") == tmp_path / "d" / "in" / "a.png"
    assert inside(tmp_path / "d", "in/../a.png") == tmp_path / "d" / "in" / ".." / "a.png"
    for name in ("/etc/hostname", "../a.png", "in/../../a.png", "out/a.png", "a\0", str(tmp_path / "d" / "in"), "."):
        assert inside(tmp_path / "d", name) is None
