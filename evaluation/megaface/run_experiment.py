"""The devkit's run_experiment.py in Python 3: the same command line, the same files, with or without its binaries.

`Identification` and `FuseResults` run where they are installed (../bin beside the working folder, as in the original);
elsewhere the same results are computed here, without score matrices on disk and in a tenth of the memory.
"""
import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import List, NamedTuple, Optional, Sequence

from arcface_mxnet.evaluation.command import parser
from arcface_mxnet.evaluation.megaface.devkit import evaluate_devkit, write_files
from arcface_mxnet.evaluation.megaface.features import read_tree
from arcface_mxnet.evaluation.megaface.inputs import SIZES
from arcface_mxnet.evaluation.megaface.lists import DISTRACTOR_LIST, ProbeList, read_distractors, read_probes
from arcface_mxnet.evaluation.megaface.pairs import Features
from arcface_mxnet.runtime.errors import InputError, run_command
from arcface_mxnet.runtime.files import atomic_open

import numpy as np

MODEL = os.path.join("..", "models", "jb_identity.bin")
BINARIES = os.path.join("..", "bin")
LISTS = os.path.join("..", "templatelists")
PROBE_LIST = os.path.join(LISTS, "facescrub_features_list.json")
IDENTITY_MODEL = bytes(48)


class Names(NamedTuple):
    """The devkit's file names for one algorithm."""

    out: Path
    probe: str
    distractor: str
    algorithm: str

    def other(self, name: str) -> Path:
        """An intermediate file."""
        return self.out / "otherFiles" / name

    def probe_features(self) -> Path:
        """The list of the probes' feature files."""
        return self.other(f"{self.probe}_features_{self.algorithm}")

    def distractor_features(self, size: int, number: int) -> Path:
        """The list of the distractors' feature files."""
        return self.other(f"{self.distractor}_features_{self.algorithm}_{size}_{number}")

    def result(self, kind: str, size: int, number: int) -> Path:
        """cmc_*.json or matches_*.json."""
        return self.out / f"{kind}_{self.probe}_{self.distractor}_{self.algorithm}_{size}_{number}.json"


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Run every size of every set."""
    options = _flags().parse_args(argv)
    if options.num_sets < 1:
        raise InputError(f"--num_sets {options.num_sets}: at least 1")
    for folder in (options.distractor_feature_path, options.probe_feature_path):
        if not os.path.isdir(folder):
            raise InputError(f"{folder}: no such folder of features")
    names = Names(Path(options.out_root), os.path.basename(options.probe_list).split("_")[0],
                  DISTRACTOR_LIST.split("_")[0], options.file_ending.split(".")[0].strip("_"))
    (names.out / "otherFiles").mkdir(parents=True, exist_ok=True)
    probes = read_probes(options.probe_list)
    sets = [(size, number) for number in range(1, options.num_sets + 1) for size in options.sizes]
    for size, number in sets:
        paths = read_distractors(options.distractor_list_path, size, number)
        _write_list(names.distractor_features(size, number), options.distractor_feature_path, paths,
                    options.file_ending)
    _write_list(names.probe_features(), options.probe_feature_path, probes.paths, options.file_ending, probes.ids)
    if all(os.path.isfile(os.path.join(options.bin, name)) for name in ("Identification", "FuseResults")):
        _run_binaries(options, names, sets)
    else:
        _run_here(options, names, probes, sets)


def _run_here(options: argparse.Namespace, names: Names, probes: ProbeList, sets: "List[tuple[int, int]]") -> None:
    """Compute the results without the binaries."""
    if os.path.exists(options.model) and Path(options.model).read_bytes() != IDENTITY_MODEL:
        raise InputError(f"-m {options.model}: without the devkit's binaries only the identity model can be computed; "
                         f"put them into {options.bin}, or leave -m out")
    features = Features(read_tree(options.probe_feature_path, probes.paths, options.file_ending), unit=False)
    for size, number in sets:
        paths = read_distractors(options.distractor_list_path, size, number)
        distractors = read_tree(options.distractor_feature_path, paths, options.file_ending,
                                dimensions=features.rows.shape[1])
        result = evaluate_devkit(features, np.array(probes.ids), Features(distractors, unit=False))
        write_files(result, names.result("cmc", size, number), names.result("matches", size, number))
        sys.stdout.write(f"size {size} set {number}\nRank 1: {result.rank1:.6g}\n")


def _run_binaries(options: argparse.Namespace, names: Names, sets: "List[tuple[int, int]]") -> None:
    """Run the devkit's own programs, as the original does."""
    identify, fuse = (os.path.join(options.bin, name) for name in ("Identification", "FuseResults"))
    own_scores = names.other(f"{names.probe}_{names.probe}_{names.algorithm}.bin")
    _call([identify, options.model, "path", names.probe_features(), names.probe_features(), own_scores])
    for size, number in sets:
        scores = names.other(f"{names.probe}_{names.distractor}_{names.algorithm}_{size}_{number}.bin")
        _call([identify, options.model, "path", names.distractor_features(size, number), names.probe_features(),
               scores])
        _call([fuse, scores, own_scores, names.probe_features(), str(size), names.result("cmc", size, number),
               names.result("matches", size, number)])
        if options.delete_matrices:
            os.remove(scores)


