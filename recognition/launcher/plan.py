"""Which process of a job runs where, and what it is told: pure data, nothing is started here."""
import os
import shlex
import socket
import sys
from pathlib import Path
from typing import Dict, List, Mapping, NamedTuple, Sequence

from arcface_mxnet.runtime.errors import InputError

LOOPBACK = "127.0.0.1"
LOCAL = ("localhost", LOOPBACK)
FORWARDED = ("OMP_NUM_THREADS", "MXNET_", "PS_")  # beginnings of variables that ssh would leave behind
SCHEDULER, SERVER, WORKER = "scheduler", "server", "worker"


class Place(NamedTuple):
    """One process: its role, its number within the role, its machine ("localhost" for this one)."""

    role: str
    number: int
    host: str

    @property
    def name(self) -> str:
        """What its lines begin with."""
        where = "" if self.host in LOCAL else f"@{self.host}"
        return self.role + where if self.role == SCHEDULER else f"{self.role} {self.number}{where}"


class Job(NamedTuple):
    """What all processes share."""

    workers: int
    servers: int
    hosts: Sequence[str]
    address: str  # of the scheduler, as the others reach it
    port: int
    interface: str  # network interface to bind to, "" for that of the address
    command: Sequence[str]  # of a worker
    addresses: Mapping[str, str] = {}  # of the machines in `hosts`, as this one reaches them


def read_hosts(path: str) -> List[str]:
    """Machines of a host list, one a line; blank lines and what follows # do not count. Raises InputError."""
    file = Path(path)
    if not file.is_file():
        raise InputError(f"-H {path}: not found; give a file with one machine a line")
    hosts = [line.split("#")[0].strip() for line in file.read_text(encoding="utf-8").splitlines()]
    hosts = [host for host in hosts if host]
    for host in hosts:
        if len(host.split()) > 1 or host.startswith("-"):
            raise InputError(f"-H {path}: '{host}' is not the name of one machine")
    if not hosts:
        raise InputError(f"-H {path}: names no machine")
    return hosts


def places(job: Job) -> List[Place]:
    """The scheduler here, servers and workers in turn over the hosts."""
    made = [Place(SCHEDULER, 0, "localhost")]
    for role, count in ((SERVER, job.servers), (WORKER, job.workers)):
        made += [Place(role, number, job.hosts[number % len(job.hosts)]) for number in range(count)]
    return made


def environment(job: Job, place: Place) -> Dict[str, str]:
    """The variables of the parameter server for one process, and its share of a machine that holds several."""
    said = {"DMLC_PS_ROOT_URI": job.address, "DMLC_PS_ROOT_PORT": str(job.port), "DMLC_NUM_WORKER": str(job.workers),
            "DMLC_NUM_SERVER": str(job.servers), "PYTHONUNBUFFERED": "1"}
    if place.role == WORKER:
        said["DMLC_ROLE"] = WORKER
    if job.interface:
        said["DMLC_INTERFACE"] = job.interface
        return said
    here = job.address if place.host in LOCAL else job.addresses.get(place.host, "")
    if here:  # left to itself, a process announces its first interface, which the others may not reach
        said["DMLC_NODE_HOST"] = here
    return said


def arguments(job: Job, place: Place, folder: str, python: str = sys.executable) -> List[str]:
    """The command line that starts a process, over ssh for another machine (same folder, same Python there)."""
    node = [python, "-m", "arcface_mxnet.recognition.launcher.node", place.role]
    command = list(job.command) if place.role == WORKER else node
    if place.host in LOCAL:
        return command
    carried = {name: value for name, value in os.environ.items() if name.startswith(FORWARDED)}
    said = " ".join(f"{name}={shlex.quote(value)}" for name, value in {**carried, **environment(job, place)}.items())
    # The shell stays, deaf to the interrupt of a terminal: it has a status for what a signal ended, ssh has none.
    line = f"cd {shlex.quote(folder)} && trap : INT && env {said} {' '.join(map(shlex.quote, command))}; exit $?"
    return ["ssh", "-tt", "-o", "BatchMode=yes", place.host, line]


def machine(host: str) -> str:
    """The machine of an entry of the host list, which may begin with a user: user@machine."""
    return host.rpartition("@")[2]


def addresses_of(hosts: Sequence[str]) -> Dict[str, str]:
    """The address of each other machine; a name that only ssh knows, or that means loopback, has none here."""
    found = {}
    for host in hosts:
        if host in LOCAL:
            continue
        try:
            address = socket.gethostbyname(machine(host))
        except OSError:
            continue
        if not address.startswith("127."):
            found[host] = address
    return found


def own_address(hosts: Sequence[str]) -> str:
    """How the other machines reach this one: loopback where there are none, else the address of the route to them."""
    others = [host for host in hosts if host not in LOCAL]
    if not others:
        return LOOPBACK
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((machine(others[0]), 9))
        except OSError as error:
            raise InputError(f"machine {others[0]}: {error.strerror or error}; check the host list") from None
        return str(probe.getsockname()[0])


def free_port(address: str) -> int:
    """A port that is free on this machine now."""
    with socket.socket() as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            raise InputError(f"--address {address}: not an address of this machine") from None
        return int(probe.getsockname()[1])
