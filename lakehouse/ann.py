"""Indexes that find the nearest of many vectors: which kind, how it is made, how it is searched.

faiss and NumPy alone. Vectors lie in a memory map and are read in parts; an index of up to a
million rows keeps them whole (``flat``, ``ivf_flat``), a larger one as product codes (``ivf_pq``;
Jégou et al., Product Quantization for Nearest Neighbor Search, PAMI 2011), and what it finds is
compared again by the whole vectors in the map. Nearest is by inner product, which between rows of
length 1 is the cosine.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log2, sqrt
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from schemas.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

Kind = Literal["flat", "ivf_flat", "ivf_pq"]
FLAT_UP_TO = 20_000  # rows; below, an inverted file gains nothing that anybody would notice
WHOLE_UP_TO = 1_000_000  # rows; 512 MB of 128 numbers each
AT_ONCE = 65_536  # rows read from a memory map
RERANKED_AT_ONCE = 65_536  # rows gathered from it; 34 MB
ROUNDS = 10  # of k-means
SUB_VECTOR = 2  # numbers that share a code; with 4, each of the nearest took 64 candidates


class IndexConfig(BaseModel):
    """What an index is made of; what is not said follows from the rows and their width."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kind: Literal["auto", "flat", "ivf_flat", "ivf_pq"] = "auto"
    """Exact, inverted file of whole vectors, or of product codes; auto goes by the rows."""
    nlist: int | None = Field(default=None, ge=1)
    """Cells of an inverted file; without it the power of two nearest to 4 roots of the rows."""
    m: int | None = Field(default=None, ge=1)
    """Codes per vector, a divisor of its width; without it one for two numbers."""
    nbits: int = Field(default=8, ge=4, le=12)
    """Bits of a code."""
    nprobe: int | None = Field(default=None, ge=1)
    """Cells that are searched; without it the fewest that reach the recall."""
    rerank: int | None = Field(default=None, ge=1)
    """Candidates by codes for each result, compared again by whole vectors; without it the fewest
    that reach the recall, 1 for none."""
    per_cell: int = Field(default=64, ge=1)
    """Vectors that a cell is trained on."""
    queries: int = Field(default=1_000, ge=1)
    """Searches on which recall is measured; as many others choose nprobe and rerank."""
    seed: int = 0
    """Seed of training and of the searches."""
    threads: int | None = Field(default=None, ge=1)
    """Threads of faiss; without it as many as OMP_NUM_THREADS says, or as there are cores."""

    def resolved(self, rows: int, width: int) -> Parameters:
        """What an index of so many rows of that width is made of.

        Raises:
            InputError: the width cannot be cut into so many codes.
        """
        kind = _kind_for(rows) if self.kind == "auto" else self.kind
        if kind == "flat":
            return Parameters(kind=kind)
        cells = min(self.nlist or 2 ** round(log2(4 * sqrt(rows))), rows)
        probed = min(self.nprobe or 1, cells)
        if kind == "ivf_flat":
            return Parameters(kind=kind, nlist=cells, nprobe=probed)
        codes = self.m or next(
            m for m in range(max(width // SUB_VECTOR, 1), 0, -1) if not width % m
        )
        if width % codes:
            raise InputError(f"vectors of {width} numbers cannot be cut into {codes} codes: set m")
        return Parameters(
            kind=kind,
            nlist=cells,
            nprobe=probed,
            m=codes,
            nbits=min(self.nbits, max(int(log2(rows)), 1)),
            rerank=self.rerank or 1,
        )


class Parameters(BaseModel):
    """What one index is made of, and how it is searched; None where its kind has no such thing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    nlist: int | None = None
    nprobe: int | None = None
    m: int | None = None
    nbits: int | None = None
    rerank: int = 1


def _kind_for(rows: int) -> Kind:
    if rows <= FLAT_UP_TO:
        return "flat"
    return "ivf_flat" if rows <= WHOLE_UP_TO else "ivf_pq"


def faiss() -> Any:
    """The library.

    Raises:
        InputError: it is not installed.
    """
    try:
        import faiss as library
    except ImportError as error:
        raise InputError(
            "indexes need faiss: pip install 'tasteprint[ann]', or leave the format faiss out"
        ) from error
    return library


@dataclass(frozen=True)
class Ann:
    """An index over the rows of a memory map.

    Attributes:
        index: of faiss.
        vectors: (N, d) float32 or float16, the rows it was made of, in their order.
        parameters: what it is made of, and how it is searched.
    """

    index: Any
    vectors: np.ndarray
    parameters: Parameters

    @classmethod
    def build(cls, vectors: np.ndarray, config: IndexConfig) -> Ann:
        """Train on a sample, then add every row, a part at a time.

        Args:
            vectors: (N, d) float32 or float16 of length 1, N at least 1.
            config: what it is made of; of nprobe and rerank what is not said is 1.
        """
        use_threads(config.threads)
        parameters = config.resolved(*vectors.shape)
        index = _empty(parameters, vectors.shape[1], config.seed)
        if not index.is_trained:
            index.train(_sample(vectors, parameters, config))
        for _, part in parts(vectors):
            index.add(part)
        return cls(index, vectors, parameters)

    @classmethod
    def read(cls, path: str, vectors: np.ndarray, parameters: Parameters) -> Ann:
        """An index from its file."""
        return cls(faiss().read_index(path), vectors, parameters)

    def write(self, path: str) -> None:
        """Write the index, without the map, as faiss reads it."""
        if self.parameters.nprobe is not None:
            self.index.nprobe = self.parameters.nprobe  # goes into the file
        faiss().write_index(self.index, path)

    def search(self, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The nearest rows, nearest first.

        Args:
            queries: (Q, d).
            count: of each; fewer where the index has fewer rows.

        Returns:
            (Q, count) float32 inner products and (Q, count) int64 rows; -1 for those that the cells
            searched do not have, with a product of minus infinity.
        """
        if self.parameters.nprobe is not None:
            self.index.nprobe = self.parameters.nprobe
        queries = np.ascontiguousarray(queries, np.float32)
        count = min(count, len(self.vectors))
        candidates = min(count * self.parameters.rerank, len(self.vectors))
        found, rows = self.index.search(queries, candidates)
        if self.parameters.rerank > 1:
            found = products(self.vectors, queries, rows)
        found = np.where(rows < 0, -np.inf, found)
        if self.parameters.rerank > 1:
            order = np.argsort(-found, axis=1, kind="stable")[:, :count]
            found, rows = (np.take_along_axis(side, order, 1) for side in (found, rows))
        return found, rows


def use_threads(count: int | None) -> None:
    """Let faiss compute on so many threads; None leaves it as it is."""
    if count is not None:
        faiss().omp_set_num_threads(count)


def parts(vectors: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """The rows in their order, (AT_ONCE, d) float32 at a time, each part with its first row."""
    for first in range(0, len(vectors), AT_ONCE):
        yield first, np.ascontiguousarray(vectors[first : first + AT_ONCE], np.float32)


def products(vectors: np.ndarray, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Inner product of each query with some rows, (Q, C) float32; of row -1 with the last one.

    Args:
        vectors: (N, d).
        queries: (Q, d) float32.
        rows: (Q, C) int64.
    """
    found = np.empty(rows.shape, np.float32)
    step = max(1, RERANKED_AT_ONCE // max(rows.shape[1], 1))
    for first in range(0, len(rows), step):
        part = slice(first, first + step)
        gathered = np.asarray(vectors[rows[part]], np.float32)  # (step, C, d)
        found[part] = (gathered @ queries[part, :, None])[:, :, 0]
    return found


def _empty(parameters: Parameters, width: int, seed: int) -> Any:
    library = faiss()
    metric = library.METRIC_INNER_PRODUCT
    flat = library.IndexFlatIP(width)
    if parameters.kind == "flat":
        return flat
    if parameters.kind == "ivf_flat":
        index = library.IndexIVFFlat(flat, width, parameters.nlist, metric)
    else:
        index = library.IndexIVFPQ(
            flat, width, parameters.nlist, parameters.m, parameters.nbits, metric
        )
        _cluster(index.pq.cp, seed)
    _cluster(index.cp, seed)
    index.cp.max_points_per_centroid = 2**20
    return index


def _cluster(how: Any, seed: int) -> None:
    """Set k-means; the sample is ours to choose, and none is too small."""
    how.seed = seed + 1
    how.niter = ROUNDS
    how.min_points_per_centroid = 1


def _sample(vectors: np.ndarray, parameters: Parameters, config: IndexConfig) -> np.ndarray:
    """The rows that an index is trained on, in their order."""
    cells = max(parameters.nlist or 1, 2 ** (parameters.nbits or 0))
    rng = np.random.default_rng(config.seed)
    count = min(cells * config.per_cell, len(vectors))
    rows = np.sort(rng.choice(len(vectors), count, replace=False))
    return np.ascontiguousarray(vectors[rows], np.float32)
