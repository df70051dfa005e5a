"""What an index finds and how fast, beside exact search of the same vectors on the same threads.

::

    python bench/export.py --rows 100000 --rows 1000000 --kinds flat --kinds ivf_flat
    python bench/export.py --rows 2000000 --kinds ivf_pq --threads 2
    python bench/export.py --lakehouse URI --batch live --kinds ivf_flat

Vectors are made up in clusters, or are those of a batch's users. Made-up ones are mixtures of
three of 1,000 tastes with noise, of a spectrum that falls, and with a direction that all share: of
4,097 rows the effective dimension and the cosines of the nearest neighbours are near those of as
many users of real histories (the first line says both). They go to disk as an export writes them,
and each index is made, searched and measured as ``tasteprint export`` does it, in a process of its
own; ``hnsw`` is faiss's graph (32 links), which no export has. Each measurement is a line of JSON.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lakehouse.ann import Ann, IndexConfig, Parameters, faiss, parts, use_threads
from lakehouse.recall import Truth, drawn, measure
from lakehouse.side_car import Asked
from lakehouse.storage import Lakehouse
from lakehouse.vector_files import write_vectors
from schemas.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parents[1]
SIZE, TASTES, OWN, MADE_AT_ONCE = 128, 1_000, 3, 50_000
NOISE, FALLS, SHARED, EVENNESS, POPULARITY = 0.33, 52.0, 0.45, 0.4, 0.8
LINKS, BUILT_WITH = 32, 200  # of the graph
LOOKED_AT = 4_097

Kind = Literal["flat", "ivf_flat", "ivf_pq", "hnsw"]


class ExportBench(Settings):
    """Measure indexes of some kinds at some numbers of vectors."""

    rows: tuple[int, ...] = (100_000,)
    """Vectors that are made up."""
    lakehouse: str | None = None
    """A lakehouse whose users are measured instead."""
    batch: str = "live"
    """Its batch."""
    kinds: tuple[Kind, ...] = ("flat", "ivf_flat", "ivf_pq")
    """Kinds of indexes."""
    recall: float = 0.95
    """To be reached."""
    recall_at: int = 10
    """Of how many nearest."""
    queries: int = 1_000
    """Searches that are measured; as many others choose."""
    threads: int = 1
    """Of faiss."""
    folder: str | None = None
    """Where vectors and indexes are written; a temporary folder without it."""
    only: Kind | None = None
    """Measure this kind on the vectors that lie in the folder; for the bench's own processes."""


def main(argv: Sequence[str] | None = None) -> None:
    """Make the vectors, and measure each kind in a process of its own."""
    args = ExportBench.parse(argv)
    if args.only is not None:
        print(json.dumps(measured(args.only, Path(args.folder or ""), args)), flush=True)
        return
    for rows in args.rows if args.lakehouse is None else (0,):
        with tempfile.TemporaryDirectory(dir=args.folder) as name:
            folder = Path(name)
            made(folder, rows, args)
            print(json.dumps(looks(folder)), flush=True)
            for kind in args.kinds:
                print(json.dumps(in_a_process(kind, folder, args)), flush=True)


def made(folder: Path, rows: int, args: ExportBench) -> None:
    """Write the vectors as an export does: those of a batch, or made-up ones."""
    asked = Asked(formats=("npy",))
    if args.lakehouse is None:
        write_vectors(folder, "users", clustered(rows), asked, "made-up")
        return
    lake = Lakehouse(args.lakehouse)
    dataset = lake.dataset("user_embeddings", args.batch)
    write_vectors(folder, "users", dataset.to_batches(["user_id", "embedding"]), asked, args.batch)


def clustered(rows: int) -> Iterator[Any]:
    """Made-up users as record batches."""
    import pyarrow as pa

    from schemas.arrow import list_column

    rng = np.random.default_rng(0)
    scale = np.exp(-np.arange(SIZE) / FALLS).astype(np.float32)
    scale /= np.linalg.norm(scale)
    tastes = rng.standard_normal((TASTES, SIZE), np.float32) * scale
    popular = np.arange(1, TASTES + 1) ** -POPULARITY
    popular /= popular.sum()
    for first in range(0, rows, MADE_AT_ONCE):
        count = min(MADE_AT_ONCE, rows - first)
        shares = rng.dirichlet([EVENNESS] * OWN, count).astype(np.float32)
        liked = rng.choice(TASTES, (count, OWN), p=popular)
        vectors = (NOISE * rng.standard_normal((count, SIZE), np.float32) + SHARED) * scale
        for own in range(OWN):
            vectors += shares[:, own, None] * tastes[liked[:, own]]
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        ids = pa.array([f"u{number}" for number in range(first, first + count)])
        yield pa.RecordBatch.from_arrays([ids, list_column(vectors)], ["user_id", "embedding"])


