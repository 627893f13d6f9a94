"""Train a face embedding: flags -> settings -> Trainer.

One command on one or several GPUs or on the CPU. Networks, losses, datasets and recipes are named presets
(recognition/presets.py); every flag overrides a preset.
"""
import sys
from typing import Optional, Sequence

from arcface_mxnet.logs.writer import callback_of
from arcface_mxnet.recognition.engine.setup import make_trainer
from arcface_mxnet.recognition.engine.trainer import Finished, Trainer
from arcface_mxnet.recognition.listing import listing
from arcface_mxnet.recognition.presets import DATASETS, LOSSES, NETWORKS, RECIPES
from arcface_mxnet.recognition.settings import sections
from arcface_mxnet.runtime.arguments import Parser
from arcface_mxnet.runtime.errors import close, run_command
from arcface_mxnet.runtime.sections import add_flags, listed

EXAMPLES = f"""Defaults are the original's; presets go before them, flags before presets.

examples:
  python recognition/train.py --network r100 --loss arcface --dataset emore --gpus 0,1,2,3
  python recognition/train.py --network y1 --loss arcface --dataset own --data-dir faces --pretrained models/y1,0
  python recognition/train.py --resume --run-dir runs/r100-arcface-emore

networks: {close(list(NETWORKS))}
losses:   {close(list(LOSSES))}
datasets: {close(list(DATASETS))}
recipes:  {close(list(RECIPES))}
"""


def build_parser() -> Parser:
    """The command line, from the sections of the settings; a flag that is not given stays None: presets apply."""
    parser = Parser(description=__doc__, epilog=EXAMPLES)
    add = parser.add_argument
    add("--list", action="store_true", default=None, help="print every network, loss, dataset and recipe, and stop")
    add("--run-dir", help="where settings, log, metrics and checkpoints go (default runs/<network>-<loss>-<dataset>)")
    add("--gpus", "--devices", dest="gpus", help="0,1,...; cpu; cpu:N for N shares of a batch on the CPU; on PyTorch "
        "cuda:N or mps too (default: every usable GPU, else the CPU)")
    add("--resume", action="store_true", default=None, help="continue the run in --run-dir from its last restart point")
    add("--callback", action="append", metavar="MODULE:NAME", help="call this function with every record of "
        "metrics.jsonl (MLflow, Weights & Biases, your own); may be given more than once, and is no setting of the run")
    for name, kind in sections().items():
        add_flags(parser, kind, "presets" if name == "names" else name)
    add("--margins", metavar="M1,M2,M3", type=listed(float), help="of the loss: cos(m1 theta + m2) - m3, m2 in radians")
    parser.renamed("--scale", to="--logit-scale")
    return parser


def summary(trainer: Trainer, finished: Finished) -> str:
    """The table a run ends with: accuracy of each verification set at the last validation, and where everything is."""
    rows = [f"{'set':<12}{'accuracy':>10}{'std':>9}{'AUC':>9}{'XNorm':>9}{'pairs':>8}"]
    for target, result, _ in finished.validated:
        rows.append(f"{target:<12}{result.accuracy:>10.4f}{result.std:>9.4f}{result.auc:>9.4f}{result.xnorm:>9.2f}"
                    f"{result.pairs:>8}")
    if not finished.validated:
        rows = ["no validation: fewer steps than --verbose, or no verification pack"]
    return "\n".join([*rows, f"run directory: {trainer.run.folder}"])


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Train; returns 0 when all steps are done, 128 + signal when a signal stopped the run after saving."""
    given = {name: value for name, value in vars(build_parser().parse_args(argv)).items() if value is not None}
    if given.get("list"):
        sys.stdout.write(listing())
        return 0
    callbacks = [callback_of(text) for text in given.pop("callback", [])]
    trainer = make_trainer(given)
    trainer.metrics.callbacks += callbacks
    finished = trainer.train()
    sys.stdout.write(summary(trainer, finished) + "\n")
    return 128 + finished.signal if finished.signal else 0


if __name__ == "__main__":
    run_command(main)
