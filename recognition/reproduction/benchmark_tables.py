"""Tables 4 to 9: one row a run, its columns measured on a benchmark; at demo scale on what stands for it."""
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from arcface_mxnet.datasets.pairs import read_pack
from arcface_mxnet.engines.base import Place
from arcface_mxnet.evaluation import paper
from arcface_mxnet.evaluation.embedder import Embedder
from arcface_mxnet.evaluation.iqiyi import MlpSettings, centre_scores, ensemble, mean_average_precision, train
from arcface_mxnet.evaluation.paper import PaperTable
from arcface_mxnet.evaluation.verification import evaluate_pack
from arcface_mxnet.recognition.engine.checkpoint import network_of
from arcface_mxnet.recognition.losses.sphereface import Annealing
from arcface_mxnet.recognition.reproduction import demo_benchmarks, paper_benchmarks
from arcface_mxnet.recognition.reproduction.demo_data import about_set, base_set, demo_set
from arcface_mxnet.recognition.reproduction.figures import Order
from arcface_mxnet.recognition.reproduction.paper_runs import (
    ENSEMBLE9,
    OTHER_MARGINS6,
    TABLE4,
    TABLE5,
    TABLE6,
    TABLE7,
    TABLE8,
    TABLE9,
    Subject,
)
from arcface_mxnet.recognition.reproduction.provenance import Produced
from arcface_mxnet.recognition.reproduction.tables import (
    LEFT_OUT,
    Comparison,
    recipe_of,
    table,
    trained_how,
    write_table,
)
from arcface_mxnet.recognition.reproduction.training_runs import (
    AnyRecipe,
    at_once,
    data_hash,
    published_model,
    recipe_json,
    told_runs,
    train_all,
    trained,
)
from arcface_mxnet.runtime.files import write_json
from arcface_mxnet.runtime.progress import progress
from arcface_mxnet.runtime.text import read_json

import numpy as np

Figures = Dict[str, float]
Measure = Callable[[demo_benchmarks.Embed, Order, str], Figures]
Found = Dict[str, List[Figures]]
ROUNDING = 1e-9  # equal shares of pairs may differ by this
OTHERS = "another group's network or data"


def recipe_and_data(subject: Subject, order: Order) -> Tuple[AnyRecipe, Path]:
    """How and on which folder a row is trained at the requested scale."""
    if order.scale == "demo":
        return recipe_of(order), demo_set(subject.demo, order.work, order.size)
    if subject.paper is None:
        raise ValueError(f"{subject.loss} on {subject.demo} is no run of the paper")
    recipe = order.paper.recipe(*subject.paper)
    return recipe, recipe.data


def subject_run(subject: Subject, seed: int, order: Order) -> Path:
    """The folder of a row's run, trained or taken up."""
    recipe, data = recipe_and_data(subject, order)
    return trained(subject.loss, seed, data, order.work, recipe)


def rows_at(order: Order, subjects: Mapping[str, Subject]) -> Dict[str, Subject]:
    """The requested rows that are run at a scale: any for the demo, at paper scale the paper's own networks."""
    return {row: subject for row, subject in subjects.items()
            if (order.scale == "demo" or subject.paper) and asked(order, row)}


def asked(order: Order, row: str) -> bool:
    """Whether a row is to be run."""
    return not order.rows or row in order.rows


def left_out(order: Order, rows: Iterable[str]) -> Dict[str, str]:
    """Why rows that are not to be run have no figures."""
    return {row: LEFT_OUT for row in rows if not asked(order, row)}


def embed_of(folder: Path, where: Optional[Place]) -> demo_benchmarks.Embed:
    """Images to the sum of the embeddings of each and of its mirror image, by the network of a run."""
    embedder = Embedder(network_of(folder)[1], where, batch_size=64)
    return lambda images: embedder.embed(images, flip="sum")


def images_and_videos(embed: demo_benchmarks.Embed, order: Order, row: str) -> Figures:
    """Table 4: accuracies in percent."""
    return {"LFW": _lfw(embed, order), "YTF": 100 * demo_benchmarks.video_pairs(embed, order.work).accuracy}


def age_and_pose(embed: demo_benchmarks.Embed, order: Order, row: str) -> Figures:
    """Table 5: accuracies in percent."""
    others = {name.upper(): demo_benchmarks.image_pairs(name, embed, order.work) for name in ("calfw", "cplfw")}
    return {"LFW": _lfw(embed, order), **{name: 100 * result.accuracy for name, result in others.items()}}


