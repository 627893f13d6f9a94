"""The parser of all commands: sizes, names of before, flags that are nearly right, text that keeps to the page."""
import sys
import warnings

from arcface_mxnet.runtime.arguments import Parser, called, filled, height_and_width
from arcface_mxnet.runtime.errors import InputError, Notice

import pytest


@pytest.fixture
def parser(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/somewhere/recognition/x.py"])
    made = Parser("What it does.", "example:\n  python x.py --size 112,96")
    made.add_argument("--size", type=height_and_width, default="112,112")
    made.add_argument("--out")
    made.add_argument("--kind", choices=("threshold", "dbscan"))
    made.renamed("--image-size", "--image_size", to="--size")
    return made


@pytest.mark.parametrize("text, size", [("112,112", (112, 112)), ("112x96", (112, 96)), ("3,112,96", (112, 96)),
                                        (" 32, 16", (32, 16))])
def test_a_size_is_height_and_width(text, size):
    assert height_and_width(text) == size


@pytest.mark.parametrize("text", ["112", "112,", "0,112", "112,a", "-1,5", "5,9999", "2,112,112", "1,2,3,4"])
def test_what_is_no_size_is_named(text):
    with pytest.raises(InputError, match=f"--size {text}: give height and width, such as 112,112"):
        height_and_width(text)


@pytest.mark.parametrize("words", [["--image-size", "64,32"], ["--image_size=64,32"]])
def test_a_name_of_before_works_and_is_answered_by_a_line(parser, words):
    with pytest.warns(Notice, match=f"^{words[0].split('=')[0]} is now called --size$") as said:
        assert parser.parse_args(words).size == (64, 32)
    assert len(said) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert parser.parse_args(["--size", "64,32"]).size == (64, 32)
        assert parser.parse_args([]).size == (112, 112)


@pytest.mark.parametrize("words, said", [
    (["--oot", "x"], "error: unknown flag --oot; did you mean --out?\n"),
    (["--zzz"], "error: unknown flag --zzz\n"),
    (["--kind", "treshold"], "--kind: unknown 'treshold'; known: threshold, dbscan; did you mean threshold?\n"),
])
def test_what_is_unknown_is_answered_by_what_was_meant(parser, words, said, capsys):
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(words)
    error = capsys.readouterr().err
    assert ended.value.code == 2 and said in error and error.startswith("usage: x.py ")


def test_usage_names_the_command_as_it_was_called(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["arcface data build", "x"])
    assert called() == "arcface data build"
    monkeypatch.setattr(sys, "argv", ["datasets/prepare.py", "x"])
    assert called() == "prepare.py"


def test_text_keeps_to_the_page(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    text = ("A paragraph that is rather long and therefore has to be broken somewhere, says the page.\n\nexample:\n"
            "  python x.py --one aaaaaaaaaaaaaaaaaaaa --two bbbbbbbbbbbbbbbbbbbbbbb --three c\n  short line")
    lines = filled(text).splitlines()
    assert max(map(len, lines)) <= 60
    command = lines[lines.index("example:") + 1:-1]
    assert " ".join(line.rstrip("\\").strip() for line in command) == text.splitlines()[3].strip()
    assert all(line.endswith(" \\") for line in command[:-1]) and lines[-1] == "  short line"
