"""What a batch knows of its users, into the online store: vectors, and states to go on from.

Users are taken in shares by a hash of their id, so that the plays of one share fit into memory:
``listens`` is read once for each. A state is written only where there is none yet and a vector
only where it is newer, so a load can be repeated, and broken off, at any point.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from lakehouse.online import Vector, pack_vector
from lakehouse.suppression import subject
from models.hashing import xxhash64
from models.user_state import PICK, PLAY, UserState
from ray_apps.nrt_space import LISTENED, PICKED, NrtSpace
from schemas.arrow import matrix, microseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lakehouse.online import Dtype, OnlineStore, Row
    from lakehouse.storage import Lakehouse

PLAYS_AT_ONCE = 20_000_000  # half a gigabyte as they are kept
STATES_AT_ONCE = 4_096
ROWS_AT_ONCE = 65_536


class SpaceLoader:
    """Loads a batch into the online store.

    Args:
        lake: the lakehouse.
        space: of the batch.
        key: of the hashes by which erased people are known.
        dtype: of the vectors in the store, ``float32`` or ``float16``.
        plays_at_once: plays of one share of the users, about.
    """

    def __init__(
        self,
        lake: Lakehouse,
        space: NrtSpace,
        key: bytes,
        dtype: Dtype = "float32",
        plays_at_once: int = PLAYS_AT_ONCE,
    ) -> None:
        self._lake, self._space, self._key, self._dtype = lake, space, key, dtype
        listens = lake.dataset("listens", space.batch).count_rows()
        self.shares = max(1, -(-listens // plays_at_once))

    def load(self, store: OnlineStore, say: Callable[[str], None] = lambda _: None) -> int:
        """Write everything; returns how many vectors there are."""
        name = self._space.name
        vectors = store.load(name, self.vectors(), self._subject)
        say(f"{name}: {vectors:,} vectors")
        for share in range(self.shares):
            states = store.load(name, self.states(share), self._subject)
            say(f"{name}: {states:,} states, share {share + 1} of {self.shares}")
        return vectors

    def _subject(self, user_id: str) -> str:
        return subject(self._key, user_id)

    def vectors(self) -> Iterator[Row]:
        """Every vector of the batch."""
        columns = ["user_id", "as_of", "embedding", "status"]
        stored = self._lake.dataset("user_embeddings", self._space.batch)
        for rows in stored.to_batches(columns=columns, batch_size=ROWS_AT_ONCE):
            values, moments = matrix(rows["embedding"]), rows["as_of"].cast(pa.int64()).to_numpy()
            for user_id, status, vector, as_of in zip(
                rows["user_id"].to_pylist(),
                rows["status"].to_pylist(),
                values,
                moments.tolist(),
                strict=True,
            ):
                kept = Vector(vector, as_of, 0, "batch", status)
                yield user_id, None, pack_vector(kept, self._dtype)

    def states(self, share: int) -> Iterator[Row]:
        """The states of one share of the users, of all who have played or told anything."""
        plays, picks = self._plays(share), self._picks(share)
        told = self._told(share)
        users = sorted({*plays, *picks, *told})
        nothing, nobody = np.zeros(0, PLAY), UserState.empty()
        for first in range(0, len(users), STATES_AT_ONCE):
            some = users[first : first + STATES_AT_ONCE]
            begun = self._space.states.begun(
                [plays.get(user_id, nothing) for user_id in some],
                [_with_picks(told.get(user_id, nobody), picks.get(user_id)) for user_id in some],
            )
            for user_id, state in zip(some, begun, strict=True):
                yield user_id, self._space.bytes.encode(state), None

    def _plays(self, share: int) -> dict[str, np.ndarray]:
        """What was known at the batch's moment, by user, in order of time, each event once."""
        as_of = pa.scalar(self._space.batch.as_of, pa.timestamp("us", tz="UTC"))
        known = (ds.field("played_at") < as_of) & (ds.field("ingested_at") <= as_of)
        found = self._by_user("listens", LISTENED, known, share, self._space.plays)
        return {user_id: _in_order(plays) for user_id, plays in found.items()}

    def _picks(self, share: int) -> dict[str, np.ndarray]:
        as_of = pa.scalar(self._space.batch.as_of, pa.timestamp("us", tz="UTC"))
        before = ds.field("picked_at") < as_of
        return self._by_user("onboarding", PICKED, before, share, self._space.picks)

    def _by_user(
        self,
        table: str,
        columns: tuple[str, ...],
        where: ds.Expression,
        share: int,
        kept_as: Callable[[pa.Table], np.ndarray],
    ) -> dict[str, np.ndarray]:
        """Rows of a share of the users as they are kept, by user."""
        if not self._space.batch.has(table):
            return {}
        stored = self._lake.dataset(table, self._space.batch)
        users, parts = [], []
        wanted = ["user_id", *columns]
        for batch in stored.to_batches(columns=wanted, filter=where, batch_size=ROWS_AT_ONCE):
            rows = self._of_share(pa.table(batch), share)
            if len(rows):
                users.append(rows["user_id"].combine_chunks())
                parts.append(kept_as(rows))
        if not parts:
            return {}
        encoded = pa.chunked_array(users).combine_chunks().dictionary_encode()
        every, owner = np.concatenate(parts), encoded.indices.to_numpy()
        order = np.argsort(owner, kind="stable")
        cuts = np.cumsum(np.bincount(owner, minlength=len(encoded.dictionary)))[:-1]
        each = np.split(every[order], cuts)
        return dict(zip(encoded.dictionary.to_pylist(), each, strict=True))

    def _told(self, share: int) -> dict[str, UserState]:
        """The profiles of a share of the users, as states without plays."""
        if not self._space.batch.has("users"):
            return {}
        rows = self._of_share(self._lake.read("users", self._space.batch), share)
        since = microseconds(rows["registered_at"])
        then = pc.less(since, self._space.as_of)
        rows = rows.filter(pc.fill_null(then, True))
        return dict(zip(rows["user_id"].to_pylist(), self._space.profiles(rows), strict=True))

    def _of_share(self, rows: pa.Table, share: int) -> pa.Table:
        if self.shares == 1 or not len(rows):
            return rows
        owner = xxhash64(rows["user_id"].combine_chunks()) % self.shares
        return rows.filter(pa.array(owner == share))


def _with_picks(state: UserState, picks: np.ndarray | None) -> UserState:
    if picks is None:
        return state
    plays, seen = state.plays, state.seen
    chosen = state.with_picks(picks.astype(PICK)).picks
    return UserState(plays, seen, chosen, None, state.profile)


def _in_order(plays: np.ndarray) -> np.ndarray:
    once = plays[np.unique(plays["event"], return_index=True)[1]]
    return once[np.lexsort((once["event"], once["at"]))]
