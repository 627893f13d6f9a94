"""What the evaluation commands share: the flags that name a model or saved features, and reading them."""
import argparse
from typing import Dict, List, Optional

from arcface_mxnet.datasets.align import DETECTORS, open_detector
from arcface_mxnet.datasets.detect import TERMS, Detector
from arcface_mxnet.engines.base import AUTO, ENGINES, Numerics, Place
from arcface_mxnet.evaluation.embedder import BATCH, FLIPS, Embedder, is_onnx, place_for
from arcface_mxnet.evaluation.features import check_embeddings
from arcface_mxnet.evaluation.results import file_hashes
from arcface_mxnet.graph.checkpoint import Trust, parse_model, symbol_path, values_path
from arcface_mxnet.runtime.arguments import Parser, height_and_width
from arcface_mxnet.runtime.arrays import load_array
from arcface_mxnet.runtime.errors import InputError, notice
from arcface_mxnet.runtime.files import PathLike
from arcface_mxnet.runtime.text import read_lines

import numpy as np

MODEL_HELP = ("checkpoint, a folder of `export safetensors`, or an ONNX file; several joined by | are L2-normalised "
              "and concatenated")
PRECISIONS = FULL, *_ = ("float32", "tf32", "bf16", "fp16")


def parser(description: str, example: str) -> Parser:
    """A parser whose --help ends with an example."""
    return Parser(description, f"example:\n  {example}")


def add_model_flags(flags: argparse.ArgumentParser, features: Optional[str] = None) -> None:
    """--model or (where `features` describes it) --features, and how the network runs."""
    source = flags.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", metavar="PREFIX,EPOCH", help=MODEL_HELP)
    if features:
        source.add_argument("--features", metavar="FILE.npy", help=features)
    add_network_flags(flags)


def add_network_flags(flags: argparse._ActionsContainer) -> None:
    """--batch-size, --engine, --gpus, --exact, and what the checkpoint may hold."""
    flags.add_argument("--batch-size", type=int, help=f"images per forward pass and device (default {BATCH})")
    add_place_flags(flags)
    flags.add_argument("--exact", action="store_true", help="run the stored graph untouched, not its faster equal")
    add_trust_flags(flags)


def add_trust_flags(flags: argparse._ActionsContainer) -> None:
    """--allow-operator, --allow-nonfinite."""
    flags.add_argument("--allow-operator", action="append", default=[], metavar="NAME",
                       help="run this operator although nothing is known about it: for a graph you trust; may be "
                       "given more than once")
    flags.add_argument("--allow-nonfinite", action="store_true", help="take parameters that are NaN or infinite")


def trust_of(options: argparse.Namespace) -> Trust:
    """What add_trust_flags let through."""
    return Trust(tuple(options.allow_operator), options.allow_nonfinite)


def add_place_flags(flags: argparse._ActionsContainer) -> None:
    """--engine, --gpus, --precision, --compile."""
    flags.add_argument("--engine", help=f"what runs the network: {', '.join(ENGINES)} (default: the first "
                       f"installed), or {AUTO}: all are measured on the first batch, the fastest that agrees is taken")
    flags.add_argument("--gpus", "--devices", help="0,1,... or cpu or cpu:N; with --engine torch cuda:N or mps too "
                       "(default: every GPU, else the CPU)")
    flags.add_argument("--precision", default=FULL, choices=PRECISIONS, help="PyTorch: bits of the convolutions "
                       f"(default {FULL})")
    flags.add_argument("--compile", action="store_true", help="PyTorch: kernels made for the network, in the first "
                       "minutes")


def numerics_of(options: argparse.Namespace) -> Numerics:
    """How numbers are computed, from the flags of add_place_flags."""
    reduced = {} if options.precision == FULL else {options.precision: True}
    return Numerics(compile=options.compile, **reduced)


def place_of(options: argparse.Namespace) -> Place:
    """The engine and devices of add_place_flags; InputError for what is not there."""
    return place_for(getattr(options, "model", None), options.engine, options.gpus)


