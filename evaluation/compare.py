"""Two pictures of faces, how alike they are: `python evaluation/compare.py a.jpg b.jpg --model PREFIX,EPOCH`."""
import sys
from typing import Optional, Sequence

from arcface_mxnet.evaluation.command import (
    add_detector_flags,
    add_flip_flag,
    add_model_flags,
    detector_of,
    embedder_of,
    parser,
)
from arcface_mxnet.evaluation.library import compare
from arcface_mxnet.runtime.arguments import Parser
from arcface_mxnet.runtime.errors import run_command


def build_parser() -> Parser:
    """The command line."""
    flags = parser("Two pictures of faces: the cosine of their embeddings, and the angle between them.",
                   "python evaluation/compare.py a.jpg b.jpg --model models/model,0 --detector scrfd "
                   "--detector-model scrfd_500m_kps.onnx")
    flags.add_argument("one", help="an aligned crop, or with --detector a photograph")
    flags.add_argument("other", help="another")
    add_model_flags(flags)
    add_flip_flag(flags, "none")
    add_detector_flags(flags)
    return flags


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Compare two pictures and print one line."""
    options = build_parser().parse_args(argv)
    detector = detector_of(options)
    found = compare(options.one, options.other, embedder_of(options), detector, options.flip)
    sys.stdout.write(f"cosine {found.cosine:.4f}, angle {found.angle:.1f} degrees\n")


if __name__ == "__main__":
    run_command(main)
