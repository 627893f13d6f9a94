"""Damage sound files at random and give them to every reader: python -m tests.fuzz --minutes 5.

Each reader runs in a process of its own with bounded memory and time for each file, so that a crash in a library, a
hang or a file that takes the machine's memory is found as well. A file that a reader neither read nor refused in one
line is kept; the table at the end says how many were read, refused and kept. Exit status 1 where any was kept.
"""
import argparse
import collections
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Dict, List, Optional, Sequence

from tests.fuzz.mutations import drawn, mutate
from tests.fuzz.readers import READERS, Fault, attempt

SECONDS_A_FILE = 20
MOST_MEMORY = 2 << 30  # bytes above what the process has when it begins
MEMORY_NOTED = 512 << 20
MOST_KEPT = 5  # of each reader


class TooSlow(Exception):
    """A file took longer than it may."""


def work(name: str, seed: int, seconds: float, folder: Path) -> Dict[str, int]:
    """Damage and read files for so long; counts by outcome. The file under way lies in `folder`."""
    reader = READERS[name]
    files, source, counts = reader.files(), random.Random(f"{name} {seed}"), collections.Counter()
    _bound_memory()
    signal.signal(signal.SIGALRM, _too_slow)
    end, before = time.monotonic() + seconds, _peak()
    while time.monotonic() < end:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for other, data in files.items():
            (folder / other).parent.mkdir(exist_ok=True)
            (folder / other).write_bytes(mutate(data, drawn(source)) if other == reader.damaged else data)
        signal.alarm(SECONDS_A_FILE)
        try:
            counts["read" if attempt(reader, folder) else "refused"] += 1
            if _peak() - before > MEMORY_NOTED:
                raise Fault(f"{(_peak() - before) >> 20} MB")
        except (Fault, TooSlow, MemoryError) as error:
            counts["failed"] += 1
            _keep(folder, name, counts["failed"], error)
        finally:
            signal.alarm(0)
        before = max(before, _peak())
    return dict(counts)


def _bound_memory() -> None:
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MOST_MEMORY, size + MOST_MEMORY))


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def _too_slow(*_: object) -> None:
    raise TooSlow(f"longer than {SECONDS_A_FILE} s")


def _keep(folder: Path, name: str, number: int, error: object) -> None:
    if number > MOST_KEPT:
        return
    kept = folder.parent / f"{name.replace(' ', '_')}_{number}"
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(folder, kept)
    (kept / "error.txt").write_text(f"{error}\n", encoding="utf-8", errors="replace")


def run(name: str, seed: int, seconds: float, out: Path) -> Dict[str, int]:
    """One reader in a process of its own, begun again where it dies."""
    counts: Dict[str, int] = collections.Counter()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if (out / "counts.json").exists():
            (out / "counts.json").unlink()
        child = os.fork()
        if not child:
            try:
                found = work(name, seed, end - time.monotonic(), out / "now")
                (out / "counts.json").write_text(json.dumps(found))
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        if (out / "counts.json").exists():
            for outcome, count in json.loads((out / "counts.json").read_text()).items():
                counts[outcome] += count
            break
        counts["crashed"] += 1
        _keep(out / "now", f"{name} crash", counts["crashed"], f"status {status}")
        seed += 1000003
    return counts


def main(argv: Optional[Sequence[str]] = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0, help="for all readers together (default 5)")
    parser.add_argument("--seed", type=int, default=0, help="another seed damages the files in other ways")
    parser.add_argument("--only", nargs="+", metavar="READER", help=f"some of: {', '.join(READERS)}")
    parser.add_argument("--out", metavar="DIR", help="where kept files go (default: a new temporary folder)")
    options = parser.parse_args(argv)
    out = Path(options.out or tempfile.mkdtemp(prefix="fuzz_"))
    out.mkdir(parents=True, exist_ok=True)
    rows: List[str] = []
    failed = 0
    names = options.only or list(READERS)
    for name in names:
        counts = run(name, options.seed, 60 * options.minutes / len(names), out)
        failed += counts.get("failed", 0) + counts.get("crashed", 0)
        columns = [sum(counts.values()), *(counts.get(key, 0) for key in ("read", "refused", "failed", "crashed"))]
        rows.append(f"| {name} | " + " | ".join(str(value) for value in columns) + " |")
        sys.stderr.write(rows[-1] + "\n")
    header = "| reader | files | read | refused | failed | crashed |\n|---|---|---|---|---|---|\n"
    sys.stdout.write(header + "\n".join(rows) + "\n")
    sys.stdout.write(f"kept files: {out}\n" if failed else "")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
