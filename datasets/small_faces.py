"""The built-in faces at 32x32, so that a table of many runs is minutes and not hours on two cores."""
import shutil
from pathlib import Path
from typing import List

from arcface_mxnet.datasets.ages import AGES_FILE
from arcface_mxnet.datasets.images import decode_bgr, encode_jpeg
from arcface_mxnet.datasets.manifest import describe_pack, describe_set
from arcface_mxnet.datasets.pairs import read_pack, write_pack
from arcface_mxnet.datasets.record_writer import RecordWriter
from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.datasets.synthetic import PACKS, write_dataset
from arcface_mxnet.datasets.whole_folder import whole_folder
from arcface_mxnet.runtime.progress import progress

import cv2

SIDE = 32
QUALITY = 95
SOURCE = f"drawn by datasets/synthetic.py, reduced to {SIDE}x{SIDE} by datasets/small_faces.py"
ALIGNMENT = "as the built-in faces"


def reduced(encoded: bytes) -> bytes:
    """One JPEG at 32x32 by area averaging, quality 95."""
    return encode_jpeg(cv2.resize(decode_bgr(encoded), (SIDE, SIDE), interpolation=cv2.INTER_AREA), QUALITY)


def small_faces(work: Path, identities: int = 200, images: int = 40, pairs: int = 600, seed: int = 1) -> Path:
    """The folder with the reduced training set and packs, made once below `work` from the built-in faces there."""
    name = f"{identities}x{images}-{pairs}-{seed}"
    target = work / f"faces{SIDE}-{name}"
    if target.is_dir():
        return target
    full = write_dataset(work / f"faces112-{name}", identities, images, pairs, seed)
    records = RecordSet.open(full)
    with whole_folder(target) as staging:
        for name in PACKS:
            pack = read_pack(full / f"{name}.bin")
            write_pack(staging / f"{name}.bin", [reduced(image) for image in pack.images], list(pack.same))
            describe_pack(staging / f"{name}.bin", SOURCE, ALIGNMENT)
        with RecordWriter(staging, (SIDE, SIDE)) as writer:
            waiting: List[bytes] = []
            following = list(records.labels[1:]) + [-1]
            for key, label, after in progress(zip(records.keys, records.labels, following), len(records.keys),
                                              "reducing faces", "images"):
                waiting.append(reduced(records.read(int(key))[1]))
                if after != label:
                    writer.add(int(label), waiting)
                    waiting = []
        shutil.copyfile(full / AGES_FILE, staging / AGES_FILE)  # same images, same order, same keys
        describe_set(staging, SOURCE, ALIGNMENT)
    return target
