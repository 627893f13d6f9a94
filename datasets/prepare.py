"""The data command: `python datasets/prepare.py VERB ...`; each verb lives in a module.

A verb's module has a docstring (shown by --help), `EXAMPLE` (one or more command lines), `add_arguments(parser)` and
`run(args) -> Optional[int]` (the exit status). A module of several verbs has `run_VERB` (its docstring is shown),
`add_VERB_arguments` and `VERB_EXAMPLE`. It is imported only when its verb is called.
"""
import argparse
import importlib
import inspect
import sys
from types import ModuleType
from typing import Any, Dict, NamedTuple, Optional, Sequence

from arcface_mxnet.runtime.arguments import Parser, called
from arcface_mxnet.runtime.errors import loading, run_command, unknown


class Verb(NamedTuple):
    """The module in this folder, a line for the overview, and the part of the module where it holds more than one."""

    module: str
    summary: str
    part: str = ""

    def named(self, module: ModuleType, name: str) -> Any:
        """`name` of the verb in its module: run or run_PART, add_arguments or add_PART_arguments, EXAMPLE likewise."""
        first, _, rest = name.partition("_")
        if not self.part:
            return getattr(module, name)
        if name.isupper():
            return getattr(module, f"{self.part.upper()}_{name}")
        return getattr(module, "_".join(filter(None, (first, self.part, rest))))


VERBS: Dict[str, Verb] = {
    "build": Verb("build", "a folder of identities or a list file to a record set"),
    "pairs": Verb("make_pairs", "a pair list and an image folder to a .bin pack, and back"),
    "align": Verb("align_folder", "photographs to aligned face crops"),
    "inspect": Verb("inspect_set", "say what a record set, a pack or a folder is"),
    "verify": Verb("check", "decode and check everything; the exit status tells"),
    "index": Verb("index_set", "train.idx anew from the records, and a missing `property`"),
    "catalog": Verb("catalog", "the published sets: what they hold, what of them is here"),
    "merge": Verb("subset_merge", "several record sets into one, identities matched", "merge"),
    "clean": Verb("clean", "rank and drop wrong images of each identity, with a review page"),
    "exclude": Verb("clean", "remove training identities that are also test identities", "exclude"),
    "shuffle": Verb("shuffle", "a shuffled record without index, as the original reads it"),
    "unpack": Verb("unpack", "records back to folders of images"),
    "subset": Verb("subset_merge", "a smaller record set by identities and images", "subset"),
    "synthetic": Verb("synthetic", "the built-in faces: training set, packs, probes, templates"),
}

_EPILOG = "example:\n  python datasets/prepare.py build photos/ data/mine\n  python datasets/prepare.py VERB --help"


def build_parser() -> Parser:
    """The command line above the verbs."""
    lines = "\n".join(f"  {name:<10} {verb.summary}" for name, verb in VERBS.items())
    parser = Parser("Prepare face data.\n\nverbs:\n" + lines, _EPILOG)
    parser.add_argument("verb", metavar="VERB", help="one of the verbs above")
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def verb_module(name: str) -> ModuleType:
    """The module of a verb; raises InputError for a verb that is not known."""
    if name not in VERBS:
        raise unknown("verb", name, list(VERBS))
    with loading():
        return importlib.import_module(f"arcface_mxnet.datasets.{VERBS[name].module}")


def verb_parser(name: str, prog: Optional[str] = None) -> Parser:
    """The command line of a verb."""
    verb, module = VERBS[name], verb_module(name)
    description = inspect.getdoc(verb.named(module, "run")) if verb.part else module.__doc__
    parser = Parser(description, f"example:\n{verb.named(module, 'EXAMPLE')}", prog or f"{called()} {name}")
    verb.named(module, "add_arguments")(parser)
    return parser


def main(argv: Optional[Sequence[str]] = None) -> Optional[int]:
    """Run one verb; returns its exit status (None and 0 are success, 1 means "checked and found wanting")."""
    given = list(sys.argv[1:] if argv is None else argv)
    name = build_parser().parse_args(given[:1]).verb
    module = verb_module(name)
    return VERBS[name].named(module, "run")(verb_parser(name).parse_args(given[1:]))


if __name__ == "__main__":
    run_command(main)
