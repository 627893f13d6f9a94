"""iQIYI-VID: each person is a query, at most 100 test videos are ranked for it; the figure is MAP (paper, Table 9).

The steps are the paper's: the centre of frame features, an MLP on it, the weighted sum over models, and the same with
classifiers on context features (objects, scenes). The paper gives average precision in words only, and the weights
and the context not at all: the formula (`mean_average_precision`), cosine to a person's mean training video as the
step without MLP, and equal weights by default are our reading.
"""
import argparse
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Dict, List, NamedTuple, Optional, Sequence, Tuple

from arcface_mxnet.evaluation.command import (
    add_flip_flag,
    add_network_flags,
    add_out_flag,
    add_size_flag,
    embedder_of,
    load_features,
    model_hashes,
    parser,
    read_ids,
)
from arcface_mxnet.evaluation.features import check_embeddings, normalise
from arcface_mxnet.evaluation.ijb.templates import pool
from arcface_mxnet.evaluation.paper import published_iqiyi
from arcface_mxnet.evaluation.results import About, Entry, Row, file_hashes, write_results
from arcface_mxnet.evaluation.video import features_from_frames
from arcface_mxnet.graph import symbol as sym
from arcface_mxnet.runtime.arguments import Parser
from arcface_mxnet.runtime.errors import InputError, run_command
from arcface_mxnet.runtime.files import PathLike
from arcface_mxnet.runtime.progress import progress

import numpy as np

if TYPE_CHECKING:  # MXNet loads only where it is used
    from arcface_mxnet.engines.mxnet.classifier import Classifier

DEPTH = 100
NOISE = "0"


class Videos(NamedTuple):
    """Video features (v, d) and the class of each (v,): 0 noise, then persons in the order of their names."""

    features: np.ndarray
    classes: np.ndarray


def frame_centres(features: np.ndarray, videos: Sequence[str]) -> Tuple[List[str], np.ndarray]:
    """Distinct videos in order and, for each, the L2-normalised mean of its rows of (n, d): float32 (v, d)."""
    names, video = np.unique(np.asarray(videos), return_inverse=True)
    return names.tolist(), pool(lambda rows: features[rows], video, np.arange(len(video))).features


def mean_average_precision(scores: np.ndarray, classes: np.ndarray, depth: int = DEPTH) -> float:
    """MAP at `depth` of scores (v, persons) for classes (v,), person j being class j + 1.

    AP of a person = sum over k <= depth, the k-th video being theirs, of precision at k / number of their videos
    (our reading: the challenge's normaliser was not published). Videos of equal score keep their order. Persons
    without a test video do not count. Raises InputError for scores that are NaN and when nobody has a video.
    """
    if np.isnan(scores).any():
        raise InputError("scores: not a number (NaN); the features or the classifier are broken")
    precisions = []
    for person in range(scores.shape[1]):
        relevant = classes == person + 1
        if not relevant.any():
            continue
        order = np.argsort(-scores[:, person], kind="stable")[:depth]
        places = np.flatnonzero(relevant[order])
        precisions.append(float(np.sum(np.arange(1, len(places) + 1) / (places + 1)) / relevant.sum()))
    if not precisions:
        raise InputError("test labels: no person of the training videos has a test video")
    return float(np.mean(precisions))


def centre_scores(training: Videos, test: np.ndarray, persons: int) -> np.ndarray:
    """Cosine (v, persons) of test videos to the mean of each person's training videos; zero for a person without."""
    known = pool(lambda rows: training.features[rows], training.classes, np.arange(len(training.classes)))
    centres = np.zeros((persons + 1, training.features.shape[1]))
    centres[known.ids] = known.features
    return normalise(test.astype(np.float64)) @ centres[1:].T


