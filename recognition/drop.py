"""The drop step of sub-centre ArcFace: from a run with K centres and its set to the set without the images far off.

Identities that lose every image are left out and the others renumbered; plain ArcFace is then trained on what is left.
"""
import argparse
import sys
from pathlib import Path
from typing import Optional, Sequence

from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.datasets.subset_merge import positions_by_class, write_selected
from arcface_mxnet.recognition.losses.subcenter_arcface import images_near_dominant
from arcface_mxnet.recognition.reproduction.training_runs import network_of, training_embeddings
from arcface_mxnet.runtime.errors import InputError, run_command

import numpy as np

EXAMPLE = "example: python recognition/drop.py --run-dir runs/r50-subcentre --data-dir data/faces_emore --out clean"


def write_kept(records: RecordSet, kept: np.ndarray, out: Path, why: str) -> int:
    """Write the kept images (bool, by position) as a set of its own, labels renumbered; returns the identities left."""
    groups = [(label, places[kept[places]].tolist()) for label, places in positions_by_class(records).items()]
    left = [group for group in groups if group[1]]
    write_selected(records, left, out, why)
    return len(left)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Drop the images beyond the angle and say how many went."""
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run-dir", required=True, help="run trained with --loss subcentre")
    parser.add_argument("--data-dir", required=True, help="the set it was trained on")
    parser.add_argument("--out", required=True, help="folder of the new set")
    parser.add_argument("--degrees", type=float, default=75.0, help="angle to the dominant centre (default 75)")
    flags = parser.parse_args(argv)
    settings, checkpoint, centres = network_of(Path(flags.run_dir))
    if settings.loss.loss_name != "subcentre" or centres is None:
        raise InputError(f"--run-dir {flags.run_dir}: trained with {settings.loss.loss_name}; the drop step needs "
                         "a run with --loss subcentre")
    records = RecordSet.open(flags.data_dir)
    rows, labels = training_embeddings(checkpoint, Path(flags.data_dir))
    kept = images_near_dominant(rows, labels, centres, settings.loss.loss_K, flags.degrees)
    if not kept.any():
        raise InputError(f"--degrees {flags.degrees}: no image is that near; train longer or take a wider angle")
    left = write_kept(records, kept, Path(flags.out), f"without images beyond {flags.degrees} degrees")
    sys.stdout.write(f"kept {int(kept.sum())} of {len(kept)} images, {left} of {len(np.unique(labels))} identities: "
                     f"{flags.out}\n")
    return 0


if __name__ == "__main__":
    run_command(main)
