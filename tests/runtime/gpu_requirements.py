"""Whether requirements.txt holds all that the GPU build of MXNet links: `make gpu-requirements`, no GPU needed.

Installs the file into a fresh environment, puts a stub in the place of the driver (libcuda.so.1, the one library that
must come from the machine), imports MXNet, counts GPUs and computes on the CPU. Downloads about 2 GB, writes about 6.
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Dict, List, Optional, Sequence

from arcface_mxnet.runtime.errors import InputError, run_command

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = "example: python -m tests.runtime.gpu_requirements --venv /tmp/gpu-venv"
NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE, what a driver without a GPU answers
DRIVER_SYMBOL = re.compile(r"\bU (cu[A-Z]\w*)$", re.MULTILINE)  # the driver's; the toolkit's are cuda..., cublas...
CHECK = """
from arcface_mxnet.engines.mxnet.mx import mx
product = mx.nd.dot(mx.nd.ones((3, 4)), mx.nd.ones((4, 5)))
print(mx.__version__, mx.context.num_gpus(), float(product.sum().asscalar()), mx.runtime.Features().is_enabled("CUDA"))
"""
EXPECTED = "1.9.1 0 60.0 True"


def driver_symbols(library: Path) -> List[str]:
    """Functions of the driver that a library calls."""
    said = subprocess.run(["nm", "-D", "--undefined-only", str(library)], check=True, capture_output=True, text=True)
    return sorted(set(DRIVER_SYMBOL.findall(said.stdout)))


def build_stub(symbols: Sequence[str], folder: Path) -> None:
    """libcuda.so.1 with these functions, all of which answer that there is no device."""
    source = folder / "stub.c"
    source.write_text("".join(f"int {name}(void) {{ return {NO_DEVICE}; }}\n" for name in symbols))
    subprocess.run(["gcc", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o", str(folder / "libcuda.so.1"),
                    str(source)], check=True)


def run_with(folder: Optional[Path], python: Path) -> "subprocess.CompletedProcess[str]":
    """CHECK by `python`, with libcuda.so.1 of `folder` where one is given."""
    environment: Dict[str, str] = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}
    if folder is not None:
        environment["LD_LIBRARY_PATH"] = str(folder)
    return subprocess.run([str(python), "-c", CHECK], capture_output=True, text=True, env=environment, cwd=ROOT)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Install, build the stub, import; 0 when everything but the driver was there."""
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venv", default=".venv-gpu", help="folder of the environment (default .venv-gpu)")
    flags = parser.parse_args(argv)
    folder = Path(flags.venv).resolve()
    subprocess.run([sys.executable, "-m", "arcface_mxnet.runtime.setup", "--venv", str(folder),
                    "--requirements", "requirements.txt"], check=True, cwd=ROOT,
                   env={**os.environ, "PYTHONPATH": "src"})
    libraries = list(folder.glob("lib/python3*/site-packages/mxnet/libmxnet.so"))
    if not libraries:
        raise InputError(f"{folder}: holds no MXNet; remove the folder and run this again")
    symbols = driver_symbols(libraries[0])
    sys.stdout.write(f"libmxnet.so calls {len(symbols)} functions of the driver: {', '.join(symbols)}\n")
    with tempfile.TemporaryDirectory() as stub:
        build_stub(symbols, Path(stub))
        done = run_with(Path(stub), folder / "bin" / "python")
    found = done.stdout.strip()
    sys.stdout.write(f"with a stub for the driver: MXNet, GPUs, sum of a product, CUDA build: {found}\n")
    if done.returncode or found != EXPECTED:
        raise InputError(f"expected {EXPECTED}; {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    return 0


if __name__ == "__main__":
    run_command(main)
