"""Processes of a job from first to last: started, their lines forwarded, all ended when one fails."""
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from typing import IO, Callable, List, NamedTuple, Optional

from arcface_mxnet.recognition.launcher.plan import WORKER, Job, Place, arguments, environment

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
