"""Every reader of files that users bring, with sound files to damage: each is read, or refused in one line."""
import io
import json
import pickle
import tarfile
import zipfile
from functools import lru_cache
from pathlib import Path
from typing import Callable, Dict, NamedTuple, Tuple, Type

from arcface_mxnet.datasets import (
    ages,
    align,
    image_sources,
    index_set,
    inspect_set,
    make_pairs,
    manifest,
    pairs,
    record_writer,
)
from arcface_mxnet.datasets.image_headers import NoImage
from arcface_mxnet.datasets.images import decode_bgr, encode_jpeg
from arcface_mxnet.datasets.record_writer import RecordWriter
from arcface_mxnet.datasets.records import RecordSet, read_names
from arcface_mxnet.engines import onnx_check, onnx_file
from arcface_mxnet.engines.int8_saturation import saturating_layers
from arcface_mxnet.evaluation import overlay, report, sources, video
from arcface_mxnet.evaluation.command import load_features, read_ids
from arcface_mxnet.evaluation.ijb import metadata
from arcface_mxnet.evaluation.megaface import devkit_files, noise
from arcface_mxnet.evaluation.plots import Curve
from arcface_mxnet.evaluation.results import About, Entry, Row, write_results
from arcface_mxnet.graph import params_file, symbol_json
from arcface_mxnet.logs import parse
from arcface_mxnet.recognition.engine.checkpoint import Position, RunDirectory
from arcface_mxnet.recognition.engine.launcher import read_hosts
from arcface_mxnet.recognition.settings import resolve
from arcface_mxnet.runtime.arrays import load_array, load_arrays
from arcface_mxnet.runtime.errors import InputError

import cv2
import numpy as np
import onnx
import scipy.io

Files = Dict[str, bytes]


class Reader(NamedTuple):
    """`files` that are sound together, by name; `damaged`: which of them is; read(folder) reads them as users do.

    `refusals`: what a reader may raise; a message is one line.
    """

    files: Callable[[], Files]
    damaged: str
    read: Callable[[Path], object]
    refusals: Tuple[Type[Exception], ...] = (InputError,)


def picture(seed: int = 0, size: int = 32) -> np.ndarray:
    """A small picture, BGR."""
    low = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), np.uint8)
    return cv2.resize(low, (size, size), interpolation=cv2.INTER_CUBIC)


def encoded(ending: str, seed: int = 0, *flags: int) -> bytes:
    """The same as a file of that ending."""
    image = picture(seed)
    return cv2.imencode(ending, image[:, :, 0].copy() if ending == ".pgm" else image, list(flags))[1].tobytes()


@lru_cache(None)
def record_set() -> Files:
    """Two people with three pictures each, in the published layout, with names and ages."""
    import tempfile
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with RecordWriter(folder, (32, 32)) as writer:
            for person in range(2):
                writer.add(person, [encode_jpeg(picture(3 * person + number)) for number in range(3)])
        manifest.describe_set(folder, "fuzz")
        (folder / "identities.tsv").write_text("0\tAnn\n1\tBob\n")
        (folder / "ages.tsv").write_text("1\t20\n2\t31.5\n5\t44\n")
        return {path.name: path.read_bytes() for path in folder.iterdir()}


def read_everything(folder: Path) -> None:
    """Open a set and read every record, names and ages."""
    with RecordSet.open(folder) as records:
        for key in records.keys.tolist():
            decode_bgr(records.read(key)[1])
        ages.read_ages(records)
    read_names(folder)


def read_source(path: Path, **given: object) -> None:
    """Every image of a folder, archive or list, decoded."""
    source = image_sources.from_list(path) if path.suffix == ".lst" else image_sources.open_source(path)
    for number in range(len(source.names)):
        try:
            decode_bgr(source.read(number))
        except (NoImage, OSError) as error:
            assert "\n" not in str(error)


def tar_bytes() -> bytes:
    """An archive of two pictures, one with a long name."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name in ("a/1.jpg", "b/" + "x" * 120 + ".png"):
            data = encoded(name[-4:])
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


def pax_bytes() -> bytes:
    """The same with pax headers."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        data = encoded(".jpg")
        entry = tarfile.TarInfo("ü/" + "x" * 120 + ".jpg")
        entry.size, entry.mtime = len(data), 1.5
        archive.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


