"""The two files a run writes while it goes: train.log for people and old parsers, metrics.jsonl for programs."""
import importlib
import json
import math
import operator
import sys
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Callable, Dict, Mapping, Optional, Sequence, Type

from arcface_mxnet.runtime.errors import InputError, notice, one_line
from arcface_mxnet.runtime.files import PathLike, atomic_open, naming
from arcface_mxnet.runtime.text import read_lines

from tqdm import tqdm

if TYPE_CHECKING:
    from arcface_mxnet.logs.parse import Run  # it loads pandas, which no training needs


Callback = Callable[[Mapping[str, Any]], object]


def callback_of(text: str) -> Callback:
    """The function that "MODULE:NAME" names, NAME by its path inside the module; raises InputError where it is none."""
    module, colon, name = text.partition(":")
    if not (colon and module and name):
        raise InputError(f"--callback {text}: expected MODULE:NAME, for example mlflow_hook:record")
    try:
        found = operator.attrgetter(name)(importlib.import_module(module))
    except (ImportError, AttributeError) as error:
        raise InputError(f"--callback {text}: {one_line(error)}; name a function that Python can import") from None
    if not callable(found):
        raise InputError(f"--callback {text}: is no function; name one that takes a record of metrics.jsonl")
    return found


class LogWriter:
    """Appends lines to a log file and shows them, above a progress bar where one is drawn.

    `path`: the log file, appended to. `stream`: where lines are shown, standard output by default.
    """

    def __init__(self, path: PathLike, stream: Optional[IO[str]] = None) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = sys.stdout if stream is None else stream
        end_torn_line(self.path)
        self._file = open(self.path, "a", encoding="utf-8")

    def __call__(self, line: str) -> None:
        """Write one line (without its newline) to the file and to the stream; both are flushed."""
        with naming(self.path):
            self._file.write(f"{line}\n")
            self._file.flush()
        tqdm.write(line, file=self._stream)
        self._stream.flush()

    def close(self) -> None:
        """Close the file; the stream stays open."""
        with naming(self.path):
            self._file.close()

    def __enter__(self) -> "LogWriter":
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        self.close()


class MetricsWriter:
    """metrics.jsonl: one JSON object a line, each with its `step`, flushed as it is written.

    Opening it for a run that has done `step` updates drops every record after that step (and a line torn by a kill), by
    an atomic rewrite, so that no step is ever in the file twice. A new run opens it with step 0. A number that is not
    finite is written as null, since JSON has no other form for it. Each of `callbacks` is called with every record
    after it is written (a dictionary as in the file): for MLflow, Weights & Biases or a program of one's own.
    """

    def __init__(self, path: PathLike, step: int = 0, callbacks: Sequence[Callback] = ()) -> None:
        self.callbacks = list(callbacks)
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        _keep_until(self.path, step)
        self._file = open(self.path, "a", encoding="utf-8")

    def train(self, step: int, epoch: int, images: int, speed: float, lr: float, acc: float,
              loss: Optional[float] = None) -> None:
        """One training window that ends with `step`; `images` seen so far, `speed` in images per second."""
        self._write({"kind": "train", "step": step, "epoch": epoch, "images": images, "speed": speed, "lr": lr,
                     "acc": acc, "loss": loss})

    def validation(self, step: int, epoch: int, images: int, target: str, accuracy: float, std: float, xnorm: float,
                   **more: float) -> None:
        """One verification set at `step`; `more` are further named figures (auc, seconds ...)."""
        self._write({"kind": "validation", "step": step, "epoch": epoch, "images": images, "target": target,
                     "accuracy": accuracy, "std": std, "xnorm": xnorm, **more})

    def _write(self, record: Dict[str, Any]) -> None:
        with naming(self.path):
            self._file.write(json.dumps({key: _finite(value) for key, value in record.items()}) + "\n")
            self._file.flush()
        for callback in list(self.callbacks):
            try:
                callback({key: _finite(value) for key, value in record.items()})
            except Exception as error:  # foreign code, often a network: it may end, the training may not
                self.callbacks.remove(callback)
                notice(f"--callback: failed at step {record['step']} ({type(error).__name__}: {one_line(error)}); it "
                       "is not called again, the run goes on")

    def close(self) -> None:
        """Close the file."""
        with naming(self.path):
            self._file.close()

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        self.close()


def end_torn_line(path: Path) -> None:
    """Give a file whose last line was cut by a kill its newline, so that the next line starts on its own."""
    if path.exists() and path.stat().st_size:
        with open(path, "rb+") as stream:
            stream.seek(-1, 2)
            if stream.read(1) != b"\n":
                stream.write(b"\n")


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _keep_until(path: Path, step: int) -> None:
    if not path.exists():
        return
    kept = []
    lines = read_lines(path, "move the file away and go on", errors="replace")
    for number, text in enumerate(lines, 1):
        try:
            record = json.loads(text)
            late = record["step"] > step
        except (ValueError, TypeError, KeyError, RecursionError):
            if number == len(lines):
                continue
            raise InputError(f"{path}: line {number} is no metrics record; move the file away and go on") from None
        if not late:
            kept.append(text)
    with atomic_open(path, "w") as stream:
        stream.writelines(f"{text}\n" for text in kept)


# A run as TensorBoard event files, for those who keep their runs there.


GROUPS = {"acc": "train/accuracy", "loss": "train/loss", "lr": "train/rate", "speed": "train/images_per_second",
          "cosine": "train/cosine", "cosine_margin": "train/cosine_margin"}


def write(run: "Run", folder: PathLike) -> int:
    """Write every figure of `run` into an event file in `folder`; returns how many scalars.

    Train figures are under `train/`, those of a verification set under its name (`lfw/accuracy`). Raises InputError
    where tensorboardX is not installed.
    """
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise InputError("--tensorboard: tensorboardX is not installed; pip install tensorboardX") from None
    tags = dict(GROUPS)
    for target in run.targets:
        tags.update({f"{target}_{kind}": f"{target}/{kind}" for kind in ("accuracy", "std", "xnorm")})
    count = 0
    with SummaryWriter(str(folder)) as writer:
        for column, tag in tags.items():
            values = run.table.set_index("step")[column].dropna() if column in run.table else ()
            for step, value in getattr(values, "items", tuple)():
                writer.add_scalar(tag, float(value), int(step))
                count += 1
    return count
