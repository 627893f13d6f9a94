"""The training loop, read from top to bottom: start, then batch after batch until the steps are done."""
import contextlib
import dataclasses
import math
import signal
import time
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Type

from arcface_mxnet.datasets.iterator import Batches
from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.engines.base import ALONE, Outcome, Step, Workers
from arcface_mxnet.logs import format as line
from arcface_mxnet.logs.writer import LogWriter, MetricsWriter
from arcface_mxnet.recognition.engine.checkpoint import Position, RunDirectory, WindowStep, decide
from arcface_mxnet.recognition.engine.model import Model
from arcface_mxnet.recognition.engine.validation import NotFinite, Validated, Validation, embedding_checkpoint
from arcface_mxnet.recognition.settings import Settings
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.progress import bar

import numpy as np

# What happened since the last printed line: accuracy, loss and speed of a few steps, read as late as possible.


class Figures(NamedTuple):
    """Means over a window; accuracy is that of the margin-penalised softmax, `loss` None for a head that has none."""

    accuracy: float
    loss: Optional[float]
    images_per_second: float
    seconds: float
    busy: Optional[float]  # processor seconds of this process a second; None where a validation fell into the window

    @property
    def finite(self) -> bool:
        """Whether the loss is a number."""
        return self.loss is None or math.isfinite(self.loss)


class Window:
    """Collects outcomes without waiting for them, one step behind the device, until `close` reads them.

    `steps`: what a restart point kept of a window that had begun (`steps` of the window it was), so that a resumed run
    prints what an undisturbed one prints.
    """

    def __init__(self, steps: Sequence[WindowStep] = ()) -> None:
        self._outcomes: List[Outcome] = []
        self._begin()
        self._outcomes += [Outcome((correct,), () if loss is None else (loss,), images)
                           for correct, images, loss in steps]

    def _begin(self) -> None:
        self._outcomes.clear()
        self._started, self._computed, self._paused = time.monotonic(), time.process_time(), False

    def __len__(self) -> int:
        return len(self._outcomes)

    def add(self, outcome: Outcome) -> None:
        """Take the outcome of one step; waits for the step before it, so that work in flight stays bounded."""
        if self._outcomes:
            before = self._outcomes[-1]
            for array in (*before.correct, *before.losses):
                float(array)
        self._outcomes.append(outcome)

    @property
    def steps(self) -> Tuple[WindowStep, ...]:
        """The steps added since the last close: images right, images, mean loss over the replicas (None: none)."""
        return tuple((sum(map(float, outcome.correct)), outcome.images,
                      sum(map(float, outcome.losses)) / len(outcome.losses) if outcome.losses else None)
                     for outcome in self._outcomes)

    def close(self) -> Figures:
        """The figures of all steps added since the last close; starts the next window."""
        steps = self.steps
        images, correct = sum(step[1] for step in steps), sum(step[0] for step in steps)
        losses = [loss for _, _, loss in steps if loss is not None]
        seconds = max(time.monotonic() - self._started, 1e-9)
        busy = None if self._paused else (time.process_time() - self._computed) / seconds
        self._begin()
        return Figures(correct / max(images, 1), sum(losses) / len(losses) if losses else None, images / seconds,
                       seconds, busy)

    def pause(self, seconds: float) -> None:
        """Leave `seconds` that were not training (a validation) out of this window's speed."""
        self._started += seconds
        self._paused = True


SLOW_SECONDS, SLOW_BUSY = 20.0, 0.5


def slowness(figures: Figures, steps: int) -> Optional[str]:
    """What to say of a window in which this process, training on the CPU, hardly came to compute; None of others.

    Beside other work the threads of OpenMP wait for whichever of them has no processor: twenty steps took 16 minutes
    for 43 seconds of computing, and 12 seconds with one thread and half the batch.
    """
    if figures.busy is None or figures.seconds < SLOW_SECONDS or figures.busy >= SLOW_BUSY:
        return None
    return (f"{steps} steps took {figures.seconds:.0f} s, of which this process computed "
            f"{figures.busy * figures.seconds:.0f} s: other work has the processors, or the disk is waited for; beside "
            "other work OMP_NUM_THREADS=1 helps most, then a smaller --per-batch-size")


