"""A checkpoint for other places: `python recognition/export.py FORM --model PREFIX,EPOCH --out PATH` (see --help)."""
import argparse
import io
import json
import sys
import zipfile
from itertools import islice
from pathlib import Path
from typing import Callable, Dict, List, Mapping, Optional, Sequence

from arcface_mxnet.datasets.pairs import decode
from arcface_mxnet.datasets.synthetic import people
from arcface_mxnet.engines.bfloat16 import warn_if_slower
from arcface_mxnet.evaluation import paper
from arcface_mxnet.evaluation.command import add_trust_flags, trust_of
from arcface_mxnet.evaluation.sources import open_source
from arcface_mxnet.graph import checkpoint as checkpoints
from arcface_mxnet.graph.checkpoint import (
    Checkpoint,
    embedding_only,
    params_path,
    parse_model,
    symbol_path,
    values_path,
)
from arcface_mxnet.graph.describe import description, image_shape
from arcface_mxnet.graph.nodes import Shape
from arcface_mxnet.graph.to_onnx import OPSET
from arcface_mxnet.graph.to_torch import SCALING, from_torch, to_torch
from arcface_mxnet.recognition.model_card import accuracies_of, origin_of
from arcface_mxnet.recognition.model_card import card as model_card
from arcface_mxnet.recognition.networks import build
from arcface_mxnet.recognition.settings import resolve
from arcface_mxnet.runtime.arguments import Parser
from arcface_mxnet.runtime.arrays import load_arrays
from arcface_mxnet.runtime.errors import InputError, run_command
from arcface_mxnet.runtime.files import atomic_open, atomic_path, sha256, write_checksum
from arcface_mxnet.runtime.locks import claimed

import cv2
import numpy

PAPER_SIZES = "the paper's: " + ", ".join(
    f"{row.values[1]} MB ({row.name.upper()})" for row in paper.table("networks").rows)
