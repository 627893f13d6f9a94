"""Processes of a job from first to last: started, their lines forwarded, all ended when one fails."""
import ctypes
import inspect
import os
import resource
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import IO, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence

from arcface_mxnet.runtime.arguments import Parser
from arcface_mxnet.runtime.errors import InputError, run_command
from arcface_mxnet.runtime.text import read_lines

# Which process of a job runs where, and what it is told: pure data, nothing is started here.


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
    lines = read_lines(path, "give -H a file with one machine a line")
    hosts = [line.split("#")[0].strip() for line in lines]
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
    node = [python, "-m", "arcface_mxnet.recognition.engine.launcher", place.role]
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


_PR_SET_PDEATHSIG = 1
_POLL = 0.1
CTRL_C = b"\x03"  # a terminal's interrupt: how a process behind ssh -tt is asked to stop
SSH_FAILED = 255
AFTERWARDS = 10.0  # seconds servers and scheduler get to leave once all workers are done


class Ending(NamedTuple):
    """The status of a job, why it ended ("" where all workers were done), and whether all workers left unforced."""

    status: int
    reason: str
    clean: bool = False


class Process:
    """One started process; `forward` gets each of its lines."""

    def __init__(self, place: Place, job: Job, folder: str, forward: Callable[[Place, str], None]) -> None:
        self.place = place
        line = arguments(job, place, folder)
        self.remote = line[0] == "ssh"
        self._popen = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                       env={**os.environ, **environment(job, place)}, cwd=folder,
                                       start_new_session=True, preexec_fn=_die_with_parent)
        self._reader = threading.Thread(target=self._read, args=(self._popen.stdout, forward), daemon=True)
        self._reader.start()

    def _read(self, stream: IO[bytes], forward: Callable[[Place, str], None]) -> None:
        for line in stream:
            forward(self.place, line.decode("utf-8", "replace").rstrip("\r\n"))

    @property
    def status(self) -> Optional[int]:
        """None while it runs, else its exit status, negative for a signal."""
        return self._popen.poll()

    def ask_to_stop(self) -> None:
        """Let it finish its step and save."""
        if self.remote and self._popen.stdin is not None:
            try:
                self._popen.stdin.write(CTRL_C)
                self._popen.stdin.flush()
            except OSError:
                return
        else:
            self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it and all it started, now."""
        self._signal(signal.SIGKILL)
        self._popen.wait()
        self._reader.join(timeout=1)

    def drain(self) -> None:
        """Wait for the last lines of a process that has ended."""
        self._reader.join(timeout=1)

    def _signal(self, number: int) -> None:
        try:
            os.killpg(self._popen.pid, number)
        except ProcessLookupError:
            return


def _die_with_parent() -> None:
    """In the child: SIGKILL when the launcher dies, however it dies (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Running:
    """All processes of a job, from `start` on; `stop` may be set from a signal handler."""

    def __init__(self, forward: Callable[[Place, str], None], name: Callable[[Place], str]) -> None:
        self._forward, self._name, self.stop = forward, name, 0
        self._processes: List[Process] = []
        self._left = 0.0

    def start(self, job: Job, everywhere: List[Place], folder: str) -> None:
        """Start them all."""
        for place in everywhere:
            self._processes.append(Process(place, job, folder, self._forward))

    def wait(self, grace: float) -> Ending:
        """Until all workers are done, one process fails, or `stop` is set and `grace` seconds have passed."""
        asked: Optional[float] = None
        while True:
            if self.stop and asked is None:
                asked = time.monotonic()
                for process in self._of(WORKER):
                    process.ask_to_stop()
            ending = self._ending(asked, grace)
            if ending is not None:
                return ending
            time.sleep(_POLL)

    def _ending(self, asked: Optional[float], grace: float) -> Optional[Ending]:
        workers = self._of(WORKER)
        if all(process.status is not None for process in workers):
            if asked is not None:
                return Ending(128 + self.stop, f"stopped by {signal.Signals(self.stop).name}", True)
            failed = [process for process in workers if process.status]
            return self._failure(failed[0]) if failed else Ending(0, "", True)
        if asked is not None:
            if time.monotonic() - asked > grace:
                return Ending(128 + self.stop, f"stopped by {signal.Signals(self.stop).name}; the workers did not end "
                                               f"within {grace:g} s")
            return None
        failed = [process for process in self._processes if process.status]
        if not failed and any(process.status == 0 for process in self._processes if process.place.role != WORKER):
            self._left = self._left or time.monotonic()  # servers leave with the first worker that is done
            if time.monotonic() - self._left > AFTERWARDS:
                failed = [process for process in self._processes if process.status == 0]
        return self._failure(failed[0]) if failed else None

    def end(self, grace: float) -> None:
        """Give what is left `grace` seconds to leave by itself, then end it; afterwards nothing runs."""
        until = time.monotonic() + grace
        while time.monotonic() < until and any(process.status is None for process in self._processes):
            time.sleep(_POLL)
        for process in self._processes:
            process.kill()

    def _of(self, role: str) -> List[Process]:
        return [process for process in self._processes if process.place.role == role]

    def _failure(self, process: Process) -> Ending:
        process.drain()
        status = process.status or 0
        what = "all others were ended" if process.place.role == WORKER else "the job cannot go on without it"
        return Ending(128 - status if status < 0 else status or 1,
                      f"{self._name(process.place)} {how_it_ended(status, process.remote)}; {what}")


def how_it_ended(status: int, remote: bool) -> str:
    """What a status means: of a child, negative for a signal; of ssh, 128 + signal, or 255 of its own."""
    if remote and status == SSH_FAILED:
        return "could not be reached by ssh, or was lost"
    number = -status if status < 0 else status - 128 if remote else 0
    if number in {known.value for known in signal.Signals}:
        return f"was killed by {signal.Signals(number).name}"
    return f"ended with status {status}"


# A scheduler or server of MXNet's parameter server; ends with the job:
# `python -m arcface_mxnet.recognition.engine.launcher server`.
#
# MXNet would run it inside its own import, where the optimizer that workers send cannot be unpickled, so its role is
# set after the import.


ROLES = ("scheduler", "server")


def main(argv: Optional[Sequence[str]] = None) -> int:
    """A scheduler or server of MXNet's parameter server; ends with the job.

    MXNet would run it inside its own import, where the optimizer that workers send cannot be unpickled, so its role is
    set after the import.
    """
    parser = Parser(inspect.getdoc(main), "example: started by python -m arcface_mxnet.recognition.launch; "
                    "DMLC_* say where")
    parser.add_argument("role", choices=ROLES)
    role = parser.parse_args(argv).role
    from arcface_mxnet.engines.mxnet.parameter_server import serve  # MXNet loads only where it is used

    os.environ["DMLC_ROLE"] = role
    serve()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2.0 ** 20
    sys.stdout.write(f"{role} done, peak memory {peak:.2f} GB\n")
    return 0


if __name__ == "__main__":
    run_command(main)
