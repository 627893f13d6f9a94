"""A new record set of chosen images of another: classes numbered again, names, ages and bytes kept."""
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

from arcface_mxnet.datasets import manifest
from arcface_mxnet.datasets.ages import carry_ages
from arcface_mxnet.datasets.identity_names import read_names, write_names
from arcface_mxnet.datasets.record_writer import RecordWriter
from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.datasets.whole_folder import whole_folder
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import PathLike
from arcface_mxnet.runtime.progress import progress

import numpy as np

Group = Tuple[int, Sequence[int]]  # the class that names the identity, and the positions of its images in records.keys


def positions_by_class(records: RecordSet) -> Dict[int, np.ndarray]:
    """Class -> positions (int64) of its images in `records.keys`, in order of class."""
    order = np.argsort(records.labels, kind="stable")
    classes, first = np.unique(records.labels[order], return_index=True)
    return dict(zip(classes.tolist(), np.split(order, first[1:])))


def write_selected(records: RecordSet, groups: List[Group], out: PathLike, why: str,
                   lists: Optional[Mapping[str, str]] = None) -> str:
    """Write the groups as classes 0, 1, ... of a new set in `out` (whole or absent); returns its manifest's short hash.

    `why` goes into the manifest; `lists` are texts by file name to stand beside the set.
    Raises InputError when nothing is left or `out` is taken.
    """
    kept = [group for group in groups if len(group[1])]
    if not kept:
        raise InputError(f"{records.path}: nothing would be left; loosen the thresholds")
    names = read_names(records.folder)
    with whole_folder(out) as staging:
        with RecordWriter(staging, records.image_size or (112, 112)) as writer:
            for label, (_, places) in enumerate(progress(kept, len(kept), "writing", "identities")):
                writer.add(label, (records.read(int(records.keys[place]))[1] for place in places))
        carry_ages(staging, [records], ((0, int(records.keys[place])) for _, places in kept for place in places))
        for name, text in (lists or {}).items():
            (staging / name).write_bytes(text.encode("utf-8", "surrogateescape"))
        write_names(staging, {label: names.get(old, str(old)) for label, (old, _) in enumerate(kept)})
        return manifest.describe_set(staging, f"{records.path}: {why}", "as its source")
