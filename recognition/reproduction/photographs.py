"""A model on photographs of LFW: accuracies of packs, Table 3's rows of LFW and figure 6, beside the paper's.

What no drawn face can show. The photographs stay where they are: only figures, hashes and histograms are written.
"""
import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from arcface_mxnet.datasets.pair_folds import FOLDS, dealt_order
from arcface_mxnet.datasets.pairs import read_pack
from arcface_mxnet.engines.base import Place
from arcface_mxnet.evaluation import paper, verification
from arcface_mxnet.evaluation.angles import AngleStatistics, angle_statistics, pair_angle_samples
from arcface_mxnet.evaluation.command import model_hashes
from arcface_mxnet.evaluation.embedder import Embedder, is_onnx
from arcface_mxnet.evaluation.extraction import embed_source
from arcface_mxnet.evaluation.features import angles_of
from arcface_mxnet.evaluation.pairs import PairResult, evaluate_distances
from arcface_mxnet.evaluation.results import bootstrap_accuracy, file_hashes
from arcface_mxnet.evaluation.sources import Source, open_source
from arcface_mxnet.graph.checkpoint import load, parse_model
from arcface_mxnet.recognition.reproduction.figures import save
from arcface_mxnet.recognition.reproduction.provenance import Produced
from arcface_mxnet.recognition.reproduction.report import PHOTOGRAPHS
from arcface_mxnet.recognition.reproduction.result_figures import NEGATIVES, pair_histogram
from arcface_mxnet.recognition.reproduction.training_runs import genuine_embeddings
from arcface_mxnet.runtime.errors import InputError
from arcface_mxnet.runtime.files import atomic_open
from arcface_mxnet.runtime.pictures import canvas

import numpy as np

LFW = "lfw"
ROWS = {"Intra2 (LFW)": "intra", "Inter2 (LFW)": "inter"}
PAPERS_COLUMN = "ArcFace"
PUBLISHED_MODELS = {"b151f97e392e68cb540fb9710a91a574a4187d491eeda77d1c1799ae6dc3b82b": "MobileFaceNet, MS1MV1"}
"""SHA-256 of a published parameter file to its row of the model zoo in evaluation/paper.json."""
_ZOO_COLUMNS = {"lfw": "LFW", "cfp_fp": "CFP-FP", "agedb_30": "AgeDB-30"}
SEED = 0
ABOUT_ANGLES = ("Intra is the mean angle of an embedding to the mean direction EC of its identity, Inter the mean "
                "angle of an EC to the nearest other. With few images an embedding has a large share in its own EC: "
                "Intra of pairs is half the angle between the two. The paper does not say which images of LFW it took.")


class People(NamedTuple):
    """Embeddings (n, d) of photographs of people, their labels (n,), and a hash of names and bytes."""

    rows: np.ndarray
    labels: np.ndarray
    digest: str


@dataclass(frozen=True)
class Asked:
    """What is to be measured: a checkpoint "PREFIX,EPOCH", the folder of the packs, photographs by person or none."""

    model: str
    packs: Path
    people: Optional[Path] = None
    where: Optional[Place] = None


def pack_names(folder: Path) -> List[str]:
    """The packs in a folder, LFW's first; raises InputError where that is not there."""
    names = sorted(path.stem for path in folder.glob("*.bin"))
    if LFW not in names:
        raise InputError(f"{folder / LFW}.bin: not found; say with --data where the pack is, or make it with 'python "
                         "datasets/prepare.py pairs pairs.txt lfw.bin --images PHOTOGRAPHS'")
    return sorted(names, key=lambda name: name != LFW)


def measured_packs(asked: Asked, embedder: Embedder) -> Dict[str, PairResult]:
    """The figures of every pack by the protocol, mirror image added; all are opened before the first is embedded."""
    names = pack_names(asked.packs)
    options = verification.build_parser().options(model=asked.model, data_dir=str(asked.packs), out="")
    verification.open_packs(options, names, [embedder])
    return {name: verification.evaluate_target(options, read_pack(asked.packs / f"{name}.bin"), embedder)
            for name in names}


