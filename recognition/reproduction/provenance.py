"""What a reproduced figure or table came from: commit, versions, command; written beside it as JSON."""
import contextlib
import subprocess
import sys
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Dict, List, Mapping

from arcface_mxnet.evaluation.results import plain
from arcface_mxnet.runtime.files import PathLike, write_json

_ENGINE_PACKAGES = ("mxnet", "mxnet-cu112", "torch")
ROOT = Path(__file__).resolve().parents[2]  # in a checkout the package's folders are links to those at its root


@dataclass(frozen=True)
class Produced:
    """One result: its name, the files that show it, one line on how it was made, and its figures."""

    name: str
    files: List[Path]
    protocol: str
    figures: Mapping[str, Any] = field(default_factory=dict)
    made_from: Mapping[str, Any] = field(default_factory=dict)


def commit() -> str:
    """The checked-out commit, with "+changes" when the working tree differs; "unknown" outside a checkout."""
    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""
    if Path(git("rev-parse", "--show-toplevel")) != ROOT:
        return "unknown"  # installed: what lies around site-packages is another project's repository
    revision = git("rev-parse", "HEAD")
    changed = git("status", "--porcelain", "--untracked-files=no")
    return f"{revision}{'+changes' if changed else ''}" if revision else "unknown"


def engine_versions() -> Dict[str, str]:
    """The version of each engine that is installed, by its package; none is loaded for it."""
    versions = {}
    for name in _ENGINE_PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def provenance() -> Dict[str, str]:
    """Commit, versions of Python and of the engines that are here, and the command line."""
    return {"commit": commit(), "python": sys.version.split()[0], **engine_versions(),
            "command": " ".join(["reproduce.py", *sys.argv[1:]])}


def record(produced: Produced, folder: PathLike) -> Path:
    """Write NAME.json beside a result: its figures, how it was made and from what; returns the path."""
    path = Path(folder) / f"{produced.name}.json"
    write_json(path, plain({"name": produced.name, "protocol": produced.protocol, "figures": produced.figures,
                            "files": [file.name for file in produced.files], "made_from": produced.made_from,
                            "provenance": provenance()}))
    return path