def _call(command: Sequence["str | os.PathLike[str]"]) -> None:
    try:
        status = subprocess.run([os.fspath(word) for word in command], check=False).returncode
    except OSError as error:
        raise InputError(f"{command[0]}: cannot be run ({error.strerror}); make it executable, "
                         "or move it away to compute here") from None
    if status:
        raise InputError(f"{command[0]}: stopped with status {status}; it needs OpenCV 2.4 and TBB 2, "
                         "move it away to compute here")


def _write_list(target: Path, root: str, paths: Sequence[str], ending: str, ids: Sequence[str] = ()) -> None:
    """The devkit's list of feature files; raises InputError when some are missing."""
    files = [os.path.join(root, path + ending) for path in paths]
    missing = [path for path in files if not os.path.isfile(path)]
    if missing:
        raise InputError(f"{len(missing)} of {len(files)} features are missing, the first: {missing[0]}")
    with atomic_open(target, "w") as stream:
        json.dump({"path": files, **({"id": list(ids)} if ids else {})}, stream, sort_keys=True, indent=4)


def _flags() -> argparse.ArgumentParser:
    flags = parser("Run the MegaFace challenge on feature files, as the devkit's run_experiment.py.",
                   "python evaluation/megaface/run_experiment.py feature_out_clean/megaface "
                   "feature_out_clean/facescrub _insightface.bin results -s 1000000 "
                   "-p ../templatelists/facescrub_features_list.json")
    flags.add_argument("distractor_feature_path", help="folder of the MegaFace features")
    flags.add_argument("probe_feature_path", help="folder of the FaceScrub features")
    flags.add_argument("file_ending", help="what follows the photo's name, for example _insightface.bin")
    flags.add_argument("out_root", help="folder for results and, under otherFiles, lists and score matrices")
    flags.add_argument("-s", "--sizes", type=int, nargs="+", default=SIZES, help="numbers of distractors")
    flags.add_argument("-m", "--model", default=MODEL, help=f"scoring model (default {MODEL})")
    flags.add_argument("-ns", "--num_sets", type=int, default=1, help="distractor sets to run (default 1)")
    flags.add_argument("-d", "--delete_matrices", action="store_true",
                       help="delete the binaries' score matrices; without binaries there are none")
    flags.add_argument("-p", "--probe_list", default=PROBE_LIST, help=f"probe list (default {PROBE_LIST})")
    flags.add_argument("-dlp", "--distractor_list_path", default=LISTS, help=f"distractor lists (default {LISTS})")
    flags.add_argument("--bin", default=BINARIES, help=f"folder of Identification and FuseResults (default {BINARIES})")
    return flags


if __name__ == "__main__":
    run_command(main)
