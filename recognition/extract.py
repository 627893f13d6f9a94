"""Images to embeddings on disk: `python recognition/extract.py --model PREFIX,EPOCH --images PATH --out DIR`."""
import sys
from typing import Optional, Sequence

from arcface_mxnet.evaluation.command import (
    FULL,
    add_flip_flag,
    add_place_flags,
    add_size_flag,
    add_trust_flags,
    embedder_of,
    model_hashes,
    parser,
    place_of,
    trust_of,
)
from arcface_mxnet.evaluation.embedder import fitting_batch_size
from arcface_mxnet.evaluation.extraction import EMBEDDINGS_FILE, UNREADABLE_FILE, extract
from arcface_mxnet.evaluation.sources import open_source
from arcface_mxnet.runtime.arguments import Parser
from arcface_mxnet.runtime.errors import run_command


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Embed a .rec, a .bin, a folder or a list of images; a stopped run goes on with the same command."""
    options = build_parser().parse_args(argv)
    source = open_source(options.images, options.root)
    if options.batch_size == 0:
        options.batch_size = fitting_batch_size(options.model, options.size, place_of(options), trust_of(options))
    embedder = embedder_of(options)
    settings = {"model": model_hashes(options.model), "flip": options.flip, "exact": options.exact}
    if options.precision != FULL:  # other rows than those of a run without it
        settings["precision"] = options.precision
    result = extract(source, lambda images: embedder.embed(images, options.flip), options.out, settings,
                     options.size,
                     options.drop_unreadable)
    sys.stdout.write(f"{options.out}/{EMBEDDINGS_FILE}: {result.rows} rows of {result.dimensions}\n")
    if result.unreadable:
        sys.stdout.write(f"{options.out}/{UNREADABLE_FILE}: {len(result.unreadable)} images could not be read; "
                         f"their rows are {'left out' if options.drop_unreadable else 'NaN'}\n")


def build_parser() -> Parser:
    """The command line."""
    flags = parser("Embeddings of images, written to disk and resumable.",
                   "python recognition/extract.py --model models/model,0 --images faces/lfw --out features/lfw")
    flags.add_argument("--model", required=True, metavar="PREFIX,EPOCH",
                       help="checkpoint; several joined by | are L2-normalised and concatenated")
    flags.add_argument("--images", required=True, metavar="PATH",
                       help=".rec (or a folder with train.rec), .bin, a folder of images, or a list of paths")
    flags.add_argument("--root", metavar="DIR", help="folder that the paths of a list are under (default: the list's)")
    add_flip_flag(flags, "none")
    add_size_flag(flags)
    flags.add_argument("--batch-size", type=int, default=0, help="images per forward pass (default: by memory)")
    add_place_flags(flags)
    flags.add_argument("--exact", action="store_true", help="run the stored graph untouched, not its faster equal")
    add_trust_flags(flags)
    flags.add_argument("--drop-unreadable", action="store_true", help="leave unreadable images out instead of NaN rows")
    flags.add_argument("--out", required=True, metavar="DIR", help="folder of the embeddings")
    return flags


if __name__ == "__main__":
    run_command(main)
