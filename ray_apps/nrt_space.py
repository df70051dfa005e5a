"""All that turns what users do into vectors of one batch: items, states, features, the model."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.checkpoint import load_codebook
from models.codebook import item_space
from models.events import SECOND
from models.features import FeatureBuilder
from models.hashing import xxhash64
from models.layout import FeatureLayout
from models.predictor import UserPredictor
from models.profiles import WORDS
from models.state_bytes import StateBytes
from models.user_state import PICK, PLAY, Profile, StateBuilder, UserState, play_ms
from models.words import group_columns
from schemas.arrow import matrix

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lakehouse.batch import Batch
    from lakehouse.storage import Lakehouse

HABITS = {"kind": "item_kind", "surface": "surface", "device": "device"}  # and their columns
LISTENED = ("event_id", "item_id", "item_kind", "played_at", "ms_played", "surface", "device")
PICKED = ("picked_id", "picked_kind", "picked_at")


def space_name(batch: Batch) -> str:
    """The name of a batch's space in the online store: its id, and as of when its rows are.

    A refresh brings newer rows into the space of vectors; what is loaded from them is another
    space of the store, so that readers change from one to the other in one step.
    """
    return f"{batch.batch_id}@{micros(batch.as_of)}"


def at_moment(batch: Batch, space: str) -> Batch:
    """The batch as a space of it has it: as of the space's moment, if it was refreshed since."""
    moment = int(space.partition("@")[2])
    return batch.model_copy(
        update={"as_of": datetime.fromtimestamp(0, UTC) + timedelta(microseconds=moment)}
    )


def micros(moment: datetime) -> int:
    """Microseconds since 1970."""
    return round(moment.timestamp() * SECOND)


@dataclass(frozen=True)
class Items:
    """The items of a batch that have a vector, in order of their ids.

    Attributes:
        ids: (items,) text, ascending.
        creators: (creators,) text, ascending, of those items.
        creator_of_item: (items,) int64, row in ``creators``; -1 where unknown.
        vectors: (items, VECTOR_SIZE) float32.
        support: (items,) plays that each vector was made of.
        kinds, languages: (items,) text, null where unknown.
    """

    ids: pa.Array
    creators: pa.Array
    creator_of_item: np.ndarray
    vectors: np.ndarray
    support: np.ndarray
    kinds: pa.Array
    languages: pa.Array

    @classmethod
    def read(cls, lake: Lakehouse, batch: Batch) -> Items:
        """Read a batch's items, with the indices that features have in the batch job."""
        known = lake.read("track_vectors", batch, ["item_id", "vector", "support"])
        told = lake.read("items", batch, ["item_id", "creator_id", "kind", "language"])
        row_of = pc.index_in(known["item_id"], told["item_id"].combine_chunks())
        known = known.append_column("row", row_of).filter(row_of.is_valid()).sort_by("item_id")
        told = told.take(known["row"])
        creator = told["creator_id"].combine_chunks()
        creators = pc.unique(creator.drop_null())
        creators = creators.take(pc.array_sort_indices(creators))
        row = pc.index_in(creator, creators).fill_null(-1).to_numpy().astype(np.int64)
        return cls(
            ids=known["item_id"].combine_chunks(),
            creators=creators,
            creator_of_item=row,
            vectors=matrix(known["vector"]),
            support=known["support"].to_numpy(),
            kinds=told["kind"].combine_chunks(),
            languages=told["language"].combine_chunks(),
        )


class NrtSpace:
    """Turns events of users into states and vectors of one batch.

    Args:
        lake: the lakehouse.
        batch: a batch that has a model.
    """

    def __init__(self, lake: Lakehouse, batch: Batch) -> None:
        self.name, self.batch, self.as_of = space_name(batch), batch, micros(batch.as_of)
        self.items = Items.read(lake, batch)
        uri = batch.model_uri or lake.model_uri(batch.batch_id)
        self.layout = FeatureLayout.model_validate_json(batch.layout or "")
        self.predictor = UserPredictor(uri, self.layout)
        space = item_space(self.items.vectors, self.items.creator_of_item, load_codebook(uri))
        self.states = StateBuilder(FeatureBuilder(self.layout, space), self.items.creator_of_item)
        self.bytes = StateBytes(self.layout)
        self._item = {name: row for row, name in enumerate(self.items.ids.to_pylist())}
        self._creator = {name: row for row, name in enumerate(self.items.creators.to_pylist())}

    def plays(self, rows: pa.Table) -> np.ndarray:
        """Rows of ``listens`` as they are kept, (N,) PLAY in their order.

        Args:
            rows: with LISTENED columns at least.
        """
        found = np.zeros(len(rows), PLAY)
        found["at"] = _times(rows["played_at"])
        found["event"] = hashed(rows["event_id"])
        found["item"] = _places(rows["item_id"], self._item)
        found["ms"] = play_ms(rows["ms_played"].to_numpy().astype(np.float64))
        for group, column in HABITS.items():
            found[group] = group_columns(rows[column], self.layout[group])
        return found

    def picks(self, rows: pa.Table) -> np.ndarray:
        """Rows of ``onboarding`` as they are kept, (N,) PICK in their order.

        Args:
            rows: with PICKED columns at least.
        """
        found = np.zeros(len(rows), PICK)
        found["at"] = _times(rows["picked_at"])
        found["picked"] = hashed(rows["picked_id"])
        of_item = pc.equal(rows["picked_kind"], "item").to_numpy()
        found["item"] = np.where(of_item, _places(rows["picked_id"], self._item), -1)
        found["creator"] = np.where(of_item, -1, _places(rows["picked_id"], self._creator))
        return found

    def profiles(self, rows: pa.Table) -> list[UserState]:
        """Rows of ``users`` as states that have no plays yet."""
        words = [group_columns(rows[name], self.layout[name]).tolist() for name in WORDS]
        born = rows["birth_year"].cast(pa.float64()).to_numpy().tolist()
        registered = _times(rows["registered_at"]).tolist()
        empty = UserState.empty()
        return [
            UserState(empty.plays, empty.seen, empty.picks, None, Profile(word, year, since))
            for word, year, since in zip(zip(*words, strict=True), born, registered, strict=True)
        ]

    def embed(
        self, states: Sequence[UserState], moments: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Vectors of users at moments in microseconds (Q,), by the model of the batch.

        Returns:
            (Q, size) float32, and status (Q,) text as ``user_embeddings`` has it.
        """
        rows = self.states.rows(states, moments)
        return (
            self.predictor.embed(rows.features, rows.present),
            self.predictor.status(rows.present),
        )

    def warm_up(self) -> None:
        """Make a vector of somebody unknown, which loads what is loaded late."""
        self.embed([UserState.empty()], np.array([self.as_of]))


def hashed(ids: pa.ChunkedArray) -> np.ndarray:
    """Hashes by which ids are told apart, (N,) int64."""
    return xxhash64(ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids)


def _places(ids: pa.ChunkedArray, known: Mapping[str, int]) -> np.ndarray:
    return np.array([known.get(name, -1) for name in ids.to_pylist()], np.int64)


def _times(column: Any) -> np.ndarray:
    """Times as microseconds; float64 with NaN where there is none, int64 otherwise."""
    values: np.ndarray = column.cast(pa.int64()).to_numpy()
    return values