def people_of(path: Path, embedder: Embedder) -> People:
    """Photographs with a person each, embedded; raises InputError where there are no classes or a picture is bad."""
    source = open_source(path)
    if source.labels is None:
        raise InputError(f"--people {path}: has no classes; give a folder with a folder for each person, a .rec, or a "
                         "list of PATH<TAB>CLASS")
    rows, broken = embed_source(source, embedder.embed, None)
    if broken:
        raise InputError(f"--people {path}: {source.names[broken[0]]} cannot be read; take it out, or get another copy")
    return People(rows, source.labels, _digest(source))


def _digest(source: Source) -> str:
    digest = hashlib.sha256()
    for row, name in enumerate(source.names):
        digest.update(name.encode("utf-8") + b"\0" + hashlib.sha256(source.read(row)).digest())
    return digest.hexdigest()


def with_several(people: People) -> np.ndarray:
    """Which photographs (n,) are of somebody who has two or more."""
    _, which, counts = np.unique(people.labels, return_inverse=True, return_counts=True)
    return np.asarray(counts[which.reshape(-1)] > 1)


def table3_columns(asked: Asked, people: Optional[People]) -> Dict[str, AngleStatistics]:
    """Table 3's statistics, by whose identities they are."""
    rows, labels = genuine_embeddings(load(*parse_model(asked.model)), asked.packs / f"{LFW}.bin", asked.where)
    found = {"genuine pairs of the pack, one identity a pair": angle_statistics(rows, labels)}
    if people is not None:
        chosen = with_several(people)
        found["people with two or more photographs"] = angle_statistics(people.rows[chosen], people.labels[chosen])
    return found


def histograms(asked: Asked, lfw: PairResult, people: Optional[People], out: Path) -> Tuple[List[Path], Dict[str, Any]]:
    """Figure 6 of photographs: the pack's pairs, and all positive and random negative pairs of the people."""
    samples = {"LFW's pairs": (angles_of(lfw.distances[lfw.same]), angles_of(lfw.distances[~lfw.same]))}
    if people is not None:
        samples["all positive, random negative pairs"] = pair_angle_samples(people.rows, people.labels, NEGATIVES, SEED)
    picture, panels = canvas(1, len(samples), (4.6, 3.2))  # one below the other: to be read on a phone
    figures = {title: {**pair_histogram(axes, positive, negative, title), "positive pairs": len(positive),
                       "negative pairs": len(negative)}
               for axes, (title, (positive, negative)) in zip(panels, samples.items())}
    return save(picture, out, PHOTOGRAPHS), figures


def zoo_row(asked: Asked) -> str:
    """The row of the model zoo that a checkpoint is, by its bytes; empty for any other."""
    return next((PUBLISHED_MODELS[digest] for digest in model_hashes(asked.model).values()
                 if digest in PUBLISHED_MODELS), "")


def photographs(asked: Asked, out: Path) -> Produced:
    """Measure a model on photographs and write NAME.md and the histograms; the caller keeps NAME.json."""
    if is_onnx(asked.model) or "|" in asked.model:
        raise InputError(f"--model {asked.model}: give one checkpoint, PREFIX,EPOCH")
    embedder, zoo = Embedder.load(asked.model, asked.where), zoo_row(asked)
    packs = measured_packs(asked, embedder)
    people = people_of(asked.people, embedder) if asked.people else None
    columns = table3_columns(asked, people)
    pictures, angles = histograms(asked, packs[LFW], people, out)
    accuracies = {name: _accuracy(result) for name, result in packs.items()}
    figures = {"accuracies": accuracies, "table 3": {name: asdict(one) for name, one in columns.items()},
               "figure 6": angles}
    data = file_hashes([asked.packs / f"{name}.bin" for name in packs])
    if people is not None:
        data[f"{Path(str(asked.people)).name}, {len(people.labels):,} photographs"] = people.digest
    model = zoo or Path(asked.model.split(",")[0]).name
    protocol = (f"{model}; accuracy by {FOLDS} folds with the mirror image's embedding added, intervals of 95 % by "
                "bootstrap; angles of embeddings without the mirror image")
    page = out / f"{PHOTOGRAPHS}.md"
    with atomic_open(page, "w") as stream:
        stream.write("\n".join(_lines(zoo, model, accuracies, columns, angles)) + "\n")
    return Produced(PHOTOGRAPHS, [page, *pictures], protocol, figures,
                    {"model": model_hashes(asked.model), "data": data, **embedder.about()})


