"""The table is a type: opened by name, checked against its contract when it is made.

::

    vectors = UserEmbeddings(lake, "live")
    vectors.rows(["user_id", "embedding"])     # a pyarrow.Table
    vectors.similarity(UserEmbeddings(lake, "legacy"))   # MixedBatchesError, naming both
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from lakehouse import space
from schemas.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import pyarrow as pa

    from lakehouse.batch import Batch
    from lakehouse.storage import Lakehouse


class Table:
    """A table as one batch sees it.

    Args:
        lake: the lakehouse.
        batch: an id, ``live``, ``legacy``, or the batch itself.

    Raises:
        BatchError: there is no such batch, or it knows nothing of the table.
        ContractError: the table does not fit its contract; all discrepancies are listed.
    """

    name: ClassVar[str]

    def __init__(self, lake: Lakehouse, batch: Batch | str = "live") -> None:
        self.batch = lake.batch(batch)
        self.dataset = lake.dataset(self.name, self.batch)

    def rows(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows, or some columns of them, in memory."""
        return self.dataset.to_table(columns=list(columns) if columns else None)

    def __len__(self) -> int:
        return int(self.dataset.count_rows())

    def join(self, other: Table, on: str | Sequence[str]) -> pa.Table:
        """The inner join with another table of the same batch.

        Raises:
            MixedBatchesError: the other is of another batch.
        """
        return space.join(self.rows(), other.rows(), on)


class VectorTable(Table):
    """A table that holds one vector per row, in the space of its batch."""

    key: ClassVar[str]
    column: ClassVar[str]

    def similarity(self, other: VectorTable) -> np.ndarray:
        """Cosine of each row with each of another table of the same kind, (N, M) float32.

        Raises:
            MixedBatchesError: the other is of another batch.
            InputError: the other's vectors are of another kind.
        """
        if other.name != self.name:
            raise InputError(f"{self.name} and {other.name} hold vectors of two kinds")
        return space.similarity(
            self.rows([self.key, self.column]), other.rows([other.key, other.column])
        )


class Items(Table):
    """What can be played, as the batch pinned it."""

    name = "items"


class Users(Table):
    """What users told at registration."""

    name = "users"


class Onboarding(Table):
    """What new users picked."""

    name = "onboarding"


class Listens(Table):
    """Who played what, when."""

    name = "listens"


class Playlists(Table):
    """What people put together, in order."""

    name = "playlists"


class Cooccurrence(Table):
    """Who is played near whom."""

    name = "cooccurrence"


class TrackVectors(VectorTable):
    """One 80-d vector per item."""

    name, key, column = "track_vectors", "item_id", "vector"


class TrainingVectors(Table):
    """The same vectors without one fifth of the users each."""

    name = "training_vectors"


class UserFeatures(Table):
    """One row of features per user."""

    name = "user_features"


class UserSequences(Table):
    """The last plays of each user, oldest first."""

    name = "user_sequences"


class TrainingExamples(Table):
    """Features as they were, and what came next."""

    name = "training_examples"


class UserEmbeddings(VectorTable):
    """One 128-d unit vector per user."""

    name, key, column = "user_embeddings", "user_id", "embedding"
