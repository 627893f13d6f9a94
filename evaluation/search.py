"""Gallery search: the k nearest of a gallery that may be larger than memory, exactly and in a defined order.

Cosine similarity, larger first, the smaller row first among equals. Candidates come from blocks of float32 products
(or from FAISS, where it is installed); their order is settled in float64, and a query whose candidates cannot be told
from the rest within the rounding of float32 is searched again in float64. So both backends give the same result.
"""
import importlib
import importlib.util
import sys
from dataclasses import dataclass
from typing import Any, Iterator, Optional, Sequence, Tuple

from arcface_mxnet.evaluation.command import add_out_flag, load_features, parser, read_ids
from arcface_mxnet.evaluation.features import normalise, rounding
from arcface_mxnet.evaluation.results import About, Entry, file_hashes, write_results
from arcface_mxnet.runtime.arguments import Parser
from arcface_mxnet.runtime.errors import InputError, run_command
from arcface_mxnet.runtime.files import atomic_open
from arcface_mxnet.runtime.progress import progress

import numpy as np

BACKENDS = ("auto", "blocks", "faiss")
QUERIES_AT_ONCE, GALLERY_AT_ONCE = 512, 16384
SPARE_CANDIDATES = 16
"""Taken beyond k, so that rounding at the k-th place seldom asks for a second search."""
SEARCHED_AGAIN_AT_ONCE = 16


@dataclass(frozen=True)
class Neighbours:
    """Per query the k nearest gallery rows: int64 (q, k) and their cosines float64 (q, k), best first."""

    rows: np.ndarray
    cosines: np.ndarray


def search(queries: np.ndarray, gallery: np.ndarray, k: int, backend: str = "auto") -> Neighbours:
    """The k nearest rows of `gallery` (g, d) for each of `queries` (q, d); either may be memory-mapped.

    `backend`: "blocks", "faiss", or "auto" (FAISS if it is installed). A zero row has cosine 0 to everything. Raises
    InputError for dimensions that differ, k outside 1..g and a missing FAISS.
    """
    if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1]:
        raise InputError(f"queries {queries.shape} and gallery {gallery.shape}: their dimensions differ; "
                         "use features of one model")
    if not 1 <= k <= len(gallery):
        raise InputError(f"--k {k}: between 1 and the gallery's {len(gallery)} rows")
    find = _candidates_by_faiss if use_faiss(backend) else _candidates_by_blocks
    wanted = min(k + SPARE_CANDIDATES, len(gallery))
    rows = np.empty((len(queries), k), np.int64)
    cosines = np.empty((len(queries), k))
    for start in progress(range(0, len(queries), QUERIES_AT_ONCE), label="search", unit="blocks of queries"):
        part = slice(start, start + QUERIES_AT_ONCE)
        unit = normalise(np.asarray(queries[part], np.float64))
        found = find(unit.astype(np.float32), gallery, wanted)
        rows[part], cosines[part] = _settle(unit, gallery, found, k)
    return Neighbours(rows, cosines)


def use_faiss(backend: str) -> bool:
    """Whether a --backend value means FAISS here; raises InputError when it is requested and not installed."""
    installed = importlib.util.find_spec("faiss") is not None
    if backend == "faiss" and not installed:
        raise InputError("--backend faiss: FAISS is not installed; pip install faiss-cpu, or use --backend blocks")
    return installed and backend in ("auto", "faiss")


def _gallery_blocks(gallery: np.ndarray, dtype: Any) -> Iterator[Tuple[int, np.ndarray]]:
    for start in range(0, len(gallery), GALLERY_AT_ONCE):
        yield start, normalise(np.array(gallery[start:start + GALLERY_AT_ONCE], dtype), copy=False)


def _candidates_by_blocks(queries: np.ndarray, gallery: np.ndarray, wanted: int) -> np.ndarray:
    """Rows of the `wanted` largest float32 products of each query, in no order: int64 (q, wanted)."""
    best = np.full((len(queries), 0), -np.inf, np.float32)
    rows = np.zeros((len(queries), 0), np.int64)
    for start, block in _gallery_blocks(gallery, np.float32):
        scores = queries @ block.T
        keep = min(wanted, len(block))
        picked = np.argpartition(-scores, keep - 1, axis=1)[:, :keep]
        best = np.hstack([best, np.take_along_axis(scores, picked, axis=1)])
        rows = np.hstack([rows, picked + start])
        if best.shape[1] > wanted:
            picked = np.argpartition(-best, wanted - 1, axis=1)[:, :wanted]
            best, rows = np.take_along_axis(best, picked, axis=1), np.take_along_axis(rows, picked, axis=1)
    return rows


