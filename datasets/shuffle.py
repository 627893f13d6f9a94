"""Shuffle a record set into one that is read from front to back, as the original's ImageRecordIter path wants it.

Random order, scalar labels, the position as id, no index; `property` of four lines (docs/original.md, section 9.4).
"""
import argparse
import datetime
import shutil
import sys
from pathlib import Path
from typing import Optional

from arcface_mxnet.datasets import manifest
from arcface_mxnet.datasets.ages import carry_ages
from arcface_mxnet.datasets.record_writer import write_property
from arcface_mxnet.datasets.recordio import frame, pack_image
from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.datasets.whole_folder import must_be_free, whole_folder
from arcface_mxnet.runtime.files import PathLike
from arcface_mxnet.runtime.progress import progress

import numpy as np

EXAMPLE = "  python datasets/prepare.py shuffle data/faces_emore data/faces_emore_shuffled --copy-packs"


def shuffle(source: PathLike, out: PathLike, seed: int = 0, copy_packs: bool = False) -> str:
    """Write the images of a record set in random order (a function of `seed`) to the folder `out`.

    copy_packs: copy the verification packs beside the set too. Returns the short hash of the new manifest. Raises
    InputError where the source is unusable or something stands at `out`; `out` appears when it is whole.
    """
    with RecordSet.open(source) as records, whole_folder(out) as folder:
        keys = np.random.default_rng(seed).permutation(records.keys)
        with open(folder / "train.rec", "wb") as stream:
            for place, key in enumerate(progress(keys.tolist(), len(keys), "shuffling")):
                label, encoded = records.read(key)
                stream.write(frame(pack_image(float(label), place, encoded)))
        write_property(folder / "property", records.num_classes, records.image_size or (112, 112), records.images,
                       datetime.datetime.now().isoformat(" ", "seconds"))
        carry_ages(folder, [records], ((0, key) for key in keys.tolist()), first=0)
        short = manifest.describe_set(folder, f"{records.path} shuffled with seed {seed}", "as its source")
        for pack in sorted(records.folder.glob("*.bin")) if copy_packs else []:
            shutil.copyfile(pack, folder / pack.name)
            short = manifest.describe_pack(folder / pack.name, str(pack), "as its source")
    return short


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the verb."""
    parser.add_argument("source", metavar="SET", help="folder or .rec of the set")
    parser.add_argument("out", metavar="OUT", help="folder of the shuffled set; must not exist yet")
    parser.add_argument("--seed", type=int, default=0, help="another seed, another order (0)")
    parser.add_argument("--copy-packs", action="store_true", help="copy the .bin packs beside the set too")


def run(args: argparse.Namespace) -> Optional[int]:
    """The verb."""
    must_be_free(Path(args.out))
    short = shuffle(args.source, args.out, args.seed, args.copy_packs)
    sys.stdout.write(f"{args.out}: shuffled, manifest {short}\n")
    return 0