def zip_bytes() -> bytes:
    """An archive of two pictures."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/1.jpg", encoded(".jpg"))
        archive.writestr("b/1.bmp", encoded(".bmp"))
    return stream.getvalue()


def pack_bytes(protocol: int, arrays: bool) -> bytes:
    """A pack of four pairs."""
    images = [encode_jpeg(picture(number)) for number in range(8)]
    if arrays:
        return pickle.dumps(([np.frombuffer(image, np.uint8) for image in images], np.array([1, 0, 1, 0], np.int64)),
                            protocol)
    return pickle.dumps((images, [True, False, True, False]), protocol)


def npy_bytes() -> bytes:
    """Embeddings (12, 8)."""
    stream = io.BytesIO()
    np.save(stream, np.random.default_rng(0).standard_normal((12, 8)).astype(np.float32))
    return stream.getvalue()


def npz_bytes() -> bytes:
    """Two arrays, deflated."""
    stream = io.BytesIO()
    np.savez_compressed(stream, weight=np.arange(60.0).reshape(3, 20), names=np.array(["a", "bc"]))
    return stream.getvalue()


def mat_bytes() -> bytes:
    """YTF's meta_and_splits.mat in small: 3 videos, 2 splits of 2 pairs."""
    stream = io.BytesIO()
    names = np.empty((3, 1), object)
    names[:, 0] = ["a/1", "b/2", "c/3"]
    splits = np.array([[[1, 2, 1], [2, 3, 0]], [[1, 3, 1], [3, 2, 0]]], float).transpose(1, 2, 0)
    scipy.io.savemat(stream, {"video_names": names, "Splits": splits}, do_compression=True)
    return stream.getvalue()


@lru_cache(None)
def result_files() -> Files:
    """A result.json with its picture and table."""
    import tempfile
    curve = Curve("roc", "AUC", np.array([0.1, 1.0]), np.array([0.5, 1.0]), "FAR", "TAR")
    about = About("pairs", "flip", {"model": "00"}, {"lfw.bin": "11"}, {"genuine": 3})
    entry = Entry({"accuracy": 0.98, "folds": [0.5] * 10, "tar": {"1e-6": 0.2}}, about, [Row("LFW", 98.0, 99.8)],
                  [curve])
    with tempfile.TemporaryDirectory() as name:
        write_results(name, {"lfw": entry})
        return {path.name: path.read_bytes() for path in Path(name).iterdir()}


def read_results_and_report(folder: Path) -> None:
    """The report of a result, both forms."""
    sections = report.read_sections([str(folder)])
    report.html_report("x", sections)
    report.markdown_report("x", sections)


def log_text() -> bytes:
    """A training log of the original's kind."""
    lines = ["gpu num: 1",
             "Called with argument: Namespace(batch_size=100, ctx_num=1, lr=0.1, lr_steps='1000', wd=0.0005)"]
    for step in range(20, 201, 20):
        lines.append(f"INFO:root:Epoch[0] Batch [{step}]\tSpeed: 500.00 samples/sec\tacc={step / 1000:.6f}")
    lines += ["lr-batch-epoch: 0.1 199 0", "testing verification..", "(12000, 128)", "infer time 10.0",
              "[lfw][200]XNorm: 10.0",
              "[lfw][200]Accuracy-Flip: 0.90000+-0.00300", "saving 1", "[200]Accuracy-Highest: 0.90000"]
    return "\n".join(lines).encode() + b"\n"


def metrics_text() -> bytes:
    """A metrics.jsonl."""
    rows = [{"kind": "train", "step": step, "epoch": 0, "images": 64 * step, "speed": 100.0, "lr": 0.1, "acc": 0.1,
             "loss": 3.0}
            for step in (20, 40, 60)]
    rows.append({"kind": "validation", "step": 60, "epoch": 0, "images": 3840, "target": "lfw", "accuracy": 0.9,
                 "std": 0.1,
                 "xnorm": 9.0})
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@lru_cache(None)
def params_bytes() -> bytes:
    """Parameters of a small network."""
    import tempfile
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "a.params"
        params_file.write_arrays(path, {"arg:fc_weight": np.ones((4, 3), np.float32),
                                        "arg:fc_bias": np.zeros(4, np.float32),
                                        "aux:bn_moving_mean": np.ones(4, np.float32)})
        return path.read_bytes()


@lru_cache(None)
def onnx_files() -> Files:
    """A small network whose values lie in a file beside it, with a layer in eight bits."""
    make, values = onnx.helper, onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[12],
                                                 data_location=onnx.TensorProto.EXTERNAL)
    for key, value in (("location", "values"), ("offset", "0"), ("length", "48")):
        values.external_data.add(key=key, value=value)
    nodes = [make.make_node("Flatten", ["data"], ["flat"], axis=1), make.make_node("Add", ["flat", "w"], ["sum"]),
             make.make_node("DequantizeLinear", ["m", "step", "zero"], ["m_grid"], axis=0),
             make.make_node("Gemm", ["sum", "m_grid"], ["out"], transB=1)]
    whole = [onnx.numpy_helper.from_array(np.array(value, kind), name) for name, value, kind in
             (("m", np.full((12, 12), 127), np.int8), ("step", 0.1, np.float32), ("zero", 0, np.int8))]
    taken, given = (make.make_tensor_value_info(name, 1, ["b", *shape]) for name, shape in (("data", (3, 2, 2)),
                                                                                              ("out", (12,))))
    model = make.make_model(make.make_graph(nodes, "g", [taken], [given], [values, *whole]))
    return {"a.onnx": model.SerializeToString(), "values": bytes(48)}


