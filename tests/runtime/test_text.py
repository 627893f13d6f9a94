"""Text as users bring it: encodings, line ends, numbers; what is none is named by file, line and what stands there."""
import csv

from arcface_mxnet.runtime import text
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.text import (
    Columns,
    TextStream,
    is_real,
    is_whole,
    iterate_lines,
    listed_path,
    read_json,
    read_lines,
    read_text,
    real_number,
    whole_number,
)

import numpy as np
import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

CONTENT = "Ann Lee\t1\n\nJosé, 2\n東京 3"


def write(path, content):
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encode", [lambda t: t.encode(), lambda t: t.encode("utf-8-sig"), lambda t: t.encode("utf-16"),
                                    lambda t: b"\xfe\xff" + t.encode("utf-16-be")])
def test_every_encoding_and_line_end(tmp_path, encode, ends):
    path = write(tmp_path / "a", encode(CONTENT.replace("\n", ends)))
    assert read_text(path, "r") == CONTENT and read_lines(path, "r") == CONTENT.split("\n")
    assert list(iterate_lines(path, "r")) == list(enumerate(CONTENT.split("\n"), 1))
    assert TextStream(path, "r").read() == CONTENT


@pytest.mark.parametrize("content,said", [
    ("a\nJos\xe9\n".encode("latin-1"), r"line 2: byte 5 \(0xe9\) is not UTF-8"),
    (b"\xff\xfea\0\n\0\0\xdc", r"line 2: byte 6 \(0x00\) is not UTF-16"),
    (b"\xff\xfea", "line 1: byte 2 .* is not UTF-16"),
    (b"\xff\xfe\0\0a\0\0\0", "text in UTF-32"), ("a\nb".encode("utf-16-le"), "line 1: a NUL character"),
    (b"1\t2\r\n3\0\t4", "line 2: a NUL character"), (b"\x89PNG\r\n", r"line 1: byte 0 \(0x89\) is not UTF-8")])
def test_what_is_no_text_is_named_by_line_and_byte(tmp_path, content, said):
    for read in (read_text, read_lines, lambda path, remedy: list(iterate_lines(path, remedy)),
                 lambda path, remedy: TextStream(path, remedy).read()):
        with pytest.raises(InputError, match=f"a: {said}.*; save it as UTF-8$"):
            read(write(tmp_path / "a", content), "save it as UTF-8")


def test_logs_are_read_around_what_is_no_text(tmp_path):
    path = write(tmp_path / "a", b"one\n\xe9\0two\r\n")
    assert read_lines(path, "r", errors="replace") == ["one", "\ufffd\0two"]


def test_lines_end_where_they_end_and_nowhere_else(tmp_path):
    """Python's splitlines cuts at form feeds and at separators that names may hold."""
    line = "a\x0b\x0c\x1c\x85\u2028b"
    assert read_lines(write(tmp_path / "a", f"{line}\n{line}".encode()), "r") == [line, line]


def test_long_lines_and_files_are_refused(tmp_path, monkeypatch):
    path = write(tmp_path / "a", b"ok\n" + b"x" * (text.MOST_LINE + 1))
    with pytest.raises(InputError, match=f"line 2: longer than {text.MOST_LINE} characters"):
        read_lines(path, "r")
    assert read_lines(write(path, b"x" * text.MOST_LINE + b"\n" + b"y" * text.MOST_LINE),
                      "r")[1] == "y" * text.MOST_LINE
    with pytest.raises(InputError, match="bytes where at most 9 are read"):
        read_text(path, "r", 9)


@settings(max_examples=60)
@given(content=st.text(st.sampled_from("a\r\né東\t")), block=st.integers(1, 9),
       encoding=st.sampled_from(["utf-8", "utf-16"]))
def test_blocks_change_nothing(tmp_path_factory, content, block, encoding):
    path = write(tmp_path_factory.mktemp("text") / "a", content.encode(encoding))
    wanted = content.replace("\r\n", "\n").replace("\r", "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "_BLOCK", block)
        assert read_text(path, "r") == wanted
        assert [line for _,
                line in iterate_lines(path, "r")] == (wanted[:-1] if wanted.endswith("\n") else wanted).split("\n") \
            or not wanted
        stream = TextStream(path, "r")
        assert "".join(iter(lambda: stream.read(block), "")) == wanted
        assert "".join(TextStream(path, "r")) == wanted


@settings(max_examples=60)
@given(before=st.text(st.sampled_from("a\r\né"), max_size=12), block=st.integers(1, 5))
def test_the_line_of_a_bad_byte_is_counted_over_blocks(tmp_path_factory, before, block):
    path = write(tmp_path_factory.mktemp("text") / "a", before.encode() + b"\xff")
    line = before.replace("\r\n", "\n").replace("\r", "\n").count("\n") + 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "_BLOCK", block)
        with pytest.raises(InputError, match=f"line {line}: byte {len(before.encode())} "):
            read_text(path, "r")