COLLAPSED = 0.02  # squared distance of unit embeddings: a cosine of 0.99


def collapse(distances: Sequence[np.ndarray]) -> Optional[str]:
    """What to say where the embeddings of all packs point one way; None where they do not.

    distances: squared distances (P,) of each pack's pairs. A margin on few identities, from random values and at a high
    rate, finds this solution: its loss stays near s (1 - cos m) + ln C and its accuracy near 0.5.
    """
    if not distances or max(float(np.median(one)) for one in distances) >= COLLAPSED:
        return None
    cosine = 1 - max(float(np.median(one)) for one in distances) / 2
    return (f"the embeddings point one way (median cosine of the pairs {cosine:.3f}): the loss has collapsed and will "
            "not recover; train --loss softmax first and start from it with --pretrained, or lower --lr or --scale")


# The learning rate as a function of the step, so that a resumed run misses no drop (docs/original.md, section 4.3).


FACTOR = 0.1


def learning_rate(step: int, base: float, drops: Sequence[int]) -> float:
    """Rate used for batch number `step`, counted from 1.

    The original multiplies by 0.1 after batch number d for each d in `drops`, so batch d itself still runs at the
    old rate. The products are taken one by one: 0.1 after one drop is 0.010000000000000002, as its logs print.
    """
    rate = base
    for drop in drops:
        if step > drop:
            rate *= FACTOR
    return rate


def dropped_after(step: int, drops: Sequence[int]) -> bool:
    """Whether the rate changes once batch number `step` is done."""
    return step in drops


# SIGTERM, SIGHUP and Ctrl-C let the step in hand finish, so that the run can save and stop cleanly.


CAUGHT = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class StopRequest:
    """While entered, a first signal only sets `number`; a second one acts as it would have without us."""

    def __init__(self) -> None:
        self.number: Optional[int] = None
        self._before: Dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        self._before = {number: signal.signal(number, self._note) for number in CAUGHT
                        if signal.getsignal(number) is not signal.SIG_IGN}  # under nohup a hang-up stays ignored
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        self._restore()

    def _note(self, number: int, frame: Optional[FrameType]) -> None:
        self.number = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


RATE_LINE_STEPS = 1000  # docs/original.md, section 4.4


class Finished(NamedTuple):
    """How a run ended: steps done, the figures of its last validation, and the signal that stopped it, if any."""

    step: int
    validated: List[Validated]
    signal: Optional[int]