def looks(folder: Path) -> dict[str, Any]:
    """How spread the first vectors are, and how near the nearest to one lie among them."""
    vectors = np.load(folder / "users.npy", mmap_mode="r")[:LOOKED_AT]
    shares = np.linalg.svd(vectors, compute_uv=False) ** 2
    shares /= shares.sum()
    cosines = np.sort(vectors[:500] @ vectors.T, axis=1)[:, ::-1]
    return {
        "looked_at": len(vectors),
        "effective_dimension": round(float(np.exp(-(shares * np.log(shares + 1e-12)).sum())), 1),
        "cosine": {rank: round(float(cosines[:, rank].mean()), 3) for rank in (1, 10, 100)},
    }


def in_a_process(kind: Kind, folder: Path, args: ExportBench) -> dict[str, Any]:
    """Measure one kind, with the memory that it takes."""
    argv = ["--only", kind, "--folder", str(folder), "--threads", str(args.threads)]
    argv += ["--recall", str(args.recall), "--queries", str(args.queries)]
    argv += ["--recall-at", str(args.recall_at)]
    done = subprocess.run(
        [sys.executable, __file__, *argv],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(args.threads)},
        stdout=subprocess.PIPE,
        check=True,
    )
    line: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return line


def measured(kind: Kind, folder: Path, args: ExportBench) -> dict[str, Any]:
    """Make an index, choose how it is searched, and measure that as an export does."""
    vectors = np.load(folder / "users.npy", mmap_mode="r")
    config = IndexConfig(
        kind="flat" if kind == "hnsw" else kind, queries=args.queries, threads=args.threads
    )
    own = np.sort(drawn(len(vectors), config))
    began = time.perf_counter()
    ann = graph(vectors, args.threads) if kind == "hnsw" else Ann.build(vectors, config)
    build_seconds = time.perf_counter() - began
    truth = Truth.of(vectors, np.asarray(vectors[own], np.float32), own)
    if kind == "hnsw":
        follow(ann, truth.half(0), args)
    began = time.perf_counter()
    ann, found = measure(ann, config, truth, args.recall, args.recall_at)
    ann.write(str(folder / "index"))
    searched = {"ef": ann.index.hnsw.efSearch} if kind == "hnsw" else {}
    return {
        "rows": len(vectors),
        "kind": kind,
        **ann.parameters.model_dump(exclude_defaults=True, exclude={"kind"}),
        **searched,
        "build_seconds": round(build_seconds, 1),
        "measure_seconds": round(time.perf_counter() - began + truth.seconds, 1),
        "index_mb": round((folder / "index").stat().st_size / 1e6, 1),
        "map_mb": round((folder / "users.npy").stat().st_size / 1e6, 1),
        "resident_mb": resident_mb(),
        "recall": {count: round(share, 4) for count, share in found.recall.items()},
        "searches_per_second": {n: round(rate) for n, rate in found.queries_per_second.items()},
        "exact_per_second": round(found.exact_queries_per_second),
        "threads": found.threads,
    }


def graph(vectors: np.ndarray, threads: int) -> Ann:
    """The same rows in a graph (Malkov and Yashunin, HNSW, PAMI 2018)."""
    use_threads(threads)
    library = faiss()
    index = library.IndexHNSWFlat(vectors.shape[1], LINKS, library.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = BUILT_WITH
    for _, part in parts(vectors):
        index.add(part)
    return Ann(index, vectors, Parameters(kind="flat"))


def follow(ann: Ann, truth: Truth, args: ExportBench) -> None:
    """Search the graph with the shortest list of candidates that reaches the target."""
    for power in range(4, 11):
        ann.index.hnsw.efSearch = 2**power
        shares, _ = truth.recall(ann, args.recall_at)
        if shares.mean() >= args.recall:
            break


def resident_mb() -> int:
    """The most memory that was resident, in MB; pages of the map among it."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
