"""Classification, verification, classification (CVC): two images a person, very many identities (IJCV 2019).

1. --web-dir: AM-Softmax on a set with many images a person. 2. --data-dir: triplets on the pairs, from 1.
3. --data-dir: DP-softmax over all its identities, from 2, the centres imprinted from the embeddings of 2.
"""
import argparse
import sys
from pathlib import Path
from typing import Any, Dict, Optional, Sequence

from arcface_mxnet.evaluation.embedder import Embedder
from arcface_mxnet.evaluation.extraction import record_embeddings
from arcface_mxnet.graph.checkpoint import Checkpoint, save
from arcface_mxnet.recognition.engine.checkpoint import network_of
from arcface_mxnet.recognition.engine.setup import make_trainer
from arcface_mxnet.recognition.losses import LossSettings, attach
from arcface_mxnet.recognition.losses.dp_softmax import imprint
from arcface_mxnet.runtime.arguments import Parser
from arcface_mxnet.runtime.errors import InputError, run_command

EXAMPLE = "example:\n  python recognition/cvc.py --web-dir data/faces_emore --data-dir data/id_spot --run-dir runs/cvc"
STAGES = ("amsoftmax", "facenet", "dpsoftmax")
PAIR_IMAGES = 2


def stage(flags: argparse.Namespace, number: int, data: str, pretrained: str) -> Path:
    """Train stage 0, 1 or 2 into its own folder; returns it. Raises InputError when a signal stopped it."""
    loss = STAGES[number]
    folder = Path(flags.run_dir) / f"{number + 1}-{loss}"
    given: Dict[str, Any] = {"network": flags.network, "loss": loss, "dataset": "own", "data_dir": data,
                             "run_dir": str(folder), "max_steps": flags.max_steps, "lr": flags.lr, "gpus": flags.gpus,
                             "per_batch_size": flags.per_batch_size, "verbose": flags.max_steps, "ckpt": 0,
                             "lr_steps": (), "images_per_identity": PAIR_IMAGES}
    if pretrained:
        given["pretrained"] = pretrained
    finished = make_trainer({name: value for name, value in given.items() if value is not None}).train()
    if finished.signal:
        raise InputError(f"{folder}: stopped at step {finished.step}; go on with train.py --resume --run-dir {folder}")
    return folder


def with_centres(per_batch_size: int, checkpoint: Checkpoint, data: str, prefix: Path) -> str:
    """Save a network with centres imprinted from its embeddings of a set; returns "PREFIX,0" for --pretrained."""
    rows, labels = record_embeddings(Path(data), Embedder(checkpoint, batch_size=64).embed)
    centres = imprint(rows, labels, int(labels.max()) + 1)
    head = attach(checkpoint.symbol, LossSettings(), len(centres), per_batch_size, rows.shape[1])
    arguments = {**checkpoint.args, "fc7_weight": centres}
    save(Checkpoint(head.symbol, arguments, checkpoint.aux), str(prefix), 0)
    return f"{prefix},0"


def without_centres(checkpoint: Checkpoint, prefix: Path) -> str:
    """Save a network alone; returns "PREFIX,0" for --pretrained."""
    save(checkpoint, str(prefix), 0)
    return f"{prefix},0"


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(description=__doc__, epilog=EXAMPLE)
    parser.add_argument("--web-dir", required=True, help="set with many images a person")
    parser.add_argument("--data-dir", required=True, help="set with two images a person")
    parser.add_argument("--run-dir", required=True, help="folder of the three runs")
    parser.add_argument("--network", default="r50", help="network preset")
    parser.add_argument("--gpus", help="as in train.py")
    parser.add_argument("--max-steps", type=int, default=20000, help="steps of each stage")
    parser.add_argument("--per-batch-size", type=int, default=128, help="images of a device; even, for whole pairs")
    parser.add_argument("--lr", type=float, default=0.05, help="rate of each stage")
    return parser


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the three stages one after another."""
    flags = build_parser().parse_args(argv)
    first = stage(flags, 0, flags.web_dir, "")
    _, network, _ = network_of(first)
    second = stage(flags, 1, flags.data_dir, without_centres(network, first / "network"))
    settings, network, _ = network_of(second)
    start = with_centres(settings.data.per_batch_size, network, flags.data_dir, second / "imprinted")
    third = stage(flags, 2, flags.data_dir, start)
    sys.stdout.write(f"{third}\n")
    return 0


if __name__ == "__main__":
    run_command(main)
