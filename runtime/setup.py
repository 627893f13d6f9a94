"""Set up .venv: `python3 -m arcface_mxnet.runtime.setup` from the repository root (what `make setup` runs).

Creates the virtual environment and installs requirements.txt where a GPU is found that the paper's MXNet wheel has code
for, else requirements-cpu.txt. Standard library only; done again only when a requirements file has changed.
"""
import argparse
import hashlib
import subprocess
import sys
import venv
from pathlib import Path
from typing import Optional, Sequence

from arcface_mxnet.runtime.environment import check_python, machine_gpus
from arcface_mxnet.runtime.errors import InputError, run_command

EXAMPLE = """example:
  python3.11 -m arcface_mxnet.runtime.setup --requirements requirements-cpu.txt
"""
STAMP = "setup-stamp"


def choose_requirements() -> str:
    """The requirements file for this machine, by its GPUs; says why on stderr."""
    gpus = machine_gpus()
    usable = [gpu for gpu in gpus if gpu.runs_wheel]
    if usable:
        sys.stderr.write(f"{len(usable)} GPU(s), first {usable[0].name}: installing requirements.txt\n")
        return "requirements.txt"
    for gpu in gpus:
        sys.stderr.write(f"GPU {gpu.number} ({gpu.name}, compute capability {gpu.capability[0]}.{gpu.capability[1]}) "
                         "is newer or older than MXNet 1.9.1's machine code; it is not used\n")
    sys.stderr.write("no GPU that MXNet 1.9.1 can use: installing requirements-cpu.txt\n")
    return "requirements-cpu.txt"


def fingerprint(root: Path, requirements: str) -> str:
    """What the environment was made from: the requirement files, the project file and the Python version."""
    digest = hashlib.sha256(f"{sys.version_info[:2]} {requirements}".encode())
    for name in ("requirements.txt", "requirements-cpu.txt", "requirements-common.txt", "pyproject.toml"):
        digest.update((root / name).read_bytes())
    return digest.hexdigest()


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Make or refresh the environment; returns pip's exit status."""
    parser = argparse.ArgumentParser(prog="python3 -m arcface_mxnet.runtime.setup", description=__doc__, epilog=EXAMPLE,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venv", default=".venv", help="folder of the virtual environment (default .venv)")
    parser.add_argument("--requirements", help="requirements file (default: by what the machine has)")
    flags = parser.parse_args(argv)
    check_python((sys.version_info[0], sys.version_info[1]))
    root = Path(__file__).resolve().parents[1]
    requirements = flags.requirements or choose_requirements()
    if not (root / requirements).is_file():
        raise InputError(f"--requirements {requirements}: not found in {root}")
    folder = Path(flags.venv)
    stamp, wanted = folder / STAMP, fingerprint(root, requirements)
    if stamp.exists() and stamp.read_text() == wanted:
        return 0
    venv.create(folder, with_pip=True, symlinks=True)  # as `python -m venv`: works over an old one of either kind
    status = subprocess.call([str(folder / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check",
                              "-q", "-r", str(root / requirements)], cwd=root)
    if status == 0:
        stamp.write_text(wanted)
    return status


if __name__ == "__main__":
    run_command(main)
