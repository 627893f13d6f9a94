"""Set up .venv: `python3 -m arcface_mxnet.runtime.setup` with src on the path (what `make setup` runs).

Installs, to the byte, what one of the locked requirement files lists: requirements.txt (MXNet for CUDA 11) where a GPU
is found that it has code for, else requirements-cpu.txt (MXNet); requirements-torch.txt where MXNet has no wheel, or
where --engine says so. Then imports each engine and runs one operator. Standard library only; done again only when a
requirements file has changed.
"""
import hashlib
import importlib.util
import re
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import Callable, List, Optional, Sequence, Set, Tuple

from arcface_mxnet.runtime.arguments import Parser
from arcface_mxnet.runtime.environment import (
    NOT_FOR_THE_WHEEL,
    WHAT_SERVES,
    Gpu,
    check_python,
    link_library,
    machine_gpus,
    missing_library,
    missing_library_advice,
    no_mxnet_wheel,
)
from arcface_mxnet.runtime.errors import InputError, run_command
from arcface_mxnet.runtime.progress import bar

EXAMPLE = """examples:
  PYTHONPATH=src python3.11 -m arcface_mxnet.runtime.setup
  PYTHONPATH=src python3.11 -m arcface_mxnet.runtime.setup --engine torch --venv .venv-torch
  PYTHONPATH=src python3.11 -m arcface_mxnet.runtime.setup --engine mxnet torch
"""
STAMP = "setup-stamp"
POLL_SECONDS = 0.5
GPU, CPU, TORCH = "requirements.txt", "requirements-cpu.txt", "requirements-torch.txt"
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
# One operator by each engine: what set-up runs before it says that it is done.
_TRIALS = {"mxnet": "from arcface_mxnet.engines.mxnet.mx import mx; mx.nd.ones(1).asnumpy()",
           "torch": "import torch; torch.ones(1).numpy()"}
_CUDA_PACKAGE = re.compile(r"(torch|triton|(nvidia|cuda)-[\w-]+)==")  # what torch's CPU build does without


def choose_requirements(engines: Sequence[str], gpus: Sequence[Gpu]) -> Tuple[List[str], List[str]]:
    """The requirements files for this machine, and lines that say why and what else would serve.

    No engines: MXNet where it has a wheel, else PyTorch. Raises InputError where MXNet is named and has no wheel.
    """
    absent = no_mxnet_wheel()
    if absent and "mxnet" in engines:
        raise InputError(f"--engine mxnet: {absent}; use --engine torch (make setup ENGINE=torch)")
    if absent:
        return [TORCH], [] if engines else [f"{absent}: installing the PyTorch engine ({TORCH})"]
    torch = [TORCH] if "torch" in engines else []
    if torch and "mxnet" not in engines:
        return torch, []
    usable = [gpu for gpu in gpus if gpu.runs_wheel]
    if usable:
        return [GPU, *torch], [f"{len(usable)} GPU(s), first {usable[0].name}: installing {GPU}"]
    why = [f"{gpu.description}: {NOT_FOR_THE_WHEEL}. {WHAT_SERVES}" for gpu in gpus]
    return [CPU, *torch], [*why, f"no GPU that MXNet 1.9.1 can use: installing {CPU}"]


def fingerprint(root: Path, requirements: Sequence[str]) -> str:
    """What the environment was made from: requirements files, project file, Python's version and place."""
    digest = hashlib.sha256(f"{sys.version_info[:2]} {sys.base_prefix} {list(requirements)}".encode())
    for name in (*requirements, "pyproject.toml"):
        digest.update((root / name).read_bytes())
    return digest.hexdigest()


def without(requirements: str, unwanted: Callable[[str], object]) -> str:
    """A locked requirements file less the packages whose first line `unwanted` says yes to; hashes go with theirs."""
    kept, dropping = [], False
    for line in requirements.splitlines(keepends=True):
        if not line.startswith((" ", "\t", "#")):
            dropping = bool(unwanted(line))
        if not dropping:
            kept.append(line)
    return "".join(kept)


def pip_install(python: Path, root: Path, arguments: Sequence[str], packages: int = 0) -> None:
    """Run pip, showing how many of at most `packages` packages it has fetched and unpacked, and the time left.

    Raises InputError with pip's error; all that it said goes to stderr before.
    """
    command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off", *arguments]
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / "pip.log"
        with open(log, "wb") as stream:
            process = subprocess.Popen(command, cwd=root, stdout=stream, stderr=subprocess.STDOUT)
        try:
            if packages:
                _show_progress(process, log, python, packages)
            status = process.wait()
        finally:
            process.kill()
        said = log.read_text(encoding="utf-8", errors="replace")
    if status:
        sys.stderr.write(said)
        errors = [line for line in said.splitlines() if line.startswith("ERROR")]
        raise InputError(f"pip ended with status {status}: {(errors or said.splitlines() or ['no word'])[-1]}")


def _show_progress(process: "subprocess.Popen[bytes]", log: Path, python: Path, packages: int) -> None:
    """Two bars, one after the other: packages fetched (pip names each), packages unpacked (seen on the disk)."""
    before = _unpacked(python.parents[1])
    for label in ("fetching", "installing"):
        shown, done = bar(packages, label, "packages"), 0
        while process.poll() is None:
            said = log.read_text(encoding="utf-8", errors="replace")
            fetched = len(re.findall(r"^(?:Collecting|Requirement already satisfied)", said, re.MULTILINE))
            count = fetched if label == "fetching" else _unpacked(python.parents[1]) - before
            passed_over = "Ignoring" if label == "fetching" else "(?:Ignoring|Requirement already satisfied)"
            shown.total = packages - len(re.findall(f"^{passed_over}", said, re.MULTILINE))
            shown.update(count - done)
            done = count
            if label == "fetching" and "Installing collected packages" in said:
                break
            time.sleep(POLL_SECONDS)
        shown.close()