def _candidates_by_faiss(queries: np.ndarray, gallery: np.ndarray, wanted: int) -> np.ndarray:
    """The same by FAISS's flat inner product, one block of the gallery in memory at a time."""
    faiss = importlib.import_module("faiss")
    merged = faiss.ResultHeap(len(queries), wanted, keep_max=True)
    for start, block in _gallery_blocks(gallery, np.float32):
        scores, picked = faiss.knn(queries, block, min(wanted, len(block)), metric=faiss.METRIC_INNER_PRODUCT)
        merged.add_result(scores, picked + start)
    merged.finalize()
    return np.asarray(merged.I, np.int64)


def _settle(unit: np.ndarray, gallery: np.ndarray, candidates: np.ndarray, k: int) -> Tuple[np.ndarray, np.ndarray]:
    """Order candidates in float64; search a query again where one outside them might belong to the first k."""
    rows = np.sort(candidates, axis=1)
    vectors = normalise(np.asarray(gallery[rows.ravel()], np.float64), copy=False).reshape(rows.shape + (-1,))
    scores = _products(unit, vectors)
    order = np.argsort(-scores, axis=1, kind="stable")
    rows, scores = np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)
    if rows.shape[1] < len(gallery):
        unsure = np.flatnonzero(scores[:, k - 1] - scores[:, -1] <= 2 * rounding(unit.shape[1]))
        for start in range(0, len(unsure), SEARCHED_AGAIN_AT_ONCE):
            again = unsure[start:start + SEARCHED_AGAIN_AT_ONCE]
            rows[again, :k], scores[again, :k] = _exhaustive(unit[again], gallery, k)
    return rows[:, :k], scores[:, :k]


def _exhaustive(unit: np.ndarray, gallery: np.ndarray, k: int) -> Tuple[np.ndarray, np.ndarray]:
    scores = np.hstack([np.vstack([_products(query[None], block[None]) for query in unit])
                        for _, block in _gallery_blocks(gallery, np.float64)])
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(scores, order, axis=1)


def _products(unit: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """(q, d) with (q, c, d) to (q, c): one expression everywhere, so that equal pairs score equal to the last bit."""
    return np.einsum("qd,qcd->qc", unit, vectors)


def build_parser() -> Parser:
    """The command line."""
    flags = parser("The k nearest gallery features of each query, by cosine.",
                   "python evaluation/search.py --query-features q/embeddings.npy --gallery-features g/embeddings.npy "
                   "--gallery-ids g/ids.txt --k 10 --out results/search")
    flags.add_argument("--query-features", required=True, metavar="FILE.npy", help="embeddings (q, d)")
    flags.add_argument("--gallery-features", required=True, metavar="FILE.npy", help="embeddings (g, d), memory-mapped")
    flags.add_argument("--query-ids", metavar="FILE", help="one id a line (default: row numbers)")
    flags.add_argument("--gallery-ids", metavar="FILE", help="one id a line (default: row numbers)")
    flags.add_argument("--k", type=int, default=10, help="neighbours of each query (default 10)")
    flags.add_argument("--backend", default="auto", choices=BACKENDS, help="auto: FAISS if it is installed")
    flags.renamed("--queries", to="--query-features")
    flags.renamed("--gallery", to="--gallery-features")
    add_out_flag(flags)
    return flags


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Search a gallery of saved features."""
    options = build_parser().parse_args(argv)
    queries, gallery = load_features(options.query_features), load_features(options.gallery_features)
    query_ids = read_ids(options.query_ids, len(queries)) if options.query_ids else range(len(queries))
    gallery_ids = read_ids(options.gallery_ids, len(gallery)) if options.gallery_ids else range(len(gallery))
    found = search(queries, gallery, options.k, options.backend)
    backend = "faiss" if use_faiss(options.backend) else "blocks"
    about = About("search", f"cosine, k = {options.k}", file_hashes([options.gallery_features]),
                  file_hashes([options.query_features]), {"backend": backend})
    figures = {"queries": len(queries), "gallery": len(gallery), "k": options.k,
               "mean_best_cosine": float(found.cosines[:, 0].mean())}
    path = write_results(options.out, {"search": Entry(figures, about)})
    with atomic_open(path.parent / "matches.tsv", "w") as stream:
        stream.write("query\trank\tmatch\tcosine\n")
        for name, rows, cosines in zip(query_ids, found.rows, found.cosines):
            stream.writelines(f"{name}\t{rank}\t{gallery_ids[row]}\t{cosine:.6f}\n"
                              for rank, (row, cosine) in enumerate(zip(rows, cosines), 1))
    sys.stdout.write(f"{path.parent / 'matches.tsv'}: {len(queries)} queries by {backend}\n")


if __name__ == "__main__":
    run_command(main)
