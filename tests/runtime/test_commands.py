"""The console script: one table of commands, help that reads alike, proposals for what is misspelt."""
import os
import re
import subprocess
import sys
import time

from arcface_mxnet.runtime import commands
from arcface_mxnet.runtime.completion import script, tree
from arcface_mxnet.runtime.errors import InputError

import pytest

PARSERS = commands.parsers()
ALL = sorted(PARSERS)


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "argv", ["arcface"])


@pytest.mark.parametrize("name", ALL)
def test_help_of_every_command_names_it_and_shows_an_example(name, capsys):
    with pytest.raises(SystemExit) as ended:
        commands.dispatch([*name.split(), "--help"])
    said = capsys.readouterr().out
    assert ended.value.code == 0
    assert said.startswith(f"usage: arcface {name} ")
    assert re.search(r"^examples?:\n  +\S", said, re.M)
    assert max(map(len, said.splitlines())) <= 100


@pytest.mark.parametrize("name", ALL)
def test_every_flag_says_what_it_is(name):
    assert [action.dest for action in PARSERS[name]._actions if action.option_strings and not action.help] == []


def test_the_overview_names_every_command(capsys):
    assert commands.dispatch(["--help"]) == 0
    said = capsys.readouterr().out
    for name in commands.COMMANDS:
        assert re.search(rf"^  {name} ", said, re.M)
    assert max(map(len, said.splitlines())) <= 100
    assert commands.dispatch(["logs", "--help"]) == 0
    said = capsys.readouterr().out
    assert "logs plot" in said and "evaluate" not in said.split("examples:")[0]


@pytest.mark.parametrize("words, said", [
    (["trian"], "unknown command 'trian'; known: .*did you mean train"),
    (["evaluate", "megafase"], "unknown evaluate command 'megafase'.*did you mean megaface"),
    (["evaluate"], "arcface evaluate: say which: verification, "),
    (["data", "bild"], "unknown verb 'bild'.*did you mean build"),
    (["completion", "fish"], "say for which shell: bash, zsh, tcsh"),
    (["train", "--loss", "ArcFace", "--dataset", "own"], "unknown loss 'ArcFace'.*did you mean arcface"),
])
def test_what_is_misspelt_is_answered_by_what_was_meant(words, said):
    with pytest.raises(InputError, match=said):
        commands.dispatch(words)


@pytest.mark.parametrize("words, said", [
    (["train", "--batch-size", "4"], "did you mean --per-batch-size"),
    (["train", "--per_batch_size=4"], "unknown flag --per_batch_size; did you mean --per-batch-size"),
    (["evaluate", "verification", "--modle", "x"], "did you mean --model"),
    (["export", "onxn"], "did you mean onnx"),
])
def test_an_unknown_flag_is_answered_by_what_was_meant(words, said, capsys):
    with pytest.raises(SystemExit) as ended:
        commands.dispatch(words)
    error = capsys.readouterr().err
    assert ended.value.code == 2 and re.search(said, error)
    assert error.startswith("usage: arcface " + words[0])


def test_help_and_version_do_not_wait_for_libraries():
    started = time.monotonic()
    for flag, said in (("--help", "usage: arcface"), ("--version", "arcface ")):
        done = subprocess.run([sys.executable, "-X", "importtime", "-m", "arcface_mxnet", flag], capture_output=True,
                              text=True, env=dict(os.environ))
        loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
        assert done.returncode == 0 and done.stdout.startswith(said)
        assert not loaded & {"numpy", "mxnet", "cv2", "arcface_mxnet.recognition.train"}
    assert time.monotonic() - started < 5


def test_completion_knows_commands_verbs_and_flags():
    made = tree(PARSERS)
    assert made.parse_args(["logs", "plot", "runs/x", "--live"]).live
    text = script("bash", PARSERS)
    assert "--per-batch-size" in text and "megaface-noise" in text
    assert subprocess.run(["bash", "-n"], input=text, text=True).returncode == 0