def ensemble(scores: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    """The weighted sum of scores of equal shape; raises InputError when weights and scores differ in number."""
    if len(scores) != len(weights) or not scores:
        raise InputError(f"{len(weights)} weights for {len(scores)} models; give one weight per model")
    return np.sum([weight * one for one, weight in zip(scores, weights)], axis=0)


def read_labels(path: PathLike) -> Dict[str, str]:
    """"VIDEO PERSON" a line (PERSON 0 is noise), each video once; raises InputError naming file and line."""
    labels: Dict[str, str] = {}
    for number, line in enumerate(read_ids(path), 1):
        words = line.split()
        if len(words) != 2:
            raise InputError(f"{path}: line {number}: expected VIDEO PERSON")
        if words[0] in labels:
            raise InputError(f"{path}: line {number}: {words[0]} is labelled twice; give every video one label")
        labels[words[0]] = words[1]
    if not labels:
        raise InputError(f"{path}: no label in it; write VIDEO PERSON for each video, PERSON 0 for noise")
    return labels


def main(argv: Optional[Sequence[str]] = None) -> None:
    """The command."""
    run(build_parser().parse_args(argv))


def run(options: argparse.Namespace) -> None:
    """Every step of Table 9 that the given features allow."""
    for flag in ("hidden", "epochs", "mlp_batch_size"):
        if getattr(options, flag) < 1:
            raise InputError(f"--{flag.replace('_', '-')} {getattr(options, flag)}: at least 1")
    labels = [read_labels(path) for path in (options.train_labels, options.test_labels)]
    persons = sorted(set(labels[0].values()) - {NOISE})
    number = {NOISE: 0, **{person: place for place, person in enumerate(persons, 1)}}
    sets = _feature_sets(options, labels, number)
    faces = len(sets) - len(options.context_train)
    weights = _weights(options.weights, faces, len(sets))
    for training, test in sets:
        check_embeddings(test.features, "test features", dimensions=training.features.shape[1])
    settings = MlpSettings(hidden=options.hidden, epochs=options.epochs, batch=options.mlp_batch_size,
                           seed=options.seed)
    truth = sets[0][1].classes
    steps = {"centre": mean_average_precision(centre_scores(sets[0][0], sets[0][1].features, len(persons)), truth)}
    softmax = [train(training.features, training.classes, len(persons) + 1, settings).outputs(test.features)[:, 1:]
               for training, test in sets]
    steps["mlp"] = mean_average_precision(softmax[0], truth)
    if faces > 1:
        steps["ensemble"] = mean_average_precision(ensemble(softmax[:faces], weights[:faces]), truth)
    if faces < len(sets):
        steps["context"] = mean_average_precision(ensemble(softmax, weights), truth)
    rows = [Row(f"iQIYI-VID MAP: {name}", 100 * value, *published_iqiyi(name, len(persons), len(truth)))
            for name, value in steps.items()]
    data = [*options.train_features, *options.test_features, *options.context_train, *options.context_test,
            options.train_labels, options.test_labels]
    about = About("iqiyi", f"MAP at {DEPTH}, our reading, see evaluation/iqiyi.py",
                  model_hashes(options.model) if options.model else {}, file_hashes(data),
                  {"weights": weights, "seed": options.seed, "epochs": options.epochs})
    for name, value in steps.items():
        sys.stdout.write(f"iQIYI-VID MAP {name}: {100 * value:.2f} %\n")
    entry = Entry({"map": steps, "persons": len(persons), "test_videos": len(truth)}, about, rows)
    sys.stdout.write(f"{write_results(options.out, {'iqiyi': entry})}\n")


def _weights(given: Optional[Sequence[float]], faces: int, count: int) -> List[float]:
    """One weight for each of `count` models and contexts, the first `faces` of them face models."""
    weights = list(given or [1.0] * count)
    if len(weights) != count or not all(0 <= weight < np.inf for weight in weights) or not any(weights[:faces]):
        raise InputError(f"--weights: {len(weights)} given for {count} models and contexts; give one number of at "
                         "least 0 each, above 0 for a face model at least")
    return weights


def _feature_sets(options: argparse.Namespace, labels: Sequence[Dict[str, str]],
                  number: Dict[str, int]) -> List[Tuple[Videos, Videos]]:
    """(training, test) videos of each face model, then of each context classifier."""
    faces = (options.train_features, options.test_features)
    contexts = (options.context_train, options.context_test)
    if len(faces[0]) != len(faces[1]) or len(contexts[0]) != len(contexts[1]) or bool(faces[0]) == bool(options.model):
        raise InputError("give as many --test-features (and --context-test) files as --train-features "
                         "(and --context-train), at least one, or --model with --train-frames and --test-frames")
    ids = [options.train_ids, options.test_ids]
    if (faces[0] or contexts[0]) and not all(ids):
        raise InputError("--train-ids and --test-ids are needed: the video of each row, one a line")
    made = [_from_frames(options, model, labels, number) for model in options.model.split("|")] if options.model else []
    for pair in [*zip(*faces), *zip(*contexts)]:
        training, test = (_videos(load_features(path), ids[part], labels[part], number)
                          for part, path in enumerate(pair))
        made.append((training, test))
    return made


def _videos(features: np.ndarray, ids: str, labels: Dict[str, str], number: Dict[str, int]) -> Videos:
    names, centres = frame_centres(features, read_ids(ids, len(features)))
    return Videos(centres, _classes(names, labels, number))


def _from_frames(options: argparse.Namespace, model: str, labels: Sequence[Dict[str, str]],
                 number: Dict[str, int]) -> Tuple[Videos, Videos]:
    if not options.train_frames or not options.test_frames:
        raise InputError("--model needs --train-frames and --test-frames, folders of VIDEO/*.jpg")
    embedder, made = embedder_of(options, model), []
    for root, known in zip((options.train_frames, options.test_frames), labels):
        names = sorted(known)
        features = features_from_frames(root, names, lambda images: embedder.embed(images, options.flip),
                                        options.size, "centre")
        made.append(Videos(features.astype(np.float32), _classes(names, known, number)))
    return made[0], made[1]


def _classes(names: Sequence[str], labels: Dict[str, str], number: Dict[str, int]) -> np.ndarray:
    """The class of each video; a test video of a person who is not in the training videos counts as noise.

    Raises InputError for a video without label and for a label without video.
    """
    missing = [name for name in names if name not in labels]
    if missing:
        raise InputError(f"{len(missing)} of {len(names)} videos have no label, the first: {missing[0]}; "
                         "write VIDEO PERSON for each, PERSON 0 for noise")
    without = sorted(set(labels).difference(names))
    if without:
        raise InputError(f"{len(without)} of {len(labels)} labelled videos have no features, the first: {without[0]}; "
                         "extract them, or take their labels out")
    return np.array([number.get(labels[name], 0) for name in names], np.int64)


def build_parser() -> Parser:
    """The command line."""
    flags = parser("MAP of person retrieval among test videos.",
                   "python evaluation/iqiyi.py --train-features A.npy B.npy --train-ids train.txt --train-labels "
                   "train_labels.txt --test-features A2.npy B2.npy --test-ids test.txt --test-labels test_labels.txt "
                   "--out results/iqiyi")
    flags.add_argument("--model", metavar="PREFIX,EPOCH", help="checkpoint; several joined by | are the ensemble")
    for part in ("train", "test"):
        flags.add_argument(f"--{part}-features", nargs="+", default=[], metavar="FILE.npy",
                           help="frame features (n, d), one file a model")
        flags.add_argument(f"--{part}-ids", metavar="FILE", help="the video of each row, one a line")
        flags.add_argument(f"--{part}-frames", metavar="DIR", help="folder of VIDEO/*.jpg, aligned, for --model")
        flags.add_argument(f"--{part}-labels", required=True, metavar="FILE", help="VIDEO PERSON a line, 0 is noise")
        flags.add_argument(f"--context-{part}", nargs="+", default=[], metavar="FILE.npy",
                           help="features of object or scene classifiers, same rows as the face features")
    flags.add_argument("--weights", nargs="+", type=float, help="of each model, then each context (default 1 each)")
    flags.add_argument("--epochs", type=int, default=40, help="of the MLP (default 40)")
    flags.add_argument("--hidden", type=int, default=1024, help="width of the MLP (default 1024)")
    flags.add_argument("--mlp-batch-size", type=int, default=1024, help="videos a step of the MLP (default 1024)")
    flags.renamed("--mlp-batch", to="--mlp-batch-size")
    flags.add_argument("--seed", type=int, default=0, help="of the MLP (default 0)")
    add_flip_flag(flags)
    add_size_flag(flags)
    add_network_flags(flags)
    add_out_flag(flags)
    return flags


# The classifier on video features of the iQIYI-VID challenge (docs/original.md, section 8.3).
#
# FC 1024, BN, PReLU twice, the second with a skip connection (equal sizes), FC over persons and noise, softmax; Xavier;
# SGD 0.2, momentum 0.9, weight decay 5e-4, bias rate doubled, batch 1,024, 40 epochs, a tenth from epochs 30 and 35.


@dataclass(frozen=True)
class MlpSettings:
    """How the classifier is trained; the defaults are the paper's."""

    hidden: int = 1024
    epochs: int = 40
    steps: Tuple[int, ...] = (30, 35)
    rate: float = 0.2
    momentum: float = 0.9
    decay: float = 5e-4
    batch: int = 1024
    seed: int = 0


def network(inputs: int, classes: int, hidden: int) -> sym.Symbol:
    """The classifier as a symbol of (b, inputs) features and (b,) labels; its output is the softmax (b, classes)."""
    layer = sym.Variable("data")
    width = inputs
    for number in (1, 2):
        made = _linear(layer, f"fc{number}", hidden)
        made = sym.BatchNorm(made, name=f"bn{number}", fix_gamma=False, eps=2e-5, momentum=0.9)
        made = sym.LeakyReLU(made, name=f"relu{number}", act_type="prelu")
        layer = made + layer if width == hidden else made
        width = hidden
    return sym.SoftmaxOutput(_linear(layer, "fc3", classes), name="softmax", normalization="batch")


def train(features: np.ndarray, labels: np.ndarray, classes: int, settings: MlpSettings) -> "Classifier":
    """Train on (v, d) video features and class numbers (v,) below `classes`; repeatable by `settings.seed`.

    `Classifier.outputs` gives the softmax (v, classes) of videos. Raises InputError when labels and features differ in
    number or a label is out of range.
    """
    from arcface_mxnet.engines.mxnet.classifier import Classifier, Schedule  # MXNet loads only where it is used

    if len(features) != len(labels) or not len(labels):
        raise InputError(f"{len(features)} training videos and {len(labels)} labels; one label per video is needed")
    if labels.min() < 0 or labels.max() >= classes:
        raise InputError(f"training labels {labels.min()}..{labels.max()}: outside 0..{classes - 1}")
    batch = min(settings.batch, len(features))
    per_epoch = -(-len(features) // batch)
    drops = tuple(step * per_epoch for step in settings.steps if step < settings.epochs)
    schedule = Schedule(settings.rate, drops, settings.momentum, settings.decay, settings.seed)
    shapes = {"data": (batch, features.shape[1])}
    classifier = Classifier(network(features.shape[1], classes, settings.hidden), shapes, schedule)
    generator = np.random.RandomState(settings.seed)
    for _ in progress(range(settings.epochs), label="MLP", unit="epochs"):
        order = generator.permutation(len(features))
        order = np.r_[order, order[:per_epoch * batch - len(order)]]
        classifier.train((np.asarray(features[rows], np.float32), labels[rows])
                         for rows in order.reshape(per_epoch, batch))
    return classifier


def _linear(data: sym.Symbol, name: str, size: int) -> sym.Symbol:
    bias = sym.Variable(f"{name}_bias", lr_mult=2.0)
    return sym.FullyConnected(data, bias=bias, num_hidden=size, name=name)


if __name__ == "__main__":
    run_command(main)
