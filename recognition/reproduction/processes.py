"""On which devices the runs at paper scale are trained, and the processes that drive them where one does not."""
import json
import signal
import subprocess
import sys
from types import FrameType
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

from arcface_mxnet.engines.base import ENGINES, Place, engine, installed, place
from arcface_mxnet.recognition.engine.trainer import CAUGHT
from arcface_mxnet.runtime.errors import InputError

TRAIN = "arcface_mxnet.recognition.train"


class Devices(NamedTuple):
    """What a --gpus value comes to: GPUs (0: a CPU), contexts (shares of a batch, all together), processes."""

    gpus: int
    contexts: int
    processes: int


def devices_of(name: str, text: str) -> Devices:
    """The devices that an engine ("": the first installed) takes for a --gpus value ("": every GPU, else the CPU).

    Numbers are counted, not looked for: a plan can be made on another machine, and a run says itself what is not there.
    """
    kind, _, number = text.strip().lower().partition(":")
    if kind == "cpu":
        return Devices(0, int(number) if number.isdigit() else 1, 1)
    there = installed(trains=True)
    name = name or "".join(there[:1])
    if text:
        gpus = 1 if kind in ("cuda", "mps") else len(text.split(","))
    else:
        gpus = engine(name, trains=True).gpus() if name in there else 0
    apart = gpus > 1 and name in ENGINES and ENGINES[name].process_per_gpu
    return Devices(gpus, max(1, gpus), gpus if apart else 1)


def place_to_embed(name: str, text: str) -> Optional[Place]:
    """Where a run's network is measured: the engine and devices it was trained by; None, the default, for neither."""
    if not name and not text:
        return None
    return place(name or None, embedding_devices(name, text) or None)


def demo_place(name: str, text: str) -> Optional[Place]:
    """Where a run at demo scale is measured: by the engine that trained it, on the CPU where no device is named.

    None, the default, where no engine is named.
    """
    return place_to_embed(name, text or "cpu") if name else None


def embedding_devices(name: str, text: str) -> str:
    """The --gpus value of commands that embed, which are one process: the first device where training takes several."""
    return text.split(",")[0] if devices_of(name, text).processes > 1 else text


def words_of(flags: Mapping[str, Any]) -> List[str]:
    """Flags of a command, by name, as words: True stands alone, several values are joined by commas."""
    words = []
    for name, value in flags.items():
        words.append(f"--{name.replace('_', '-')}")
        if value is not True:
            words.append(",".join(map(str, value)) if isinstance(value, tuple) else str(value))
    return words


def apart(processes: int, module: str, words: Sequence[str]) -> List[str]:
    """The command that runs a module in so many processes on this machine, by torchrun where they are several."""
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)] if processes > 1 else []
    return [sys.executable, *start, "-m", module, *words]


def train_apart(flags: Mapping[str, Any], processes: int) -> Optional[int]:
    """Train one run in several processes and wait for it; returns the signal that stopped it, None where it ended.

    A signal sent to this process goes to them, and they save before they stop. Raises InputError where they fail; their
    own words stand above it.
    """
    command = apart(processes, TRAIN, words_of(flags))
    running = subprocess.Popen(command, start_new_session=True)  # a Ctrl-C would reach the runs twice, and end them
    sent: List[int] = []

    def forward(number: int, frame: Optional[FrameType]) -> None:
        sent.append(number)
        running.send_signal(signal.SIGTERM)

    before = {number: signal.signal(number, forward) for number in CAUGHT
              if signal.getsignal(number) is not signal.SIG_IGN}
    try:
        status = running.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if status and not sent:
        raise InputError(f"{flags['run_dir']}: the {processes} processes of this run ended with status {status}, for "
                         "the reason above; the same command goes on from the last restart point")
    return sent[0] if sent else None


def measured_apart(module: str, case: Mapping[str, Any], processes: int) -> Dict[str, Any]:
    """What `module --case JSON` prints as its last line, JSON too, run in processes of its own.

    Raises InputError with its last words where it fails.
    """
    done = subprocess.run(apart(processes, module, ["--case", json.dumps(case)]), capture_output=True, text=True,
                          check=False)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        reasons = [line for line in said if line.startswith("error: ")] or said[-1:] or ["no message"]
        raise InputError(f"{case['network']}: could not be measured: {reasons[0].replace('error: ', '', 1)}")
    return dict(json.loads(done.stdout.splitlines()[-1]))
