"""Two pictures of faces, how alike they are: `python evaluation/compare.py a.jpg b.jpg --model PREFIX,EPOCH`."""
import argparse
import sys
from typing import Optional, Sequence

from arcface_mxnet.datasets.align import DETECTORS, open_detector
from arcface_mxnet.datasets.detect import TERMS, Detector
from arcface_mxnet.evaluation.command import add_flip_flag, add_model_flags, embedder_of, parser
from arcface_mxnet.evaluation.library import compare
from arcface_mxnet.runtime.arguments import Parser
from arcface_mxnet.runtime.errors import InputError, run_command


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