class Trainer:
    """One run: what it trains, on which batches, where it writes, and how far it is."""

    def __init__(self, settings: Settings, model: Model, step: Step, batches: Batches,
                 validation: Validation, run: RunDirectory, log: LogWriter, position: Position,
                 workers: Workers = ALONE, on_processors: bool = True) -> None:
        self.settings, self.model, self.training_step, self.batches = settings, model, step, batches
        self.validation, self.run, self.log, self.position = validation, run, log, position
        self.workers = workers
        self._watch_speed = on_processors  # until it has been spoken of once
        self.signal: Optional[int] = None
        self.metrics = MetricsWriter(run.folder / "metrics.jsonl", position.step)
        self.window = Window(position.window)
        self.validated: List[Validated] = []
        self._good_step = position.step  # the last step at which everything was seen to be finite

    def train(self) -> Finished:
        """Run until the steps are done or a signal asks to stop; the last restart point is written in any case."""
        last = self.settings.schedule.max_steps
        target = last + 1 if self.settings.original and last else last
        shown = bar(target or None, "training", "steps", initial=self.position.step)
        with contextlib.ExitStack() as held, StopRequest() as stop, self.metrics:
            held.callback(self.run.release)
            while self.signal is None and not self._done(target):
                try:
                    self._epoch(target, stop, shown)
                except NotFinite:
                    self._stop_not_finite("an embedding")
            shown.close()
            reason = signal.Signals(self.signal).name if self.signal else "all steps done"
            if self._saved_step() != self.position.step:
                self._save_last()
            self.log(line.stopped(self.position.step, reason))
        return Finished(self.position.step, self.validated, self.signal)

    def _epoch(self, target: int, stop: StopRequest, shown: Any) -> None:
        epoch, started = self.position.epoch, time.monotonic()
        self.log(line.call_reset())
        for batch in self.batches.batches(epoch, self.position.batch):
            for text in self.batches.notes():
                self.log(line.note(text))
            rate = self._rate(self.position.step + 1)
            self.training_step.seed(self._seed(self.position.step + 1))
            outcome = self.training_step.forward_backward(batch.data, batch.label, batch.beside)
            self.training_step.update(rate)
            self.window.add(outcome)
            self.position = dataclasses.replace(self.position, step=self.position.step + 1,
                                                batch=self.position.batch + 1)
            shown.update(1)
            self._after_step(rate, shown)
            self.signal = self.workers.agree(stop.number)
            if self.signal is not None or self._done(target):
                return
        self._epoch_tail(epoch, time.monotonic() - started)
        self.position = dataclasses.replace(self.position, epoch=epoch + 1, batch=0)

    def _epoch_tail(self, epoch: int, seconds: float) -> None:
        """Epoch lines; the metric covers what follows the last window (docs/original.md, section 4.4)."""
        if len(self.window):
            figures = self._close_window()
            self.log(line.train_metric(epoch, figures.accuracy))
            if figures.loss is not None:
                self.log(line.train_metric(epoch, figures.loss, "lossvalue"))
        self.log(line.time_cost(epoch, seconds))

    def _after_step(self, rate: float, shown: Any) -> None:
        step, frequent = self.position.step, self.settings.logging.frequent
        batch = self.position.batch - 1
        if dropped_after(step, self.settings.schedule.lr_steps):
            self.log(line.lr_change(self._rate(step + 1)))
        if batch and batch % frequent == 0:
            figures = self._close_window()
            self.log(line.epoch_batch(self.position.epoch, batch - frequent, batch,
                                      figures.images_per_second, figures.accuracy, figures.loss))
            self.metrics.train(step, self.position.epoch, step * self.training_step.batch_size,
                               figures.images_per_second, rate, figures.accuracy, figures.loss)
            shown.set_postfix_str(f"acc {figures.accuracy:.3f}")
        if step % RATE_LINE_STEPS == 0:
            self.log(line.lr_batch_epoch(rate, batch, self.position.epoch))
        if step % self.settings.checkpoint.verbose == 0:
            self._validate_and_save()

    def _validate_and_save(self) -> None:
        self._check_finite()
        step, paused = self.position.step, time.monotonic()
        checkpoint = embedding_checkpoint(self.model, self.training_step)
        self.validated = []
        for validated in self.validation.run(checkpoint):
            self._report(validated)
        told = collapse([validated.result.distances for validated in self.validated])
        if told:
            self.log(line.note(told))
        accuracies = [validated.result.accuracy for validated in self.validated]
        decision = decide(self.settings.checkpoint.ckpt, self.position.rules, accuracies)
        self.position = dataclasses.replace(self.position, rules=decision.record)
        if decision.save_as is not None:
            self.log(line.saving(decision.save_as))
            self.log(line.saved_checkpoint(str(self.run.save_published(checkpoint, decision.save_as))))
        if decision.best:
            self.run.save_best(checkpoint, {"step": step, **dict(zip(self.validation.packs, accuracies))})
        if accuracies:
            self.log(line.accuracy_highest(step, decision.record.best_last))
        self._save_last()
        self.window.pause(time.monotonic() - paused)

    def _report(self, validated: Validated) -> None:
        target, result, seconds = validated
        step = self.position.step
        self.validated.append(validated)
        self.log(line.testing_verification())
        self.log(line.embedding_shape(2 * result.pairs, self.settings.network.emb_size))
        self.log(line.infer_time(seconds))
        self.log(line.xnorm(target, step, result.xnorm))
        self.log(line.accuracy_flip(target, step, result.accuracy, result.std))
        self.metrics.validation(step, self.position.epoch, step * self.training_step.batch_size, target,
                                result.accuracy, result.std, result.xnorm, auc=result.auc, seconds=seconds)

    def _close_window(self) -> Figures:
        steps, figures = len(self.window), self.window.close()
        slow = slowness(figures, steps) if self._watch_speed else None
        if slow:
            self.log(line.note(slow))
            self._watch_speed = False
        if not figures.finite and not self.settings.original:  # the original's is NaN where a probability underflows
            self._stop_not_finite("the loss")
        if not self.training_step.gradients_finite():
            self._stop_not_finite("a gradient")
        self._good_step = self.position.step
        return figures

    def _check_finite(self) -> None:
        """Nothing is saved that is not finite: the restart point and the best checkpoint stay good."""
        if not self.training_step.parameters_finite():
            self._stop_not_finite("a parameter")

    def _stop_not_finite(self, what: str) -> None:
        step = self.position.step
        self.log(line.not_finite(what, self._good_step, step))
        raise InputError(f"{self.run.folder}: {what} is no longer finite somewhere in steps {self._good_step + 1} to "
                         f"{step}; the checkpoint of step {self._saved_step()} is kept, go on with a lower --lr")

    def _save_last(self) -> None:
        self._check_finite()
        self.run.save_last(dataclasses.replace(self.position, window=self.window.steps),
                           {**self.training_step.restart_arrays(), **self.batches.restart_arrays()})
        self.log(line.saved_last(self.position.step))

    def _saved_step(self) -> int:
        return self.run.last_step()

    def _rate(self, step: int) -> float:
        return learning_rate(step, self.settings.optimizer.lr, self.settings.schedule.lr_steps)

    def _seed(self, step: int) -> int:
        """Dropout of one step depends on the seed and the step alone, so that a resumed run repeats it."""
        return (self.settings.data.seed * 1_000_003 + step) % (2 ** 31)

    def _done(self, target: int) -> bool:
        return bool(target) and self.position.step >= target