def read_onnx(folder: Path) -> None:
    """As a file for OpenVINO is read."""
    path = folder / "a.onnx"
    model = onnx_check.checked(path)
    onnx_file.input_of(model.graph, path)
    onnx_file.scales_itself(model.graph)
    onnx_check.require_known(model, path, "OpenVINO", "take another engine")
    saturating_layers(model, path)


def run_files() -> Files:
    """A run directory with settings and a restart point."""
    import tempfile
    with tempfile.TemporaryDirectory() as name:
        run = RunDirectory(Path(name))
        run.create(resolve("demo", "arcface", "demo", {}), {"commit": "x"})
        run.save_last(Position(3, 1, 2), {"arg:fc1_weight": np.ones((2, 2), np.float32)})
        root = Path(name)
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


SYMBOL = json.dumps({
    "nodes": [{"op": "null", "name": "data", "inputs": []}, {"op": "null", "name": "fc1_weight", "inputs": []},
              {"op": "null", "name": "fc1_bias", "inputs": []},
              {"op": "FullyConnected", "name": "fc1", "attrs": {"num_hidden": "4"},
               "inputs": [[0, 0, 0], [1, 0, 0], [2, 0, 0]]},
              {"op": "Activation", "name": "act", "attrs": {"act_type": "relu"}, "inputs": [[3, 0, 0]]}],
    "arg_nodes": [0, 1, 2], "node_row_ptr": [0, 1, 2, 3, 4, 5], "heads": [[4, 0, 0]],
    "attrs": {"mxnet_version": ["int", 10901]}})


def one(name: str, data: Callable[[], bytes], read: Callable[[Path], object],
        refusals: Tuple[Type[Exception], ...] = (InputError,)) -> Reader:
    """A reader of a single file."""
    return Reader(lambda: {name: data()}, name, lambda folder: read(folder / name), refusals)


def text(name: str, lines: str, read: Callable[[Path], object]) -> Reader:
    """A reader of a text file."""
    return one(name, lines.encode, read)


def in_set(name: str) -> Reader:
    """A reader of a whole record set, one file of which is damaged."""
    return Reader(record_set, name, read_everything, (InputError, NoImage))


def picture_reader(ending: str, *flags: int) -> Reader:
    """A reader of pictures of one format."""
    return one(f"a{ending}", lambda: encoded(ending, 0, *flags), lambda path: decode_bgr(path.read_bytes(), True),
               (NoImage,))


def with_pictures(name: str, lines: str) -> Reader:
    """A reader of a list that stands beside its pictures."""
    return Reader(lambda: {name: lines.encode(), "1.jpg": encoded(".jpg"), "2.png": encoded(".png")}, name,
                  lambda folder: read_source(folder / name))


