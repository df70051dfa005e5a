"""One bucket of users: their plays and profiles, as Arrow tables, into rows of three tables."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.blocks import PLAYS, TOLD
from jobs.cooccurrence import WHOLE
from jobs.cuts import EARLY, choose_cuts
from jobs.plays import Plays
from jobs.sequences import last_plays
from models.events import NEVER, SECOND
from models.fingerprint import fingerprints
from models.picks import favourites
from models.profiles import Told
from schemas.arrow import list_column
from schemas.contract import contract

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from jobs.carry import Before, Carried
    from jobs.shipping import Shipped
    from models.cuts import Cuts
    from models.events import Events, Profiles, Rows
    from models.features import FeatureBuilder
    from models.layout import FeatureLayout

MICROS = pa.timestamp("us", tz="UTC")
MINUTE = 60 * SECOND


@dataclass(frozen=True)
class BucketFeatures:
    """The function that Spark applies to each bucket.

    Attributes:
        batch_id: the batch.
        layout: the groups.
        as_of: the batch's moment.
        horizon_days, session_gap, cuts, sequence_length: as in the job's settings.
        shipped: vectors and what else each worker maps.
        carried: the rows that a refresh begins with; None where everything is computed.
        stand_ins: whether nobody was asked for picks, and later favourites stand in for them in
            examples of the first plays, so that a model learns what picks are worth.
    """

    batch_id: str
    layout: FeatureLayout
    as_of: datetime
    horizon_days: float
    session_gap: float
    cuts: int
    sequence_length: int
    shipped: Shipped
    carried: Carried | None = None
    stand_ins: bool = False
    _builders: dict[int, FeatureBuilder] = field(default_factory=dict)

    def __call__(self, bucket: int, blocks: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
        """Rows of one bucket.

        Args:
            bucket: its number.
            blocks: by kind; plays and profiles as ``build_features`` selects them, and in a
                refresh the ids of those whose plays have changed.

        Returns:
            by name of the table; training examples only if there are to be any.
        """
        played, told = blocks.get(PLAYS), blocks.get(TOLD)
        before = self.carried.open(bucket, blocks) if self.carried else None
        users = _everyone(played, told, before)
        if not len(users):
            return self._tables(bucket, {})
        people = Told.of_rows(told, users, self.layout)
        plays = None if played is None else Plays.of(played, users, self.shipped.item_ids())
        made = {"user_features": self._features(users, people, plays, before)}
        if self.sequence_length:
            made["user_sequences"] = self._sequences(users, plays, before)
        if self.cuts and plays is not None:
            made["training_examples"] = self._examples(users, people, plays)
        return self._tables(bucket, made)

    def _builder(self, fold: int) -> FeatureBuilder:
        if fold not in self._builders:
            self._builders[fold] = self.shipped.builder(self.layout, fold)
        return self._builders[fold]

    def _features(
        self, users: pa.Array, people: Told, plays: Plays | None, before: Before | None
    ) -> dict[str, pa.Array]:
        """Rows for everyone at ``as_of``: computed, or brought there from where they were."""
        moments = np.full(len(users), _micros(self.as_of))
        builder = self._builder(WHOLE)
        if before is None:
            everyone = np.arange(len(users))
            rows = builder.rows(self._events(plays), people.at(everyone, moments), moments)
            return {"user_id": users, **_columns(rows, moments)}
        kept = pc.index_in(before.users, users).to_numpy()
        fresh = np.setdiff1d(np.arange(len(users)), kept)
        events = self._events(plays)
        events = events.take(np.arange(len(events.at)), np.searchsorted(fresh, events.query))
        parts = {
            "fresh": builder.rows(events, people.at(fresh, moments[fresh]), moments[fresh]),
            "kept": builder.later(before.rows, people.at(kept, moments[kept]), moments[kept]),
        }
        columns = [_columns(rows, moments[: len(rows.features)]) for rows in parts.values()]
        both = pa.concat_tables([pa.table(part) for part in columns])
        whose = users.take(pa.array(np.concatenate([fresh, kept])))
        return {"user_id": whose, **{name: both[name] for name in both.column_names}}

    def _events(self, plays: Plays | None) -> Events:
        return Plays.no_events() if plays is None else plays.events(self.layout, self.shipped)

    def _sequences(
        self, users: pa.Array, plays: Plays | None, before: Before | None
    ) -> dict[str, pa.Array]:
        parts = [] if before is None else [before.sequences]
        if plays is not None:
            row, columns = last_plays(plays, self.sequence_length, self.shipped.durations())
            parts.append(pa.table({"user_id": users.take(pa.array(row)), **columns}))
        if not parts:
            return {}
        both = pa.concat_tables(parts, promote_options="default")
        moments = np.full(len(both), _micros(self.as_of))
        return {"as_of": _times(moments), **{name: both[name] for name in both.column_names}}

    def _examples(self, users: pa.Array, people: Told, plays: Plays) -> dict[str, pa.Array]:
        gap = round(self.session_gap * MINUTE)
        cuts = choose_cuts(plays.user, plays.at, gap, self.cuts, self.horizon_days)
        share = 1.0 / np.maximum(np.bincount(cuts.user, minlength=len(users)), 1)
        fold = plays.column("fold")[cuts.at]
        events = self._events(plays)
        made = [
            self._fold_examples(plays, people, events, cuts.take(np.flatnonzero(fold == one)))
            for one in np.unique(fold)
        ]
        if not made:
            return {}
        chosen = cuts.take(np.argsort(fold, kind="stable"))
        both = pa.concat_tables(made)
        told = {
            "user_id": users.take(pa.array(chosen.user)),
            "validation": pa.array(plays.column("validation")[chosen.at].astype(bool)),
            "fold": pa.array(np.sort(fold, kind="stable").astype(np.int32)),
            "weight": pa.array(share[chosen.user].astype(np.float32)),
        }
        return {**told, **{name: both[name] for name in both.column_names}}

    def _fold_examples(self, plays: Plays, people: Told, events: Events, cuts: Cuts) -> pa.Table:
        moments = plays.at[cuts.at]
        query, history = cuts.history
        # What was learned only after the moment was not known then, whenever it was played.
        known = plays.column("learned")[history] <= moments[query]
        then = events.take(history[known], query[known])
        fold = int(plays.column("fold")[cuts.at[0]])
        told = people.at(cuts.user, moments)
        if self.stand_ins:
            told = _with_stand_ins(told, cuts, plays.user, events.creator)
        rows = self._builder(fold).rows(then, told, moments)
        return pa.table({**_columns(rows, moments), "targets": _targets(plays, cuts)})

    def _tables(self, bucket: int, made: Mapping[str, Mapping[str, pa.Array]]) -> dict:
        wanted = {
            "training_examples": self.cuts,
            "user_sequences": self.sequence_length,
            "user_features": 1,
        }
        names = [name for name, size in wanted.items() if size]
        return {name: self._table(name, bucket, made.get(name, {})) for name in names}

    def _table(self, name: str, bucket: int, columns: Mapping[str, pa.Array]) -> pa.Table:
        """Rows as the contract has them; none where there are no columns."""
        schema = contract(name).arrow_schema
        if not columns:
            return schema.empty_table()
        count = len(columns["user_id"])
        same = {
            "batch_id": pa.array([self.batch_id]).take(pa.array(np.zeros(count, np.int64))),
            "bucket": pa.array(np.full(count, bucket, np.int32)),
        }
        every = {**columns, **same}
        rows = pa.table({column: every[column] for column in schema.names}).cast(schema)
        return rows.sort_by("user_id") if name != "training_examples" else rows


def _everyone(played: pa.Table | None, told: pa.Table | None, before: Before | None) -> pa.Array:
    """Whoever has played or told us anything, in order."""
    found = [] if before is None else [before.users]
    if played is not None:
        found.append(played["user_id"].combine_chunks().dictionary)
    if told is not None:
        found.append(pc.cast(told["user_id"].combine_chunks(), told["user_id"].type.value_type))
    if not found:
        return pa.array([], pa.string())
    unique = pc.unique(pa.chunked_array(found))
    return unique.take(pc.array_sort_indices(unique))


def _columns(rows: Rows, moments: np.ndarray) -> dict[str, pa.Array]:
    """Feature rows and what is kept of their histories, as columns."""
    histories = rows.histories
    heard = histories.last != NEVER
    return {
        "as_of": _times(moments),
        "features": list_column(rows.features),
        "present": list_column(rows.present),
        "played_between": _lists(np.stack([histories.first, histories.last], axis=1), heard),
        "decayed_plays": _lists(histories.plays, heard),
        "fingerprint": pa.array(fingerprints(rows.features, rows.present)),
    }


def _with_stand_ins(told: Profiles, cuts: Cuts, user: np.ndarray, creator: np.ndarray) -> Profiles:
    """Picks for who is new at a cut: favourites of the plays that come after its targets.

    Args:
        told: what the cuts' users told.
        cuts: of whose plays.
        user: (E,) int64, of all plays, ascending.
        creator: (E,) int64, of all plays; -1 where unknown.
    """
    early = np.flatnonzero(cuts.at - cuts.start <= EARLY)
    end = np.searchsorted(user, cuts.user[early], side="right")
    rest = replace(cuts.take(early), at=cuts.stop[early], stop=end)
    row, play = rest.future
    query, picked = favourites(early[row], creator[play])
    return replace(told, pick_query=query, pick_item=np.full(len(query), -1), pick_creator=picked)


def _lists(rows: np.ndarray, filled: np.ndarray) -> pa.ListArray:
    """The rows of a matrix as lists, empty ones where they are not to be filled."""
    ends = np.cumsum(filled * rows.shape[1])
    offsets = pa.array(np.concatenate([[0], ends]).astype(np.int32))
    return pa.ListArray.from_arrays(offsets, pa.array(rows[filled].reshape(-1)))


def _times(at: np.ndarray) -> pa.Array:
    return pa.array(at).cast(MICROS)


def _micros(moment: datetime) -> int:
    return round(moment.timestamp() * SECOND)


def _targets(plays: Plays, cuts: Cuts) -> pa.ListArray:
    """What was played next after each cut, in order, each item once."""
    cut, play = cuts.future
    ids = plays.item_ids(play)
    encoded = ids.dictionary_encode()
    word = encoded.indices.to_numpy()
    cell = cut * max(len(encoded.dictionary), 1) + word
    first = np.sort(np.unique(cell, return_index=True)[1])
    offsets = np.searchsorted(cut[first], np.arange(len(cuts.at) + 1))
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), ids.take(pa.array(first)))
