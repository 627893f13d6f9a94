"""The data command: `python datasets/prepare.py VERB ...`; each verb lives in a module of its own.

A verb's module has a docstring (shown by --help), `EXAMPLE` (one or more command lines), `add_arguments(parser)` and
`run(args) -> Optional[int]` (the exit status). It is imported only when its verb is called.
"""
import argparse
import importlib
import sys
from typing import Dict, Optional, Sequence

from arcface_mxnet.runtime.errors import loading, run_command, unknown

VERBS: Dict[str, str] = {
    "build": "arcface_mxnet.datasets.build",
    "pairs": "arcface_mxnet.datasets.pair_lists",
    "align": "arcface_mxnet.datasets.align_folder",
    "inspect": "arcface_mxnet.datasets.inspect_set",
    "verify": "arcface_mxnet.datasets.verify",
    "catalog": "arcface_mxnet.datasets.catalog",
    "merge": "arcface_mxnet.datasets.merge",
    "clean": "arcface_mxnet.datasets.clean",
    "exclude": "arcface_mxnet.datasets.exclude",
    "shuffle": "arcface_mxnet.datasets.shuffle",
    "unpack": "arcface_mxnet.datasets.unpack",
    "subset": "arcface_mxnet.datasets.subset",
    "synthetic": "arcface_mxnet.datasets.synthetic_sets",
}

_SUMMARY = {
    "build": "a folder of identities or a list file to a record set",
    "pairs": "a pair list and an image folder to a .bin pack, and back",
    "align": "photographs to aligned face crops",
    "inspect": "say what a record set, a pack or a folder is",
    "verify": "decode and check everything; the exit status tells",
    "catalog": "the published sets: what they hold, what of them is here",
    "merge": "several record sets into one, identities matched",
    "clean": "rank and drop wrong images of each identity, with a review page",
    "exclude": "remove training identities that are also test identities",
    "shuffle": "a shuffled record without index, as the original reads it",
    "unpack": "records back to folders of images",
    "subset": "a smaller record set by identities and images",
    "synthetic": "the built-in faces: training set, packs, probes, templates",
}

_EPILOG = "example:\n  python datasets/prepare.py build photos/ data/mine\n  python datasets/prepare.py VERB --help"


def _overview() -> argparse.ArgumentParser:
    lines = "\n".join(f"  {verb:<10} {_SUMMARY[verb]}" for verb in VERBS)
    parser = argparse.ArgumentParser(prog="prepare.py", description="Prepare face data.\n\nverbs:\n" + lines,
                                     epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", metavar="VERB", help="one of the verbs above")
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def main(argv: Optional[Sequence[str]] = None) -> Optional[int]:
    """Run one verb; returns its exit status (None and 0 are success, 1 means "checked and found wanting")."""
    given = list(sys.argv[1:] if argv is None else argv)
    chosen = _overview().parse_args(given[:1])
    if chosen.verb not in VERBS:
        raise unknown("verb", chosen.verb, list(VERBS))
    with loading():
        module = importlib.import_module(VERBS[chosen.verb])
    parser = argparse.ArgumentParser(prog=f"prepare.py {chosen.verb}", description=module.__doc__,
                                     epilog=f"example:\n{module.EXAMPLE}",
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    module.add_arguments(parser)
    return module.run(parser.parse_args(given[1:]))


if __name__ == "__main__":
    run_command(main)