def _lfw(embed: demo_benchmarks.Embed, order: Order) -> float:
    pack = read_pack(base_set(order.work, order.size) / "lfw.bin")
    return 100 * evaluate_pack(embed, pack, flip="none").accuracy  # `embed` has added the mirror image


def identified(embed: demo_benchmarks.Embed, order: Order, row: str) -> Figures:
    """Table 6: percent; rows whose name ends in R after the cleaning."""
    result = demo_benchmarks.megaface(embed, order.work, refined=row.endswith(", R"))
    return {"Id": 100 * result.rank1, "Ver": 100 * result.tar[demo_benchmarks.MEGAFACE_FAR]}


def templates(embed: demo_benchmarks.Embed, order: Order, row: str) -> Figures:
    """Table 7: TAR as a share."""
    return {target: demo_benchmarks.template_pairs(embed, order.work, target).tar[demo_benchmarks.IJB_FAR]
            for target in demo_benchmarks.IJB_SUBJECTS}


def all_pairs(embed: demo_benchmarks.Embed, order: Order, row: str) -> Figures:
    """Table 8: percent."""
    result = demo_benchmarks.trillion_pairs(embed, order.work)
    return {"Id at FPR 1e-3": 100 * result.identification, "Ver at FPR 1e-9": 100 * result.verification}


def measured_rows(order: Order, name: str, subjects: Mapping[str, Subject], measure: Measure) -> Found:
    """Every row's run for every seed, trained or taken up, and measured."""
    train_rows(order, list(subjects.values()), name)
    tasks = {(row, seed): partial(row_figures, subject, seed, order, name, measure, row)
             for seed in order.seeds for row, subject in subjects.items()}
    found = at_once(tasks, order.jobs, f"figures of {name}")
    return {row: [found[row, seed] for seed in order.seeds] for row in subjects}


def train_rows(order: Order, subjects: Sequence[Subject], name: str) -> None:
    """The runs behind rows, each once, for every seed."""
    placed = [(subject.loss, recipe_and_data(subject, order)) for subject in dict.fromkeys(subjects)]
    train_all([(loss, seed, data, recipe) for seed in order.seeds for loss, (recipe, data) in placed], order.work,
              order.jobs, name)


def row_figures(subject: Subject, seed: int, order: Order, name: str, measure: Measure, row: str) -> Figures:
    """The figures of a row and a seed."""
    return measured_run(subject_run(subject, seed, order), order, name, measure, row)


def measured_run(run: Path, order: Order, name: str, measure: Measure, row: str) -> Figures:
    """The figures of a finished run: on the stand-ins at demo scale, by the evaluation commands at paper scale.

    They are kept in the run's folder, and measured again where the stand-ins are others.
    """
    kept = run / f"{name}{'-R' if row.endswith(', R') else ''}-{demo_benchmarks.digest()}-{order.scale}.json"
    if not kept.exists():
        write_json(kept, _measured(run, order, name, measure, row))
    return dict(read_json(kept))


def _measured(run: Path, order: Order, name: str, measure: Measure, row: str) -> Figures:
    if order.scale == "demo":
        return measure(embed_of(run, order.embeds_on), order, row)
    data = Path(network_of(run)[0].data.folder)
    network = order.paper.network(published_model(run))
    return paper_benchmarks.RUN[name](Path(order.data), data, network, run / name, row)


def cells_of(printed: PaperTable, subjects: Mapping[str, Subject], found: Found,
             why: Mapping[str, str]) -> List[Comparison]:
    """A cell for every number of the table, rows of ours behind the paper's; those without a run of ours say why."""
    cells = []
    for row in printed.rows:
        subject = subjects.get(row.name)
        for column, value in zip(printed.columns, row.values):
            if isinstance(value, str):
                continue
            values = [figures[column] for figures in found.get(row.name, []) if column in figures]
            told = f"{subject.loss} on {subject.demo}" if subject and values else ""
            cells.append(Comparison(row.name, column, value, values, "" if values else why.get(row.name, OTHERS), told))
    columns = dict.fromkeys(cell.column for cell in cells)
    cells += [Comparison(row, column, None, [figures[column] for figures in found[row]], "",
                         f"{subjects[row].loss} on {subjects[row].demo}")
              for row in found if row not in {one.name for one in printed.rows} for column in columns]
    return cells


