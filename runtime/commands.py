"""The console script `arcface COMMAND ...`: every command of the project under one name.

A command is a row of COMMANDS: its words, the module whose `main(argv)` runs it, and a line for the overview. The
module is imported when its command is called and not before; completion is made of the `build_parser()` in it. The
paths (`python recognition/train.py`, `python -m arcface_mxnet.recognition.train`) run the same functions.
"""
import importlib
import sys
from importlib import metadata
from typing import Any, Dict, List, NamedTuple, NoReturn, Optional, Sequence

from arcface_mxnet.runtime.errors import CONSOLE_SCRIPT as NAME
from arcface_mxnet.runtime.errors import InputError, loading, run_command, unknown

DISTRIBUTION = "arcface-mxnet"
SHELLS = ("bash", "zsh", "tcsh")
COMPLETION = "completion"
_HELP = ("-h", "--help")


class Command(NamedTuple):
    """The module below arcface_mxnet, and what the command does."""

    module: str
    summary: str


COMMANDS: Dict[str, Command] = {
    "train": Command("recognition.train", "train a network"),
    "data": Command("datasets.prepare", "sets and packs: build, align, verify, merge, clean ..."),
    "compare": Command("evaluation.compare", "two pictures of faces, how alike they are"),
    "extract": Command("recognition.extract", "embeddings of images, written to disk"),
    "evaluate verification": Command("evaluation.verification", "LFW, CFP, AgeDB-30, CALFW, CPLFW, VGG2-FP"),
    "evaluate video": Command("evaluation.video", "YouTube Faces"),
    "evaluate megaface": Command("evaluation.megaface.__main__", "MegaFace Challenge 1"),
    "evaluate megaface-features": Command("evaluation.megaface.generate", "feature files for MegaFace's devkit"),
    "evaluate megaface-noise": Command("evaluation.megaface.noise", "apply the authors' noise lists to them"),
    "evaluate megaface-devkit": Command("evaluation.megaface.run_experiment", "as the devkit's run_experiment.py"),
    "evaluate ijb": Command("evaluation.ijb.__main__", "IJB-B and IJB-C, 1:1 and 1:N"),
    "evaluate trillion-pairs": Command("evaluation.trillion_pairs", "Trillion-Pairs"),
    "evaluate iqiyi": Command("evaluation.iqiyi", "iQIYI-VID"),
    "evaluate angles": Command("evaluation.angles", "the angle statistics of Table 3"),
    "evaluate aggregate": Command("evaluation.aggregate", "one embedding for each set of images"),
    "evaluate search": Command("evaluation.search", "nearest neighbours in a gallery"),
    "evaluate clustering": Command("evaluation.clustering.__main__", "identities among unlabelled embeddings"),
    "evaluate baselines": Command("evaluation.baselines", "raw pixels and PCA, for scale"),
    "evaluate curves": Command("evaluation.overlay", "curves of several results in one picture"),
    "evaluate report": Command("evaluation.report", "one page of several results"),
    "export": Command("recognition.export", "slim, ONNX, PyTorch, bf16, int8"),
    "drop": Command("recognition.drop", "leave out images far from their dominant sub-centre"),
    "cvc": Command("recognition.cvc", "three stages for sets with two images a person"),
    "logs parse": Command("logs.parse", "a training log as a table"),
    "logs compare": Command("logs.compare", "a run beside a published one"),
    "logs plot": Command("logs.plot", "curves of a run"),
    "logs publish": Command("logs.publish", "make the published figures from their logs again"),
    "reproduce": Command("recognition.reproduce", "a table or figure of the paper"),
    "launch": Command("recognition.launch", "a command on several machines"),
    "throughput": Command("recognition.throughput", "milliseconds per face and sizes of networks"),
}


def overview(group: str = "") -> str:
    """The commands, or those of a group, a line each."""
    shown = {name: command.summary for name, command in COMMANDS.items() if not group or name.split()[0] == group}
    if not group:
        shown[COMPLETION] = f"completion for a shell ({', '.join(SHELLS)})"
    lines = "\n".join(f"  {name:<28}{summary}" for name, summary in shown.items())
    called = f"{NAME} {group}".strip()
    return (f"usage: {called} COMMAND ...\n\n{lines}\n\n{called} COMMAND --help says more; {NAME} --version\n\n"
            f"examples:\n  {NAME} train --network r100 --loss arcface --dataset emore\n"
            f"  {NAME} evaluate verification --model models/model,0 --data-dir faces_emore --out results\n"
            f'  eval "$({NAME} {COMPLETION} bash)"\n')


def chosen(words: Sequence[str]) -> str:
    """The command that `words` begin with; raises InputError, which proposes one, where there is none."""
    for length in (1, 2):
        name = " ".join(words[:length])
        if name in COMMANDS:
            return name
    group = [name.split()[1] for name in COMMANDS if name.split()[0] == words[0] and " " in name]
    if not group:
        raise unknown("command", words[0], [*dict.fromkeys(name.split()[0] for name in COMMANDS), COMPLETION])
    if len(words) < 2:
        raise InputError(f"{NAME} {words[0]}: say which: {', '.join(group)}")
    raise unknown(f"{words[0]} command", words[1], group)


def version() -> str:
    """The installed version; raises InputError where the package is only on Python's path."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        raise InputError(f"{DISTRIBUTION} is not installed here, so its version is not known; "
                         "install it with 'make setup' or pip") from None


def dispatch(argv: Optional[Sequence[str]] = None) -> Optional[int]:
    """Run a command; returns its status."""
    words: List[str] = list(sys.argv[1:] if argv is None else argv)
    groups = {name.split()[0] for name in COMMANDS if " " in name}
    if not words or words[0] in _HELP or (words[0] in groups and words[1:2] and words[1] in _HELP):
        sys.stdout.write(overview(words[0] if words and words[0] in groups else ""))
        return 0
    if words[0] == "--version":
        sys.stdout.write(f"{NAME} {version()}\n")
        return 0
    if words[0] == COMPLETION:
        return _completion(words[1:])
    name = chosen(words)
    rest = words[len(name.split()):]
    sys.argv = [f"{NAME} {name}", *rest]  # what the command is called by in its usage
    with loading():
        module = importlib.import_module(f"arcface_mxnet.{COMMANDS[name].module}")
    return module.main(rest)


def _completion(words: Sequence[str]) -> int:
    if len(words) != 1 or words[0] not in SHELLS:
        raise InputError(f"{NAME} {COMPLETION}: say for which shell: {', '.join(SHELLS)}")
    from arcface_mxnet.runtime.completion import script
    sys.stdout.write(script(words[0], parsers()))
    return 0


def parsers() -> Dict[str, Any]:
    """The parser of every command and verb, by its words; imports all commands."""
    found: Dict[str, Any] = {}
    for name, command in COMMANDS.items():
        module = importlib.import_module(f"arcface_mxnet.{command.module}")
        if hasattr(module, "VERBS"):
            found.update({f"{name} {verb}": module.verb_parser(verb) for verb in module.VERBS})
        else:
            found[name] = module.build_parser()
    return found


def main() -> NoReturn:
    """The console script."""
    run_command(dispatch)