READERS: Dict[str, Reader] = {
    "jpeg": picture_reader(".jpg"), "progressive jpeg": picture_reader(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "png": picture_reader(".png"), "bmp": picture_reader(".bmp"), "webp": picture_reader(".webp"),
    "tiff": picture_reader(".tif"),
    "pgm": picture_reader(".pgm"), "ppm": picture_reader(".ppm"),
    "train.rec": Reader(lambda: {name: data for name, data in record_set().items() if name not in ("train.crc",
                                                                                                   "manifest.json")},
                        "train.rec", read_everything, (InputError, NoImage)), "train.idx": in_set("train.idx"),
    "property": in_set("property"),
    "train.crc": in_set("train.crc"), "identities.tsv": in_set("identities.tsv"), "ages.tsv": in_set("ages.tsv"),
    "manifest.json": Reader(record_set, "manifest.json", lambda folder: manifest.check(folder, thorough=True)),
    "index": Reader(lambda: {name: data for name, data in record_set().items() if name == "train.rec"}, "train.rec",
                    lambda folder: index_set.make_index(folder)),
    "pack": one("a.bin", lambda: pack_bytes(4, False), pairs.read_pack),
    "pack of Python 2": one("a.bin", lambda: pack_bytes(2, False), pairs.read_pack),
    "pack of arrays": one("a.bin", lambda: pack_bytes(2, True), pairs.read_pack),
    "tar": one("a.tar", tar_bytes, read_source), "pax tar": one("a.tar", pax_bytes, read_source),
    "zip": one("a.zip", zip_bytes, read_source),
    "list of 2018": with_pictures("a.lst", "1\t1.jpg\t0\n1\t2.png\t1\n"),
    "list of im2rec": with_pictures("a.lst", "0\t0.000\t1.jpg\n1\t1.000\t2.png\n"),
    "list of images": Reader(lambda: {"a.txt": b"1.jpg\t0\n2.png\t1\n", "1.jpg": b"", "2.png": b""}, "a.txt",
                             lambda folder: sources.list_source(folder / "a.txt")),
    "points": text("a.txt", "a/1.jpg\t" + "\t".join("3.5" for _ in range(10)) + "\nb.jpg " + " 7" * 10 + "\n",
                   align.read_points),
    "pairs of lfw": text("a.txt", "2\t2\nAnn Lee\t1\t2\nBob\t1\tAnn Lee\t2\n", make_pairs.read_pair_list),
    "pairs of labels": text("a.txt", "a/1.jpg b/2.jpg 1\na/2.jpg b/1.jpg 0\n", make_pairs.read_pair_list),
    "pairs of calfw": text("a.txt", "a.jpg 1\nb.jpg 1\nc.jpg 0\nd.jpg 0\n", make_pairs.read_pair_list),
    "property file": text("property", "2,112,112\n6\nshuffled\n2020-01-01\n", record_writer.read_property),
    "decisions": text("a.json", '{"keep": [1], "drop": [2], "same": [[0, 1]], "different": []}',
                      inspect_set.read_decisions),
    "npy": one("a.npy", npy_bytes, load_features),
    "npy of any kind": one("a.npy", npy_bytes, lambda path: load_array(path, "r")),
    "npz": one("a.npz", npz_bytes, lambda path: load_arrays(path, "r")),
    "ids": text("a.txt", "a\nb\nc\n", lambda path: read_ids(path, 3)),
    "ijb media": text("a.txt", "1.jpg 10 3\n2.jpg 11 4\n", metadata.read_media),
    "ijb pairs": text("a.txt", "1 2 0\n3 4 1\n", metadata.read_pairs),
    "ijb faces": text("a.txt", "a.jpg " + "1.5 " * 10 + "0.9\n", metadata.read_faces),
    "ijb subjects": text("a.csv", "TEMPLATE_ID,SUBJECT_ID,FILE\n1,2,a\n3,4,b\n",
                         lambda path: metadata.read_subjects([path])),
    "devkit list": text("a.json", '{"path": ["a/1.png", "b/2.png"], "id": ["a", "b"]}', devkit_files.read_probes),
    "devkit matrix": one("a.bin", lambda: devkit_files.matrix_bytes(np.arange(8, dtype=np.float32)),
                         devkit_files.read_matrix),
    "noises": text("a.txt", "# noise\na/1.png\nb\tc/2.png\n", noise.read_noises),
    "ytf splits": text("a.txt", "1, 1, a/1, b/2, 1\n1, 2, a/1, c/3, 0\n2, 1, b/2, c/3, 1\n2, 2, a/1, b/2, 0\n",
                       lambda path: video.read_splits(str(path))),
    "ytf mat": one("a.mat", mat_bytes, lambda path: video.read_splits(str(path))),
    "curves": text("a.csv", "curve,FAR,TAR\nAUC,0.1,50\nAUC,1,100\n", lambda path: overlay.read_curves(path, "x")),
    "result.json": Reader(result_files, "result.json", read_results_and_report),
    "hosts": text("a.txt", "10.0.0.1\nhost2 # second\n", lambda path: read_hosts(str(path))),
    "log": one("train.log", log_text, parse.load), "metrics.jsonl": one("metrics.jsonl", metrics_text, parse.load),
    "settings.json": Reader(run_files, "settings.json", lambda folder: RunDirectory(folder).settings()),
    "last.json": Reader(run_files, "last/last.json", lambda folder: (RunDirectory(folder).load_last(),
                                                                     RunDirectory(folder).last_step())),
    "params": one("a.params", params_bytes, params_file.read_arrays),
    "onnx": Reader(onnx_files, "a.onnx", read_onnx),
    "symbol": text("a-symbol.json", SYMBOL, symbol_json.read_file),
}


class Fault(AssertionError):
    """A reader that neither read a file nor refused it in one line."""


def attempt(reader: Reader, folder: Path) -> bool:
    """Whether the reader takes the files of a folder; False where it refuses them in one line. Raises Fault."""
    try:
        reader.read(folder)
        return True
    except reader.refusals as error:
        if "\n" in str(error) or not str(error):
            raise Fault(f"a message of several lines: {str(error)!r}") from error
        return False
    except Exception as error:
        raise Fault(f"{type(error).__name__}: {error}") from error


