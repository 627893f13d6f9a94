"""Start a training job of several workers on this machine or on several: scheduler, servers and workers of MXNet's
parameter server. Lines of every process come back with its name; when one dies all are ended, with the reason."""
import argparse
import os
import re
import signal
import sys
from types import FrameType
from typing import Dict, List, Optional, Sequence

from arcface_mxnet.recognition.engine.launcher import (
    AFTERWARDS,
    WORKER,
    Job,
    Place,
    Running,
    addresses_of,
    free_port,
    own_address,
    places,
    read_hosts,
)
from arcface_mxnet.runtime.arguments import Parser
from arcface_mxnet.runtime.errors import InputError, run_command

EXAMPLES = """examples:
  python -m arcface_mxnet.recognition.launch -n 2 -s 1 -- \\
    python -m arcface_mxnet.recognition.train --network r50 --dataset emore \\
      --kvstore dist_sync_device
  python -m arcface_mxnet.recognition.launch -n 4 -s 4 -H hosts --interface eth1 -- \\
    python -m arcface_mxnet.recognition.train --dataset glint360k \\
      --kvstore dist_sync_device --head sampled
  python -m arcface_mxnet.recognition.launch -n 4 -s 4 -H hosts -- \\
    python -m arcface_mxnet.recognition.train --resume --run-dir runs/...

The same folder must stand on all machines, reached by ssh without a password. The parameter server neither encrypts
nor asks who is there, and takes a pickle: trusted networks only (docs/scale.md).
"""
RANK = re.compile(r"worker (\d+) of \d+$")


class Printer:
    """Writes lines of all processes, each after its name; a worker's name is its rank once it has said it."""

    def __init__(self) -> None:
        self._ranks: Dict[Place, str] = {}

    def __call__(self, place: Place, line: str) -> None:
        """Write one line."""
        said = RANK.search(line) if place.role == WORKER else None
        if said:
            self._ranks[place] = said.group(1)
        sys.stdout.write(f"[{self.name(place)}] {line}\n")
        sys.stdout.flush()

    def name(self, place: Place) -> str:
        """Role and rank of a process."""
        return place._replace(number=int(self._ranks[place])).name if place in self._ranks else place.name


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(description=__doc__, epilog=EXAMPLES)
    add = parser.add_argument
    add("-n", "--workers", type=int, required=True, help="worker processes, one for each machine as a rule")
    add("-s", "--servers", type=int, help="server processes (default: as many as workers)")
    add("-H", "--hosts", metavar="FILE", help="machines, one a line (default: all on this one)")
    add("--address", help="address of this machine that the others reach (default: 127.0.0.1, or the route to them)")
    add("--port", type=int, help="port of the scheduler (default: a free one)")
    add("--interface", default="", help="network interface all bind to, e.g. eth1 (default: that of the address)")
    add("--grace", type=float, default=120.0, help="seconds workers get to save after Ctrl-C (default 120)")
    add("command", nargs=argparse.REMAINDER, help="after --: the command of a worker")
    return parser


def job_from(flags: argparse.Namespace) -> Job:
    """The job the flags describe; raises InputError."""
    command: List[str] = flags.command[1:] if flags.command[:1] == ["--"] else flags.command
    servers = flags.workers if flags.servers is None else flags.servers
    for flag, value in (("-n", flags.workers), ("-s", servers)):
        if value < 1:
            raise InputError(f"{flag} {value}: at least 1")
    if not command:
        raise InputError("no command for the workers; put it after --, e.g. "
                         "-- python -m arcface_mxnet.recognition.train ...")
    if command[0] == "python":
        command = [sys.executable, *command[1:]]
    hosts = read_hosts(flags.hosts) if flags.hosts else ["localhost"]
    address = flags.address or own_address(hosts)
    return Job(flags.workers, servers, hosts, address, flags.port or free_port(address), flags.interface, command,
               addresses_of(hosts))


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the job; 0 when all workers are done, else the status of what failed first, 128 + signal when stopped."""
    flags = build_parser().parse_args(argv)
    job = job_from(flags)
    printer = Printer()
    running = Running(printer, printer.name)

    def note(number: int, frame: Optional[FrameType]) -> None:
        running.stop = number

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, note)
    patience = 0.0
    try:
        running.start(job, places(job), os.getcwd())
        ending = running.wait(flags.grace)
        patience = AFTERWARDS if ending.clean else 0.0
    finally:
        running.end(patience)
    if ending.reason:
        sys.stderr.write(f"{'' if running.stop else 'error: '}{ending.reason}\n")
    return ending.status


if __name__ == "__main__":
    run_command(main)