def start_lines(settings: Settings, gpus: int, folder: Path, records: RecordSet, flops: int) -> List[str]:
    """What a run prints first, in the original's order (docs/original.md, section 4.4)."""
    height, width, _ = settings.network.image_shape
    shuffled = records.properties is not None and records.properties.shuffled
    ranges = [line.header_label(*records.header), line.id2range(records.identities)] if records.header else []
    return [line.gpu_num(gpus) if gpus else line.use_cpu(), line.prefix(str(folder / "model")),
            line.image_size(height, width), line.num_classes(records.num_classes), line.called_with(_flat(settings)),
            line.network_flops(flops), line.loading_records(str(Path(settings.data.folder) / "train.rec"), shuffled),
            *ranges, line.image_count(records.images), line.rand_mirror(settings.data.data_rand_mirror),
            line.lr_steps(list(settings.schedule.lr_steps))]


def _flat(settings: Settings) -> Dict[str, Any]:
    """What the first lines say of the settings: all but what shapes network and loss."""
    flat: Dict[str, Any] = {"image_shape": settings.network.image_shape}
    for section in dataclasses.fields(settings):
        if section.name not in ("network", "loss"):
            flat.update(dataclasses.asdict(getattr(settings, section.name)))
    del flat["pretrained"]  # it has lines of its own
    return flat
