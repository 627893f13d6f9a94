"""The drop step of sub-centre ArcFace: from a run with K centres and its set to the set without the images far off.

The same rule as `prepare.py clean --centres`, with embeddings and centres taken from the run. Identities that lose
every image are left out and the others renumbered; plain ArcFace is then trained on what is left.
"""
import sys
from pathlib import Path
from typing import Optional, Sequence

from arcface_mxnet.datasets.clean import MAX_ANGLE, Findings, per_class, rank_images, select
from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.datasets.subset_merge import write_selected
from arcface_mxnet.engines.base import Place
from arcface_mxnet.evaluation.embedder import Embedder
from arcface_mxnet.evaluation.extraction import record_embeddings
from arcface_mxnet.recognition.engine.checkpoint import network_of
from arcface_mxnet.recognition.losses.subcenter_arcface import SUBCENTRES
from arcface_mxnet.runtime.arguments import Parser
from arcface_mxnet.runtime.errors import InputError, run_command

EXAMPLE = "example:\n  python recognition/drop.py --run-dir runs/r50-subcentre --data-dir data/faces_emore --out clean"


def rank_by_run(run: Path, records: RecordSet, where: Optional[Place] = None) -> Findings:
    """Each image's angle to the dominant sub-centre of its identity, embeddings and centres by a run's last state.

    `where`: the engine and devices that embed, None for the default.
    Raises InputError when the run was not trained with sub-centres, or on another set.
    """
    settings, checkpoint, centres = network_of(run)
    if settings.loss.loss_name not in SUBCENTRES or centres is None:
        raise InputError(f"--run-dir {run}: trained with {settings.loss.loss_name}; the drop step needs "
                         "a run with --loss subcentre")
    rows, _ = record_embeddings(records.folder, Embedder(checkpoint, where, batch_size=64).embed)
    return rank_images(records, rows, run, given=per_class(centres, records, rows.shape[1], run))


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(description=__doc__, epilog=EXAMPLE)
    parser.add_argument("--run-dir", required=True, help="run trained with --loss subcentre")
    parser.add_argument("--data-dir", required=True, help="the set it was trained on")
    parser.add_argument("--out", required=True, help="folder of the new set")
    parser.add_argument("--degrees", type=float, default=MAX_ANGLE,
                        help="drop beyond this angle to the dominant centre (default %(default)g)")
    return parser


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Drop the images beyond the angle and say how many went."""
    flags = build_parser().parse_args(argv)
    with RecordSet.open(flags.data_dir) as records:
        groups = select(records, rank_by_run(Path(flags.run_dir), records), flags.degrees)
        if not groups:
            raise InputError(f"--degrees {flags.degrees}: no image is that near; train longer or take a wider angle")
        write_selected(records, groups, Path(flags.out), f"without images beyond {flags.degrees} degrees")
        left = sum(len(places) for _, places in groups)
        sys.stdout.write(f"kept {left} of {records.images} images, {len(groups)} of {records.identities} identities: "
                         f"{flags.out}\n")
    return 0


if __name__ == "__main__":
    run_command(main)
