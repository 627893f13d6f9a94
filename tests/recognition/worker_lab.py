"""One worker of a distributed run over head_lab's network: `python worker_lab.py HEAD OUT STEPS [RESTART]`."""
import sys
from pathlib import Path

from arcface_mxnet.engines.mxnet import parameter_server
from arcface_mxnet.engines.mxnet.class_centres import HeadSizes
from arcface_mxnet.engines.mxnet.data_parallel import DataParallel
from arcface_mxnet.engines.mxnet.program import executed
from arcface_mxnet.engines.mxnet.workers import join
from arcface_mxnet.engines.sampling import Rule
from arcface_mxnet.graph.params_file import read_arrays, write_arrays
from arcface_mxnet.recognition.engine.model import backbone_program, training_program
from arcface_mxnet.recognition.engine.setup import centres_per_class
from arcface_mxnet.recognition.losses import LossSettings
from tests.recognition import head_lab as lab

CLASSES, RULE = 100, Rule(3, 0.2)
LOSSES = {"plain": LossSettings(loss_m2=0.5), "sampled": LossSettings(loss_name="subcentre", loss_m2=0.5, loss_K=3)}


def engine(head: str, workers, contexts: int = 1):
    loss, share = LOSSES[head], lab.BATCH // workers.size
    made = lab.model(loss, share // contexts, CLASSES)
    where, images = lab.contexts(contexts), (share // contexts, lab.SHAPE[2], *lab.SHAPE[:2])
    if head == "plain":
        return DataParallel(executed(training_program(made), images), where, share, lab.SHAPE, workers.store)
    network = DataParallel(executed(backbone_program(made), images), where, share, lab.SHAPE, workers.store)
    sizes = HeadSizes(CLASSES, centres_per_class(loss), share, lab.SIZE)
    centres = parameter_server.ServerCentres(sizes, loss.loss_s, where, RULE, workers, 2)
    return lab.beside(network, centres, loss)


def main(head: str, out: str, steps: int, restart: str = "") -> None:
    parameter_server.KEY_CLASSES = 32  # several keys
    workers = join("dist_sync_device")
    sys.stdout.write(f"worker {workers.rank} of {workers.size}\n")
    sys.stdout.flush()
    step = engine(head, workers, contexts=2 if head == "sampled" else 1)
    first = 0
    if restart:
        step.set_optimizer(0.9, 5e-4, "uniform")
        step.restart(read_arrays(restart))
        first = int(Path(restart).stem)
    else:
        lab.start(step, LOSSES[head], CLASSES)
    share = lab.BATCH // workers.size
    rows = slice(workers.rank * share, (workers.rank + 1) * share)
    for number in range(first, first + steps):
        data, label = lab.batch(number, CLASSES)
        step.forward_backward(data[rows], label[rows])
        step.update(0.02)
    arrays = step.restart_arrays()
    if workers.rank == 0:
        write_arrays(out, arrays)
    assert workers.agree(15 if workers.rank else None) == 15


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), *sys.argv[4:])