def _accuracy(result: PairResult) -> Dict[str, Any]:
    order = dealt_order(result.same, FOLDS)
    dealt = evaluate_distances(result.distances[order], result.same[order])
    return {"pairs": result.pairs, "accuracy": result.accuracy, "std": result.std, "auc": result.auc,
            "interval_95": bootstrap_accuracy(result.distances, result.same, FOLDS, seed=SEED),
            "accuracy, kinds dealt": dealt.accuracy}


# The section of the page.


def _lines(zoo: str, model: str, accuracies: Dict[str, Dict[str, Any]], columns: Dict[str, AngleStatistics],
           angles: Dict[str, Any]) -> List[str]:
    return [f"## On photographs: {model}", "",
            f"{'The published ' + model if zoo else model} on photographs of LFW. The paper's rows of Table 3 and its "
            "figure 6 are a ResNet50 under ArcFace trained on CASIA: another network on other data, so the two columns "
            "are alike in kind but not the same experiment.", "",
            *_accuracy_table(zoo, accuracies), "", *_angle_table(columns), "",
            *_figure_lines(angles), ""]


def _accuracy_table(zoo: str, accuracies: Dict[str, Dict[str, Any]]) -> List[str]:
    lines = ["| pack | pairs | accuracy % | 95 % interval | kinds dealt into folds % | AUC | model zoo % |",
             "|---|---|---|---|---|---|---|"]
    for name, found in accuracies.items():
        printed = None
        if zoo and name in _ZOO_COLUMNS:
            printed = paper.table("zoo").figure(zoo, _ZOO_COLUMNS[name]).value
        low, high = found["interval_95"]
        lines.append(f"| {name} | {found['pairs']:,} | {100 * found['accuracy']:.2f} ± {100 * found['std']:.2f} | "
                     f"{100 * low:.2f} to {100 * high:.2f} | {100 * found['accuracy, kinds dealt']:.2f} | "
                     f"{found['auc']:.5f} | {'-' if printed is None else f'{printed:g}'} |")
    more = ["", "The model zoo's figures are of the original's own crops of these photographs."] if zoo else []
    return lines + more


def _angle_table(columns: Dict[str, AngleStatistics]) -> List[str]:
    lines = ["| degrees | paper: [CASIA, R50, ArcFace] | " + " | ".join(columns) + " |",
             "|---|---|" + "---|" * len(columns)]
    printed = paper.table("table3")
    for row, name in ROWS.items():
        shown = [f"{getattr(one, name):.2f}" for one in columns.values()]
        lines.append(f"| {row} | {printed.figure(row, PAPERS_COLUMN).value} | {' | '.join(shown)} |")
    lines.append("| identities, images | not said | "
                 + " | ".join(f"{one.classes:,}, {one.images:,}" for one in columns.values()) + " |")
    return [*lines, "", ABOUT_ANGLES]


def _figure_lines(angles: Dict[str, Any]) -> List[str]:
    return ["Figure 6: angles between embeddings of one person (positive) and of two (negative)."] + [
        f"- {title}: {found['positive pairs']:,} positive pairs, mean {found['positive mean']:.1f} degrees; "
        f"{found['negative pairs']:,} negative, mean {found['negative mean']:.1f}; the histograms share "
        f"{100 * found['overlap']:.2f} % of their area" for title, found in angles.items()]