def test_parsers_take_the_stream(tmp_path):
    path = write(tmp_path / "a", "n,m\r\n1,2\r\n3,4".encode("utf-16"))
    assert pandas.read_csv(TextStream(path, "r")).to_numpy().tolist() == [[1, 2], [3, 4]]
    assert list(csv.reader(TextStream(path, "r"))) == [["n", "m"], ["1", "2"], ["3", "4"]]


@given(st.integers(-(10 ** 25), 10 ** 25))
def test_whole_numbers_are_those_of_int64(value):
    inside = -(1 << 63) <= value < 1 << 63
    if inside:
        assert whole_number(f" {value}", "w", -(1 << 63)) == value
    else:
        with pytest.raises(InputError, match="^w: '.*' is not a whole number"):
            whole_number(str(value), "w", -(1 << 63))


@pytest.mark.parametrize("given,said", [
    ("1" * 5000, "it has 5000 digits"), ("nan", "it is not finite"), ("-inf", "it is not finite"), ("1_0", ""),
    ("٣", ""),
    ("", ""), ("1.0", ""), ("0x10", ""), ("1e3", ""), ("--1", ""), ("1 2", ""), ("²", "")])
def test_what_is_no_whole_number(given, said):
    with pytest.raises(InputError, match=f"^f: line 3: .* is not a whole number from 0 up.*{said}"):
        whole_number(given, "f: line 3")
    assert not is_whole(given)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_real_numbers_come_back(value):
    assert real_number(repr(value), "w") == value == real_number(str(np.float64(value)), "w")


@pytest.mark.parametrize("given,said", [("1" * 5000, "it has 5000 digits"), ("nan", "it is not finite"),
                                        ("Infinity", "not finite"),
                                        ("1e999", ""), ("1_0", ""), (".", ""), ("e5", ""), ("0x1p3", ""), ("1,5", ""),
                                        ("", "")])
def test_what_is_no_number(given, said):
    with pytest.raises(InputError, match=f"^w: .* is not a number.*{said}"):
        real_number(given, "w")
    assert not is_real(given)


def test_bounds_are_said():
    assert whole_number("+7", "w", 1, 7) == 7 and real_number("1.5e0", "w", 0, 2) == 1.5
    with pytest.raises(InputError, match="w: '8' is not an age from 1 to 7"):
        whole_number("8", "w", 1, 7, "an age")
    with pytest.raises(InputError, match="w: '2.5' is not a number from 0 to 2"):
        real_number("2.5", "w", 0, 2)


def test_columns_are_counted(tmp_path):
    form = Columns("tab", "path label", (2,))
    assert form.split("a b\t 1 ", "w") == ["a b", "1"]
    with pytest.raises(InputError, match="w: 1 columns separated by tabs in 'a b 1'; the form is `path label`"):
        form.split("a b 1", "w")
    assert Columns("blank", "a b", (2, 3)).split("  a \t b ", "w") == ["a", "b"]
    assert Columns("comma", "a,b", (2,)).split("a, b c", "w") == ["a", "b c"]


def test_both_slashes_separate():
    assert listed_path(r" Ann\1.jpg", "w") == "Ann/1.jpg" and listed_path("a/b c.jpg", "w") == "a/b c.jpg"
    with pytest.raises(InputError, match="w: an empty path"):
        listed_path("  ", "w")


@pytest.mark.parametrize("content,said", [("{", "not valid JSON"), ("[" * 200000, "too deep"),
                                          ("1" * 5000, "not valid JSON"),
                                          ("", "not valid JSON"), ("{}\0", "a NUL character")])
def test_json_that_is_none(tmp_path, content, said):
    with pytest.raises(InputError, match=f"a: .*{said}.*; restore it from a copy"):
        read_json(write(tmp_path / "a", content.encode()))


def test_json_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="a: not found; restore it from a copy"):
        read_json(tmp_path / "a")


def test_json_in_every_encoding(tmp_path):
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        assert read_json(write(tmp_path / "a", '{"é": [1]}'.encode(encoding))) == {"é": [1]}