def gaps(found: Found, better: str, worse: str) -> List[str]:
    """One row minus another in each column, paired by seed: mean, spread and how often ahead."""
    lines: List[str] = []
    for column in dict.fromkeys(column for figures in found[better] for column in figures):
        pairs = [a[column] - b[column] for a, b in zip(found[better], found[worse]) if column in a and column in b]
        if not pairs:
            continue
        spread = f" ± {np.std(pairs, ddof=1):.3g}" if len(pairs) > 1 else ""
        lines.append(f"{better} minus {worse}, {column}: {np.mean(pairs):+.3g}{spread} "
                     f"(ahead in {sum(gap > ROUNDING for gap in pairs)} of {len(pairs)} seeds)")
    return lines


def made_of(order: Order, subjects: Sequence[Subject]) -> Dict[str, Any]:
    """What stands behind a table of rows: recipe, seeds, training sets with their hashes, runs and their commits."""
    recipes = [recipe_and_data(subject, order) for subject in subjects]
    runs = [subject_run(subject, seed, order) for subject in subjects for seed in order.seeds]
    return {"recipes": list({str(recipe): recipe_json(recipe) for recipe, _ in recipes}.values()),
            "seeds": list(order.seeds), "data": {data.name: data_hash(data) for _, data in recipes},
            **told_runs(runs)}


def told_sets(order: Order, subjects: Sequence[Subject]) -> str:
    """The training sets of a table, in words."""
    return "; ".join(f"{name}: {about_set(name, order.size)}"
                     for name in dict.fromkeys(subject.demo for subject in subjects))


def benchmark_table(order: Order, name: str, subjects: Mapping[str, Subject], measure: Measure,
                    benchmarks: Sequence[str], compared: Sequence[Tuple[str, str]], why: Mapping[str, str]) -> Produced:
    """A whole table."""
    why = {**why, **left_out(order, subjects)}
    printed, subjects = paper.table(name), rows_at(order, subjects)
    found = measured_rows(order, name, subjects, measure)
    runs = list(dict.fromkeys(subjects.values()))
    findings = [line for better, worse in compared if {better, worse} <= set(found)
                for line in gaps(found, better, worse)] + annealed(order, runs)
    return write_table(order.out, printed, cells_of(printed, subjects, found, why),
                       protocol_line(order, benchmarks, runs), made_of(order, runs), findings, order.scale == "paper")


def annealed(order: Order, subjects: Sequence[Subject]) -> List[str]:
    """What must be said of SphereFace's annealed margin in runs that end before it is whole."""
    recipes = [recipe_and_data(subject, order)[0] for subject in subjects if subject.loss == "sphereface"]
    schedule = Annealing()
    left = [schedule.base / (1.0 + schedule.gamma * recipe.steps) for recipe in recipes]
    return [f"SphereFace anneals its margin in: lambda is {value:.0f} at the last of these steps and "
            f"{schedule.lowest:g} in its own runs, so little of the margin acts here" for value in left
            if value > schedule.lowest]


def protocol_line(order: Order, benchmarks: Sequence[str], runs: Sequence[Subject], more: str = "") -> str:
    """How the rows of a table were trained and measured."""
    if order.scale == "paper":
        cut = f", cut to {order.max_steps} steps" if order.max_steps else ""
        return (f"the paper's sets and recipes{cut}; {', '.join(benchmarks)} by the evaluation commands, whose "
                f"result.json stand in the runs' folders; seeds {', '.join(map(str, order.seeds))}")
    return (f"stand-ins of 32x32 built-in faces. {'. '.join(demo_benchmarks.ABOUT[one] for one in benchmarks)}. {more}"
            f"Training sets: {told_sets(order, runs)}. {trained_how(order, 'table2')}")


@table("table4")
def table4(order: Order) -> Produced:
    """Verification of images and of videos by several methods."""
    rows = list(TABLE4)
    return benchmark_table(order, "table4", TABLE4, images_and_videos, ("LFW", "YTF"),
                           [(rows[-1], row) for row in rows[:-1]], {})


@table("table5")
def table5(order: Order) -> Produced:
    """Verification across age and pose."""
    rows = list(TABLE5)
    return benchmark_table(order, "table5", TABLE5, age_and_pose, ("LFW", "CALFW", "CPLFW"),
                           [(rows[-1], row) for row in rows[:-1]],
                           {name: "needs people who judge" for name in ("HUMAN-Individual", "HUMAN-Fusion")})


