"""What is known of an item besides who plays it, as numbers: blocks of columns, each with a bit.

An item may lack any block: its columns are then zeros, its bit is zero, and the encoder
(``models.content``) answers with the weights for what is there.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field
from scipy import sparse

from models.features import unit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

BLOCKS = ("audio", "genres", "creator", "text")  # each may be missing
FARTHEST = 4.0  # standard deviations; an outlier of one audio feature must not drown the rest


class ContentConfig(BaseModel):
    """How content is turned into numbers and learned from; chosen in docs/quality.md."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    waves: int = Field(256, ge=0)
    """Random Fourier features of the audio (Rahimi and Recht, NIPS 2007)."""
    wave_width: float = Field(0.3, gt=0)
    """Frequency of the waves, in standard deviations of the audio features."""
    wave_scale: float = Field(8.0, gt=0)
    """Length of the row of waves: the longer, the less the ridge holds them back."""
    most_genres: int = Field(1000, ge=0)
    """Genres that get a column; the commonest ones do."""
    fewest_items: int = Field(5, ge=1)
    """Items that a genre or language must describe to get one."""
    penalty: float = Field(10.0, gt=0)
    """Ridge penalty, in items."""
    spread: float = Field(1.0, ge=0, le=1)
    """How much of the way back from the mean a prediction goes: 1 spreads as vectors do."""
    support_prior: float = Field(1.0, gt=0)
    """Plays at which a vector counts half in what the encoder learns from."""
    others_prior: float = Field(20.0, gt=0)
    """Plays at which a vector counts half among its creator's items."""
    creator_prior: float = Field(0.1, gt=0)
    """Well supported items of its creator that weigh as much as all the rest about an item."""
    seed: int = 0
    """Seed of the waves."""