def add_size_flag(flags: Parser, group: Optional[argparse._ArgumentGroup] = None) -> None:
    """--size, once --image-size; in a group of the flags where one is given."""
    (group or flags).add_argument("--size", type=height_and_width, default="112,112", metavar="H,W",
                                  help="height and width the network takes (default 112,112)")
    flags.renamed("--image-size", to="--size")


def add_flip_flag(flags: argparse._ActionsContainer, default: str = "sum") -> None:
    """--flip."""
    flags.add_argument("--flip", default=default, choices=FLIPS,
                       help=f"what is made of the mirror image (default {default})")


def add_detector_flags(flags: argparse._ActionsContainer) -> None:
    """--detector, --detector-model."""
    flags.add_argument("--detector", choices=DETECTORS, help="the pictures are photographs: find and align the face "
                       "that each is of")
    flags.add_argument("--detector-model", metavar="PATH", help="the detector's .onnx file, or MTCNN's folder (det1 to "
                       f"det4); {TERMS}")


def detector_of(options: argparse.Namespace) -> Optional[Detector]:
    """The detector that add_detector_flags name, or None; InputError where one flag lacks the other."""
    if bool(options.detector) != bool(options.detector_model):
        raise InputError("--detector and --detector-model go together: the kind, and its file; " + TERMS)
    return open_detector(options.detector, options.detector_model) if options.detector else None


def add_algorithm_flag(flags: Parser) -> None:
    """--algorithm, once --algo."""
    flags.add_argument("--algorithm", default="insightface",
                       help="name in the devkit's file names, FILE_ALGORITHM.bin (default insightface)")
    flags.renamed("--algo", to="--algorithm")


def add_out_flag(flags: argparse.ArgumentParser) -> None:
    """--out."""
    flags.add_argument("--out", required=True, metavar="DIR", help="folder for result.json, result.md and curves")


def embedder_of(options: argparse.Namespace, models: Optional[str] = None) -> Embedder:
    """The embedder that `options` (add_network_flags) describe, for their --model or for `models`.

    Says so where fewer images pass at once than --batch-size names.
    """
    where, batch = place_of(options), BATCH if options.batch_size is None else options.batch_size
    largest = where.engine.largest_batch(where.devices, options.exact)
    if options.batch_size and largest and batch > largest:
        notice(f"--batch-size {batch}: {largest} at once on this CPU, more were slower; --exact takes {batch}")
    return Embedder.load(models or options.model, where, batch, options.exact, numerics_of(options), trust_of(options))


def model_hashes(models: str) -> Dict[str, str]:
    """SHA-256 of the files behind a --model value."""
    paths: List[PathLike] = []
    for text in models.split("|"):
        if is_onnx(text):
            paths.append(text)
            continue
        prefix, epoch = parse_model(text)
        paths += [symbol_path(prefix), values_path(prefix, epoch)]
    return file_hashes(paths)


def source_hashes(options: argparse.Namespace) -> Dict[str, str]:
    """The hashes of whatever --model or --features name."""
    return model_hashes(options.model) if options.model else file_hashes([options.features])


def load_features(path: PathLike, rows: Optional[int] = None, dimensions: Optional[int] = None) -> np.ndarray:
    """Memory-map an .npy of (n, d) floating features; raises InputError naming the file when size or values are bad."""
    features = load_array(path, "extract the features with recognition/extract.py, or save them with numpy.save")
    return check_embeddings(features, str(path), rows, dimensions)


def read_ids(path: PathLike, rows: Optional[int] = None) -> List[str]:
    """Ids as text, one a line; raises InputError when they are not `rows` or one is empty."""
    ids = read_lines(path, "give one id a line")
    if rows is not None and len(ids) != rows:
        raise InputError(f"{path}: {len(ids)} ids for {rows} features; give one id a line, in the order of the rows")
    for number, name in enumerate(ids, 1):
        if not name.strip():
            raise InputError(f"{path}: line {number} is empty; give one id a line")
    return [name.strip() for name in ids]