def _unpacked(folder: Path) -> int:
    return sum(1 for _ in folder.glob("lib/python3*/site-packages/*.dist-info"))


def install(python: Path, root: Path, requirements: str, gpus: Sequence[Gpu]) -> None:
    """Install a locked file; where there is no GPU, PyTorch without its CUDA libraries."""
    text = (root / requirements).read_text(encoding="utf-8")
    pinned = "".join(line.partition("\\")[0].strip() + "\n" for line in text.splitlines() if line.startswith("torch=="))
    cpu_only = bool(pinned) and sys.platform == "linux" and not gpus
    with tempfile.TemporaryDirectory() as scratch:
        if cpu_only:  # PyPI's build for Linux brings 3 GB of CUDA libraries; PyTorch's own index has one without
            small, chosen = Path(scratch) / "requirements.txt", Path(scratch) / "torch.txt"
            small.write_text(without(text, _CUDA_PACKAGE.match))
            chosen.write_text(pinned)
            _install_locked(python, root, small)
            try:
                pip_install(python, root, ["--no-deps", "--index-url", TORCH_CPU_INDEX, "-r", str(chosen)],
                            packages=pinned.count("\n"))
            except InputError as error:
                raise InputError(f"{TORCH_CPU_INDEX} did not give PyTorch ({error}): run this again, or take PyPI's "
                                 f"build, with 3 GB of CUDA libraries, and then run this again: {python} -m pip "
                                 f"install --no-deps -r {requirements}") from None
        else:
            _install_locked(python, root, root / requirements)


def _install_locked(python: Path, root: Path, requirements: Path) -> None:
    """Not looking at what packages require of each other: the lock is complete, MXNet's bound on NumPy wrong."""
    packages = len(re.findall(r"^[A-Za-z]", requirements.read_text(encoding="utf-8"), re.MULTILINE))
    pip_install(python, root, ["--no-deps", "-r", str(requirements)], packages)


def try_engine(python: Path, root: Path, engine: str) -> None:
    """Import the engine and run one operator; a library that the machine lacks is linked from a wheel that has it.

    Raises InputError that names the library and the package that brings it, or says what else went wrong.
    """
    linked: Set[str] = set()
    while True:
        tried = subprocess.run([str(python), "-c", _TRIALS[engine]], cwd=root, capture_output=True, text=True)
        if tried.returncode == 0:
            return
        library = missing_library(tried.stderr)
        if library is None:
            last = (tried.stderr.strip().splitlines() or ["no word"])[-1]
            raise InputError(f"{engine} was installed and does not run: {last}")
        copy = None if library in linked else link_library(python.parents[1], library)
        if copy is None:
            raise InputError(missing_library_advice(library))
        linked.add(library)
        sys.stderr.write(f"{library} is not on this machine: taken from {copy}\n")


def make_environment(folder: Path) -> Path:
    """Create (or refresh) the virtual environment; returns its Python. InputError where Python lacks the parts."""
    if importlib.util.find_spec("ensurepip") is None:
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        raise InputError(f"Python {version} here cannot make virtual environments: install its package "
                         f"(Debian and Ubuntu: apt-get install python{version}-venv) and run this again")
    venv.create(folder, with_pip=True, symlinks=True)  # as `python -m venv`: works over an old one of either kind
    return folder.resolve() / "bin" / "python"


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(description=__doc__, epilog=EXAMPLE)
    parser.add_argument("--venv", default=".venv", help="folder of the virtual environment (default .venv)")
    parser.add_argument("--engine", nargs="+", choices=sorted(_TRIALS), default=[],
                        help="mxnet, torch or both (default: mxnet where it has a wheel)")
    parser.add_argument("--requirements", help="requirements file instead (default: by engine and machine)")
    return parser


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Make or refresh the environment; status 0 when its engine has run."""
    flags = build_parser().parse_args(argv)
    check_python((sys.version_info[0], sys.version_info[1]))
    root = Path(__file__).resolve().parents[1]
    if flags.requirements and not (root / flags.requirements).is_file():
        raise InputError(f"--requirements {flags.requirements}: not found in {root}")
    gpus = machine_gpus()
    requirements, why = ([flags.requirements], []) if flags.requirements else choose_requirements(flags.engine, gpus)
    folder = Path(flags.venv)
    stamp, wanted = folder / STAMP, fingerprint(root, requirements)
    if stamp.exists() and stamp.read_text() == wanted:
        return 0
    sys.stderr.write("".join(f"{line}\n" for line in why))
    python = make_environment(folder)
    for name in requirements:
        install(python, root, name, gpus)
    pip_install(python, root, ["--no-deps", "--no-build-isolation", "-e", str(root)])
    for name in requirements:
        try_engine(python, root, "torch" if name == TORCH else "mxnet")
    stamp.write_text(wanted)
    sys.stderr.write(f"{folder} is set up; to use it: . {folder / 'bin' / 'activate'}\n")
    return 0


if __name__ == "__main__":
    run_command(main)