@dataclass(frozen=True)
class ContentLayout:
    """Which columns there are; learned from a sample of the catalogue.

    Attributes:
        config: settings.
        audio_mean, audio_std: (audio,) float32 of the audio features.
        genres, kinds, languages: words with a column of their own, in order.
        text_size, vector_size: columns of a text's and of an item's vector.
    """

    config: ContentConfig
    audio_mean: np.ndarray
    audio_std: np.ndarray
    genres: tuple[str, ...]
    kinds: tuple[str, ...]
    languages: tuple[str, ...]
    text_size: int
    vector_size: int

    @property
    def widths(self) -> dict[str, int]:
        """Columns of each block, its bit included, the part that is always there first."""
        return {
            "base": 1 + len(self.kinds) + len(self.languages),
            "audio": len(self.audio_mean) + self.config.waves + 1,
            "genres": len(self.genres) + 1,
            "creator": self.vector_size + 2,
            "text": self.text_size + 1,
        }

    @property
    def slices(self) -> dict[str, slice]:
        """Where each block lies in a row; its last column is its bit."""
        ends = np.cumsum(list(self.widths.values())).tolist()
        starts = [0, *ends[:-1]]
        return {name: slice(*ends) for name, *ends in zip(self.widths, starts, ends, strict=True)}

    def rows(self, items: pa.Table | pa.RecordBatch) -> tuple[np.ndarray, np.ndarray]:
        """Describe items.

        Args:
            items: kind, genres, language, audio_features; others (sum of the vectors of the
                creator's other items) and others_weight as ``others_of_creator`` makes them; text,
                their texts' vectors. A column that is absent or null is unknown.

        Returns:
            features (N, columns) float32, and present (N, blocks) bool in the order of ``BLOCKS``.
        """
        rows = np.zeros((items.num_rows, sum(self.widths.values())), np.float32)
        present = np.zeros((items.num_rows, len(BLOCKS)), bool)
        rows[:, self.slices["base"]] = self._base(items)
        blocks = (self._audio, self._genres, self._creator, self._text)
        for position, (name, block) in enumerate(zip(BLOCKS, blocks, strict=True)):
            values, present[:, position] = block(items)
            rows[:, self.slices[name]] = np.column_stack([values, np.ones(len(values))])
            rows[~present[:, position], self.slices[name]] = 0.0
        return rows, present

    def _base(self, items: pa.Table | pa.RecordBatch) -> np.ndarray:
        """A constant, kind and language, (N, base)."""
        kinds = _one_hot(_values(items, "kind"), self.kinds)
        languages = _one_hot(_values(items, "language"), self.languages)
        return np.hstack([np.ones((items.num_rows, 1)), kinds, languages])

    def _audio(self, items: pa.Table | pa.RecordBatch) -> tuple[np.ndarray, np.ndarray]:
        size, waves = len(self.audio_mean), self.config.waves
        values, known = vectors_in(items, "audio_features", size)
        score = np.nan_to_num((values - self.audio_mean) / self.audio_std)  # the mean for a NaN
        score = np.clip(score, -FARTHEST, FARTHEST)
        rng = np.random.default_rng(self.config.seed)
        frequency = rng.standard_normal((size, waves)) * self.config.wave_width
        wave = np.cos(score @ frequency + rng.uniform(0, 2 * np.pi, waves))  # (N, waves)
        scale = self.config.wave_scale * np.sqrt(2 / max(waves, 1))
        return np.hstack([score, scale * wave]), known

    def _genres(self, items: pa.Table | pa.RecordBatch) -> tuple[np.ndarray, np.ndarray]:
        column = {word: position for position, word in enumerate(self.genres)}
        values = _values(items, "genres")
        found = [sorted({column[word] for word in row or () if word in column}) for row in values]
        counts = [len(row) for row in found]
        row = np.repeat(np.arange(len(found)), counts)
        where = (row, np.fromiter(chain.from_iterable(found), np.int64, sum(counts)))
        shape = (len(found), len(self.genres))
        told = sparse.csr_matrix((np.ones(len(row), np.float32), where), shape=shape)
        return unit(told.toarray()), np.array(counts) > 0

    def _creator(self, items: pa.Table | pa.RecordBatch) -> tuple[np.ndarray, np.ndarray]:
        direction, trust, weight = self.creator_mean(items)
        return np.column_stack([trust[:, None] * direction, np.log1p(weight)]), weight > 0

    def creator_mean(
        self, items: pa.Table | pa.RecordBatch
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where the creator's other items are.

        Returns:
            direction (N, vector_size) float32 of length 1 or 0, how far it is to be trusted (N,) in
            [0, 1), and the weight of those items (N,).
        """
        total, known = vectors_in(items, "others", self.vector_size)
        weight = np.zeros(items.num_rows)
        if known.any():
            weight = np.nan_to_num(np.array(_values(items, "others_weight"), float)) * known
        return unit(total), weight / (weight + self.config.creator_prior), weight

    def _text(self, items: pa.Table | pa.RecordBatch) -> tuple[np.ndarray, np.ndarray]:
        return vectors_in(items, "text", self.text_size)


def learn_layout(
    sample: pa.Table, config: ContentConfig, vector_size: int, text_size: int
) -> ContentLayout:
    """Find out what the catalogue tells.

    Args:
        sample: kind, genres, language, audio_features of items, all or some tens of thousands.
        config: settings.
        vector_size: columns of item vectors.
        text_size: columns of texts' vectors; 0 where there are none.
    """
    told = _values(sample, "audio_features")
    size = next((len(row) for row in told if row is not None), 0)
    audio, known = vectors_in(sample, "audio_features", size)
    audio = np.where(known[:, None], audio, np.nan)
    genres = (set(row) for row in _values(sample, "genres") if row)
    return ContentLayout(
        config=config,
        audio_mean=_finite(audio, np.nanmean, 0.0),
        audio_std=np.maximum(_finite(audio, np.nanstd, 1.0), np.float32(1e-6)),
        genres=_commonest(chain.from_iterable(genres), config.most_genres, config.fewest_items),
        kinds=_commonest(_values(sample, "kind"), config.most_genres, 1),
        languages=_commonest(_values(sample, "language"), config.most_genres, config.fewest_items),
        text_size=text_size,
        vector_size=vector_size,
    )


def others_of_creator(
    creator: np.ndarray, vectors: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """For each item the weighted sum of the vectors of its creator's other items.

    An item's own vector is what the encoder learns to foretell, so it is left out.

    Args:
        creator: (N,) int, -1 where unknown.
        vectors: (N, d) float32, zeros where there is none.
        weight: (N,) how far each vector is to be trusted.

    Returns:
        sums (N, d) float32, and the weight behind them (N,) float64, zero where there is nothing.
    """
    weight = weight * (np.abs(vectors).sum(axis=1) > 0) * (creator >= 0)
    owner = np.where(creator >= 0, creator, 0)
    shape = (int(owner.max(initial=0)) + 1, len(creator))
    by_creator = sparse.csr_matrix((weight, (owner, np.arange(len(creator)))), shape=shape)
    known = (creator >= 0)[:, None]
    total = np.asarray(by_creator @ vectors.astype(np.float64))[owner]
    count = np.asarray(by_creator.sum(axis=1)).ravel()[owner]
    rest = np.maximum(count - weight, 0.0) * known[:, 0]
    rest[rest < 1e-6] = 0.0  # noqa: PLR2004 - what rounding leaves of an only item
    sums = (total - weight[:, None] * vectors) * (rest > 0)[:, None]
    return sums.astype(np.float32), rest


def vectors_in(
    items: pa.Table | pa.RecordBatch, name: str, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """A column of lists as a matrix, (N, size) float32, and which rows hold one, (N,) bool."""
    known = np.zeros(items.num_rows, bool)
    values = np.zeros((items.num_rows, size), np.float32)
    if name in items.schema.names and size:
        column = items.column(name)
        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
        known = pc.is_valid(column).to_numpy(zero_copy_only=False)
        told = column.filter(pa.array(known)).flatten().to_numpy(zero_copy_only=False)
        values[known] = told.astype(np.float32).reshape(-1, size)
    return values, known


def _values(items: pa.Table | pa.RecordBatch, name: str) -> list[Any]:
    """A column as Python values; nulls where there is no such column."""
    known = name in items.schema.names
    values: list[Any] = items.column(name).to_pylist() if known else [None] * items.num_rows
    return values


def _one_hot(values: Sequence[str | None], words: Sequence[str]) -> np.ndarray:
    column = {word: position for position, word in enumerate(words)}
    return np.vstack([np.eye(len(words)), np.zeros(len(words))])[
        [-1 if value is None else column.get(value, -1) for value in values]
    ]


def _commonest(words: Iterable[str | None], most: int, fewest: int) -> tuple[str, ...]:
    counted = Counter(word for word in words if word is not None)
    order = sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))
    return tuple(word for word, count in order[:most] if count >= fewest)


def _finite(audio: np.ndarray, measure: Callable[..., Any], otherwise: float) -> np.ndarray:
    """A measure of each column over what is known of it."""
    out = np.full(audio.shape[1], otherwise, np.float32)
    told = ~np.isnan(audio).all(axis=0)
    if told.any():
        out[told] = measure(audio[:, told], axis=0)
    return out