@table("table6")
def table6(order: Order) -> Produced:
    """Identification and verification among distractors."""
    rows = list(TABLE6)
    ours, refined = "CASIA, R50, ArcFace", "CASIA, R50, ArcFace, R"
    compared = [(ours, row) for row in rows[:8]] + [(refined, ours), ("MS1MV2, R100, ArcFace", ours),
                                                    ("MS1MV2, R100, ArcFace", "MS1MV2, R100, CosFace"),
                                                    ("MS1MV2, R100, ArcFace, R", "MS1MV2, R100, CosFace, R")]
    compared += [(row, ours) for row in OTHER_MARGINS6]
    return benchmark_table(order, "table6", {**TABLE6, **OTHER_MARGINS6}, identified, ("MegaFace",), compared, {})


@table("table7")
def table7(order: Order) -> Produced:
    """1:1 verification of templates."""
    return benchmark_table(order, "table7", TABLE7, templates, ("IJB",),
                           [("MS1MV2, R100, ArcFace", "VGG2, R50, ArcFace"), ("VGG2, R50, ArcFace", "ResNet50")], {})


@table("table8")
def table8(order: Order) -> Produced:
    """All probes against all others, by training set."""
    return benchmark_table(order, "table8", TABLE8, all_pairs, ("Trillion-Pairs",),
                           [("MS1MV2", "CASIA"), ("MS1MV2+Asian", "MS1MV2"), ("MS1MV2+Asian", "DeepGlint-Face")],
                           {"CIGIT_IRSEC (other team)": "another team's system"})


# Table 9: retrieval of people among clips, each step of the paper on top of the one before.


BASE, MLP, ENSEMBLE = "MS1MV2+Asian, R100, ArcFace", "+MLP", "+Ensemble"
MLP_BATCH = 64  # the paper's 1,024 is more than the 240 training clips
WHY = {"+Context": "the built-in pictures show no objects or scenes", "Other participant": "another team's system"}


STEPS = {"centre": BASE, "mlp": MLP, "ensemble": ENSEMBLE}


def retrieved(order: Order, seed: int) -> Dict[str, Figures]:
    """MAP in percent of each step for the runs of one seed."""
    if order.scale == "paper":
        runs = [subject_run(subject, seed, order) for subject in (TABLE9[BASE], ENSEMBLE9)]
        networks = [order.paper.network(published_model(run)) for run in runs]
        found = paper_benchmarks.retrieved(Path(order.data), networks, runs[0] / "table9")
        return {STEPS[step]: {"MAP": value} for step, value in found.items()}
    settings = MlpSettings(batch=MLP_BATCH, seed=seed)
    scores: List[np.ndarray] = []
    figures: Dict[str, Figures] = {}
    for subject in (TABLE9[BASE], ENSEMBLE9):
        embed = embed_of(subject_run(subject, seed, order), order.embeds_on)
        training, test = demo_benchmarks.retrieval_videos(embed, order.work)
        if not scores:
            cosine = centre_scores(training, test.features, demo_benchmarks.IQIYI_PERSONS)
            figures[BASE] = {"MAP": 100 * mean_average_precision(cosine, test.classes)}
        classifier = train(training.features, training.classes, demo_benchmarks.IQIYI_PERSONS + 1, settings)
        scores.append(classifier.outputs(test.features)[:, 1:])
        figures.setdefault(MLP, {"MAP": 100 * mean_average_precision(scores[0], test.classes)})
    figures[ENSEMBLE] = {"MAP": 100 * mean_average_precision(ensemble(scores, [1.0] * len(scores)), test.classes)}
    return figures


@table("table9")
def table9(order: Order) -> Produced:
    """MAP of clips: cosine to the mean training clip, a classifier, two networks together."""
    printed = paper.table("table9")
    found: Dict[str, List[Figures]] = {}
    for seed in progress(order.seeds, len(order.seeds), "runs of table9", "seeds"):
        for row, figures in retrieved(order, seed).items():
            found.setdefault(row, []).append(figures)
    subjects = {row: TABLE9[BASE] for row in found}
    used = [TABLE9[BASE], ENSEMBLE9]
    more = (f"The step without MLP is the cosine to a person's mean training clip; MLP with the paper's settings but "
            f"batch {MLP_BATCH}; the ensemble adds {ENSEMBLE9.loss} on the same set. ")
    return write_table(order.out, printed, cells_of(printed, subjects, found, WHY),
                       protocol_line(order, ("iQIYI",), used, more), made_of(order, used),
                       [*gaps(found, MLP, BASE), *gaps(found, ENSEMBLE, MLP)], order.scale == "paper")
