"""Images to embeddings on disk: `python recognition/extract.py --model PREFIX,EPOCH --images PATH --out DIR`.

A network that takes one channel gets grey images; one whose graph does not scale its pixels needs --pixels.
"""
import math
import os
import sys
from typing import Callable, Optional, Sequence, Tuple

from arcface_mxnet.datasets.images import grey
from arcface_mxnet.evaluation.command import (
    FULL,
    MODEL_HELP,
    add_detector_flags,
    add_flip_flag,
    add_place_flags,
    add_size_flag,
    add_trust_flags,
    detector_of,
    embedder_of,
    model_hashes,
    parser,
    place_of,
    trust_of,
)
from arcface_mxnet.evaluation.embedder import fitting_batch_size, is_onnx
from arcface_mxnet.evaluation.extraction import EMBEDDINGS_FILE, UNREADABLE_FILE, Preparing, extract
from arcface_mxnet.evaluation.sources import open_source
from arcface_mxnet.graph.checkpoint import Checkpoint, Trust, load, parse_model
from arcface_mxnet.graph.nodes import fits
from arcface_mxnet.runtime.arguments import Parser
from arcface_mxnet.runtime.errors import InputError, run_command
from arcface_mxnet.runtime.files import sha256

import numpy as np

UNCHANGED = (0.0, 1.0)


def pixels(text: str) -> Tuple[float, float]:
    """Read "MEAN,DIVISOR"; raises InputError."""
    try:
        mean, divisor = (float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--pixels {text}: expected MEAN,DIVISOR, for example 127.5,127.5") from None
    if not (math.isfinite(mean) and math.isfinite(divisor) and divisor):
        raise InputError(f"--pixels {text}: two finite numbers, the second not 0")
    return mean, divisor


def channels_of(models: str, size: Tuple[int, int], trust: Trust) -> int:
    """The channels that networks "PREFIX,EPOCH|..." take, 1 or 3; raises InputError where they differ."""
    found = {3 if is_onnx(text) else _channels(load(*parse_model(text), trust=trust), size)
             for text in models.split("|")}
    if len(found) > 1:
        raise InputError(f"--model {models}: one takes grey images, another colour; extract them one by one")
    return found.pop()


def _channels(checkpoint: Checkpoint, size: Tuple[int, int]) -> int:
    """1 where the parameters fit grey images of `size`, else 3."""
    given = {name: value.shape for name, value in checkpoint.args.items()}
    return 1 if fits(checkpoint.symbol, given, (1, *size)) else 3


def prepared(embed: Callable[[np.ndarray], np.ndarray], channels: int, scaling: Tuple[float, float],
             ) -> Callable[[np.ndarray], np.ndarray]:
    """`embed` for uint8 (n, 3, h, w) RGB where the network takes grey, or pixels that it does not scale itself."""
    mean, divisor = scaling

    def embed_prepared(images: np.ndarray) -> np.ndarray:
        if channels == 1:
            images = grey(images)
        if scaling != UNCHANGED:
            images = (images.astype(np.float32) - np.float32(mean)) / np.float32(divisor)
        return embed(images)

    return embed_prepared


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Embed a .rec, a .bin, a folder or a list of images; a stopped run goes on with the same command."""
    options = build_parser().parse_args(argv)
    source = open_source(options.images, options.root)
    detector = detector_of(options)
    if options.batch_size == 0:
        options.batch_size = fitting_batch_size(options.model, options.size, place_of(options), trust_of(options),
                                                options.exact)
    embedder = embedder_of(options)
    settings = {"model": model_hashes(options.model), "flip": options.flip, "exact": options.exact}
    if options.precision != FULL:  # other rows than those of a run without it
        settings["precision"] = options.precision
    if options.pixels != UNCHANGED:
        settings["pixels"] = list(options.pixels)
    if options.resize:
        settings["resize"] = True
    if detector is not None:
        settings["detector"] = [options.detector, sha256(options.detector_model)
                                if os.path.isfile(options.detector_model) else options.detector_model]
    channels = channels_of(options.model, options.size, trust_of(options))
    embedder.check((channels, *options.size))
    embed = prepared(lambda images: embedder.embed(images, options.flip), channels, options.pixels)
    result = extract(source, embed, options.out, settings, options.size, options.drop_unreadable,
                     embedder.about, Preparing(options.size, options.resize, detector))
    sys.stdout.write(f"{options.out}/{EMBEDDINGS_FILE}: {result.rows} rows of {result.dimensions}\n")
    if result.unreadable:
        sys.stdout.write(f"{options.out}/{UNREADABLE_FILE}: {len(result.unreadable)} images could not be used; "
                         f"their rows are {'left out' if options.drop_unreadable else 'NaN'}\n")


def build_parser() -> Parser:
    """The command line."""
    flags = parser("Embeddings of images, written to disk and resumable.",
                   "python recognition/extract.py --model models/model,0 --images faces/lfw --out features/lfw")
    flags.add_argument("--model", required=True, metavar="PREFIX,EPOCH", help=MODEL_HELP)
    flags.add_argument("--images", required=True, metavar="PATH",
                       help=".rec (or a folder with train.rec), .bin, a folder of images, an image, or a list of paths")
    flags.add_argument("--root", metavar="DIR", help="folder that the paths of a list are under (default: the list's)")
    add_flip_flag(flags, "none")
    add_size_flag(flags)
    flags.add_argument("--resize", action="store_true", help="scale crops of another size; without it, and without "
                       "--detector, they are refused")
    add_detector_flags(flags)
    flags.add_argument("--pixels", metavar="MEAN,DIVISOR", type=pixels, default=UNCHANGED,
                       help="(x - MEAN) / DIVISOR before the network, for graphs that do not scale 0..255 themselves")
    flags.add_argument("--batch-size", type=int, default=0, help="images per forward pass (default: by memory)")
    add_place_flags(flags)
    flags.add_argument("--exact", action="store_true", help="run the stored graph untouched, not its faster equal")
    add_trust_flags(flags)
    flags.add_argument("--drop-unreadable", action="store_true", help="leave unreadable images out instead of NaN rows")
    flags.add_argument("--out", required=True, metavar="DIR", help="folder of the embeddings")
    return flags


if __name__ == "__main__":
    run_command(main)