_EXAMPLE = """examples:
  python recognition/export.py slim --model runs/r50/model,1 --out deploy/model
  python recognition/export.py safetensors --model runs/r50/model,1 --results results/lfw --out deploy/r50
  python recognition/export.py onnx --model models/model,0 --out deploy/model.onnx
  python recognition/export.py torch --model models/model,0 --out deploy/model.npz
      in PyTorch: net.load_state_dict({k: torch.from_numpy(v) for k, v in numpy.load("model.npz").items()})
  python recognition/export.py from-torch --state model.npz --network r50 --out models/model
      from PyTorch: numpy.savez("model.npz", **{k: v.numpy() for k, v in net.state_dict().items()})
"""


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Write the chosen form and, beside it, a model card; print where, how large, and how far it differs."""
    options = build_parser().parse_args(argv)
    given = None
    with claimed(options.out):
        if options.form != "from-torch":
            given = embedding_only(checkpoints.load(*parse_model(options.model), trust=trust_of(options)))
        _FORMS[options.form](given, options, lambda line: sys.stdout.write(f"{line}\n"))


def _slim(given: Checkpoint, options: argparse.Namespace, say: Callable[[str], object]) -> None:
    """The embedding network alone, in the published form, as epoch 0."""
    checkpoints.save(given, options.out, 0)
    about = description(given)
    graph = symbol_path(options.out)
    stored = json.loads(graph.read_text(encoding="utf-8"))
    stored["attrs"].update({key: ["str", value] for key, value in about.items()})  # MXNet carries such texts unread
    with atomic_open(graph, "w") as stream:
        json.dump(stored, stream, indent=2)
    write_checksum(graph)
    _finish(params_path(options.out, 0), about, options, say)


def _safetensors(given: Checkpoint, options: argparse.Namespace, say: Callable[[str], object]) -> None:
    """A folder for model hubs, named as --model: graph, values in safetensors, card."""
    about = description(given)
    path = checkpoints.save_folder(given, Path(options.out), about)
    _finish(path, about, options, say, Path(options.out) / "README.md")


def _onnx(given: Checkpoint, options: argparse.Namespace, say: Callable[[str], object]) -> None:
    """ONNX, float32, any batch; kept only if ONNX Runtime agrees with the stored graph."""
    from arcface_mxnet.engines.onnx_export import (  # ONNX Runtime loads only where it is used
        LARGEST_DIFFERENCE,
        write_onnx,
    )

    about = {**description(given), "opset": str(OPSET)}
    difference = write_onnx(given, options.out, about)
    say(f"opset {OPSET}; largest difference to the stored graph {difference:.1e} of an embedding's length (limit "
        f"{LARGEST_DIFFERENCE:.0e})")
    _finish(Path(options.out), {**about, "largest difference to the stored graph": f"{difference:.1e}"}, options, say)


def _torch(given: Checkpoint, options: argparse.Namespace, say: Callable[[str], object]) -> None:
    """A state dict of arcface_torch's iresnet or MobileFaceNet as .npz, which PyTorch's users load in one line."""
    about = {**description(given, outside=SCALING), "definition": "arcface_torch iresnet or MobileFaceNet (scale 1)"}
    whole = io.BytesIO()  # in memory first: a zip that fails on a full disk complains again when it is forgotten
    numpy.savez(whole, **to_torch(given))
    with zipfile.ZipFile(whole, "a") as archive:
        archive.comment = json.dumps(about).encode()
    with atomic_path(options.out) as temporary:
        temporary.write_bytes(whole.getbuffer())
    _finish(Path(options.out), about, options, say)


def _from_torch(given: None, options: argparse.Namespace, say: Callable[[str], object]) -> None:
    """The published form from a state dict."""
    network = resolve(options.network, "arcface", "own", {}).network
    made = from_torch(build(network), read_state(options.state))
    checkpoints.save(made, options.out, 0)
    _finish(params_path(options.out, 0), description(made), options, say)


def _int8(given: Checkpoint, options: argparse.Namespace, say: Callable[[str], object]) -> None:
    """Eight-bit integers for the CPU, calibrated on --images or the built-in faces: an ONNX file or a checkpoint."""
    images = calibration_images(image_shape(given), options.images, options.count)
    precision = f"int8, calibrated on {len(images)} images"
    if options.engine != "mxnet":
        _int8_onnx(given, images, precision, options, say)
        return
    from arcface_mxnet.engines.mxnet.quantise import int8_form  # MXNet loads only where it is used

    _save_reduced(int8_form(given, images), precision, given, options, say)


def _int8_onnx(given: Checkpoint, images: numpy.ndarray, precision: str, options: argparse.Namespace,
               say: Callable[[str], object]) -> None:
    from arcface_mxnet.engines.onnx_int8 import write_int8  # ONNX loads only where it is used

    about = {**description(given), "opset": str(OPSET), "precision": precision}
    cosine = write_int8(given, images, options.out, about, options.engine)
    say(f"opset {OPSET}; lowest cosine to float32 on {options.engine} {cosine:.4f}; run it with --model {options.out} "
        f"--engine {options.engine}")
    _finish(Path(options.out), {**about, "lowest cosine to float32": f"{cosine:.4f}"}, options, say)


def _bf16(given: Checkpoint, options: argparse.Namespace, say: Callable[[str], object]) -> None:
    """bfloat16 for CPUs that have it (AVX-512 BF16)."""
    from arcface_mxnet.engines.mxnet.quantise import bf16_form, bf16_gain  # MXNet loads only where it is used

    made = bf16_form(given, (1, *image_shape(given)))
    times = bf16_gain(given, made, (1, *image_shape(given)))
    warn_if_slower(times, "the network")
    _save_reduced(made, f"bfloat16, {times:.2f} times the speed of float32 where it was written", given, options, say)


def _save_reduced(made: Checkpoint, precision: str, given: Checkpoint, options: argparse.Namespace,
                  say: Callable[[str], object]) -> None:
    checkpoints.save(made, options.out, 0)
    _finish(params_path(options.out, 0), {**description(given), "precision": precision}, options, say)


_FORMS: Dict[str, Callable[..., None]] = {"slim": _slim, "safetensors": _safetensors, "onnx": _onnx,
                                          "torch": _torch, "from-torch": _from_torch,
                                          "int8": _int8, "bf16": _bf16}


def read_state(path: str) -> Dict[str, numpy.ndarray]:
    """Arrays by name of an .npz file; raises InputError when it is missing or is none (pickles are not read)."""
    return load_arrays(path, "write it from PyTorch as `--help` shows")


def _finish(path: Path, about: Mapping[str, str], options: argparse.Namespace, say: Callable[[str], object],
            card: Optional[Path] = None) -> None:
    """Checksum and model card beside the file, and the line that says so."""
    digest = write_checksum(path)
    size = path.stat().st_size / 1e6
    source = options.state if options.form == "from-torch" else options.model
    rows = {"file": path.name, "form": options.form, "made from": source, "size": f"{size:.1f} MB ({PAPER_SIZES})",
            "sha256": digest, **about}
    prefix, digests = "", [digest]
    if options.form != "from-torch":
        prefix, epoch = parse_model(options.model)
        rows["sha256 of the source"] = sha256(values_path(prefix, epoch))
        digests.append(rows["sha256 of the source"])
    origin = origin_of(prefix, options.license, options.data_terms)
    name = path.name if card is None else card.parent.name
    card = card or path.with_name(f"{path.name}.card.md")
    text = model_card(name, origin, accuracies_of(options.results, digests), rows)
    with atomic_open(card, "w") as stream:
        stream.write(text)
    say(f"{path}: {size:.1f} MB; {PAPER_SIZES}; model card {card.name}")


def build_parser() -> Parser:
    """The command line."""
    flags = Parser("A checkpoint for other places.", _EXAMPLE)
    forms = flags.add_subparsers(dest="form", required=True, metavar="FORM")
    for name, form in _FORMS.items():
        one = forms.add_parser(name, help=(form.__doc__ or "").strip(), description=form.__doc__, epilog=_EXAMPLE)
        if name == "from-torch":
            one.add_argument("--state", required=True, metavar="FILE.npz", help="state dict of arrays by name")
            one.add_argument("--network", required=True, help="preset of the network it belongs to")
        else:
            one.add_argument("--model", required=True, metavar="PREFIX,EPOCH", help="the checkpoint")
            add_trust_flags(one)
        if name == "int8":
            one.add_argument("--images", metavar="PATH", help=".bin, .rec or folder to calibrate on "
                                                              "(default: the built-in faces)")
            one.add_argument("--engine", choices=("mxnet", "openvino", "onnxruntime"), default="mxnet",
                             help="what runs it: mxnet a checkpoint, the others an ONNX file, fastest on openvino")
            one.add_argument("--count", type=int, default=128, help="calibrate on this many images (default 128)")
        one.add_argument("--license", metavar="ID", help="licence of the weights, for the card: an SPDX identifier")
        one.add_argument("--data-terms", metavar="TEXT", help="terms of the training data, for the card (default: "
                         "those of the published set that the run names)")
        one.add_argument("--results", action="append", default=[], metavar="DIR", help="accuracies for the card: the "
                         "--out of `evaluate verification` on this model; may be given more than once")
        one.add_argument("--out", required=True, metavar="PATH", help="prefix of a checkpoint, the folder or the file "
                         "to write")
    return flags


# Images to calibrate eight-bit networks on: those the user gives, or the built-in faces.


_EACH = 4


def calibration_images(image: Shape, path: Optional[str], count: int, seed: int = 0) -> numpy.ndarray:
    """`count` images float32 (n, c, h, w), RGB 0..255, sized to `image` (c, h, w).

    From `path` (a .bin, a .rec or a folder), spread evenly over it; without one, drawn faces. Raises InputError when
    there are none.
    """
    if count < 1:
        raise InputError(f"--count {count}: calibrate on at least 1 image, better 100")
    encoded = _drawn(count, seed) if path is None else _read(path, count)
    decoded = decode(encoded, path or "the built-in faces")
    channels, height, width = image
    rows = [cv2.resize(picture.transpose(1, 2, 0), (width, height)) for picture in decoded]
    stacked = numpy.stack(rows).transpose(0, 3, 1, 2).astype("float32")
    return stacked if channels == 3 else stacked.mean(1, keepdims=True)


def _read(path: str, count: int) -> List[bytes]:
    source = open_source(path)
    if not len(source):
        raise InputError(f"{path}: holds no images to calibrate on")
    rows = numpy.linspace(0, len(source) - 1, min(count, len(source))).astype(int)
    return [source.read(int(row)) for row in rows]


def _drawn(count: int, seed: int) -> List[bytes]:
    sittings = people("train", -(-count // _EACH), _EACH, seed)
    return list(islice((picture for sitting in sittings for picture in sitting.images), count))


if __name__ == "__main__":
    run_command(main)
