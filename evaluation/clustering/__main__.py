"""Cluster saved features: `python -m arcface_mxnet.evaluation.clustering --features F.npy --method gcn --out DIR`."""
import argparse
import sys
from dataclasses import asdict, replace
from typing import Any, Dict, Optional, Sequence, Tuple

from arcface_mxnet.evaluation.angles import read_labels
from arcface_mxnet.evaluation.clustering.graphs import (
    FIRST_THRESHOLD,
    MOST_NODES,
    TESTING_HOPS,
    TRAINING_HOPS,
    Hops,
    by_dbscan,
    by_propagation,
    by_threshold,
    nearest_neighbours,
)
from arcface_mxnet.evaluation.clustering.network import TrainingPlan, cluster_scores, link_probabilities, train_linkage
from arcface_mxnet.evaluation.command import add_out_flag, load_features, model_hashes, parser
from arcface_mxnet.evaluation.features import normalise
from arcface_mxnet.evaluation.results import About, Entry, Row, file_hashes, write_results
from arcface_mxnet.graph.checkpoint import Checkpoint, load, parse_model, save
from arcface_mxnet.runtime.arguments import Parser
from arcface_mxnet.runtime.errors import InputError, run_command
from arcface_mxnet.runtime.files import atomic_open

import numpy as np

METHODS = ("gcn", "threshold", "dbscan")


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Cluster features and, where classes are known, score the clusters."""
    options = build_parser().parse_args(argv)
    features = normalise(np.asarray(load_features(options.features), np.float32))
    labels = read_labels(options.labels, len(features)) if options.labels else None
    if labels is not None and len(set(labels.tolist())) < 2:
        raise InputError(f"{options.labels}: every image is of class {labels[0]}; clusters of one identity have no "
                         "score, leave --labels out")
    clusters, protocol, model = _cluster(options, features)
    with_scores: Dict[str, Any] = {"clusters": int(len(np.unique(clusters))), "images": len(clusters)}
    rows = []
    if labels is not None:
        scores = cluster_scores(labels, clusters)
        with_scores = asdict(scores)
        rows = [Row(f"{options.method}: {name}", 100 * value) for name, value in
                (("pairwise F", scores.pairwise_f), ("BCubed F", scores.bcubed_f), ("NMI", scores.nmi))]
        sys.stdout.write("".join(f"{row.what} {row.ours:.2f} %\n" for row in rows))
    about = About("clustering", protocol, model, file_hashes([options.features]))
    path = write_results(options.out, {options.method: Entry(with_scores, about, rows)})
    with atomic_open(path.parent / "clusters.txt", "w") as stream:
        stream.writelines(f"{number}\n" for number in clusters)
    sys.stdout.write(f"{path.parent / 'clusters.txt'}: {with_scores['clusters']} clusters of {len(clusters)} images\n")


def _cluster(options: argparse.Namespace, features: np.ndarray) -> Tuple[np.ndarray, str, Dict[str, str]]:
    """Clusters, the protocol in words, and the hashes of the linkage network, if there is one."""
    hops = _hops(options.hops, TESTING_HOPS).within(len(features))
    if options.method == "gcn":
        network = _network(options, features.shape[1])
        neighbours, _ = nearest_neighbours(features, max(hops.k1, hops.k2, hops.u))
        scores = link_probabilities(network, features, neighbours, hops)
        threshold = FIRST_THRESHOLD if options.threshold is None else options.threshold
        return (by_propagation(neighbours[:, :hops.k1], scores, options.most_nodes, threshold=threshold),
                f"linkage network, {hops}, first threshold {threshold}, components of at most {options.most_nodes}",
                model_hashes(options.model or f"{options.out}/linkage,0"))
    neighbours, cosines = nearest_neighbours(features, hops.k1)
    if options.threshold is None:
        raise InputError(f"--method {options.method} needs --threshold, a cosine from -1 to 1")
    if options.method == "threshold":
        return (by_threshold(neighbours, cosines, options.threshold),
                f"connected components, cosine at least {options.threshold}, {hops.k1} neighbours", {})
    return (by_dbscan(neighbours, cosines, 1 - options.threshold, options.core),
            f"DBSCAN, cosine at least {options.threshold}, {hops.k1} neighbours, core of {options.core}", {})


def _network(options: argparse.Namespace, dimensions: int) -> Checkpoint:
    """The network of --network, or one trained on --train-features and saved as OUT/linkage."""
    if options.model:
        return load(*parse_model(options.model))
    if not options.train_features or not options.train_labels:
        raise InputError("--method gcn needs --network PREFIX,EPOCH, or --train-features and --train-labels")
    features = normalise(np.asarray(load_features(options.train_features, dimensions=dimensions), np.float32))
    labels = read_labels(options.train_labels, len(features))
    hops = _hops(options.train_hops, TRAINING_HOPS).within(len(features))
    neighbours, _ = nearest_neighbours(features, max(hops.k1, hops.k2, hops.u))
    plan = replace(TrainingPlan(), epochs=options.epochs, rate=options.lr, seed=options.seed)
    network = train_linkage(features, neighbours, labels, hops, plan)
    save(network, f"{options.out}/linkage", 0)
    return network


def _hops(text: Optional[str], default: Hops) -> Hops:
    if text is None:
        return default
    parts = text.split(",")
    if len(parts) != 3 or not all(part.strip().isdigit() and int(part) for part in parts):
        raise InputError(f"hops '{text}': expected K1,K2,U, for example {default.k1},{default.k2},{default.u}")
    return Hops(*(int(part) for part in parts))


def build_parser() -> Parser:
    """The command line."""
    flags = parser("Clusters of face embeddings, with pairwise F, BCubed F and NMI where classes are given.",
                   "python -m arcface_mxnet.evaluation.clustering --features f/embeddings.npy "
                   "--labels f/labels.txt --method gcn "
                   "--train-features t/embeddings.npy --train-labels t/labels.txt --out results/clusters")
    flags.add_argument("--features", required=True, metavar="FILE.npy", help="embeddings (n, d)")
    flags.add_argument("--labels", metavar="FILE", help="one integer class a line, to score the clusters")
    flags.add_argument("--method", default="gcn", choices=METHODS, help="how images are joined (default gcn)")
    flags.add_argument("--threshold", type=float, help="cosine of a link (threshold, dbscan); gcn: first probability")
    flags.add_argument("--core", type=int, default=3, help="DBSCAN: images of a core point, with itself (default 3)")
    flags.add_argument("--hops", metavar="K1,K2,U", help="neighbours looked at (default 80,5,5)")
    flags.add_argument("--most-nodes", type=int, default=MOST_NODES, help="gcn: largest component kept (default 900)")
    flags.add_argument("--model", metavar="PREFIX,EPOCH", help="gcn: a linkage network trained before")
    flags.renamed("--network", to="--model")
    flags.add_argument("--train-features", metavar="FILE.npy", help="embeddings to train the linkage network on")
    flags.add_argument("--train-labels", metavar="FILE", help="their classes")
    flags.add_argument("--train-hops", metavar="K1,K2,U", help="as --hops, in training (default 200,10,10)")
    flags.add_argument("--epochs", type=int, default=TrainingPlan.epochs, help="of the training (default 4)")
    flags.add_argument("--lr", type=float, default=TrainingPlan.rate, help="learning rate (default 0.01)")
    flags.renamed("--rate", to="--lr")
    flags.add_argument("--seed", type=int, default=0, help="of the training")
    add_out_flag(flags)
    return flags


if __name__ == "__main__":
    run_command(main)
