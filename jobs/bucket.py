"""One bucket of users: their plays and profiles, as Arrow tables, into feature rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pyspark import SparkFiles

from jobs.cooccurrence import WHOLE
from models.features import (
    DAYS_PER_YEAR,
    SECONDS_PER_DAY,
    Events,
    FeatureBuilder,
    Profiles,
    creator_vectors,
    play_weight,
)
from schemas.arrow import list_column
from schemas.contract import contract

if TYPE_CHECKING:
    from datetime import datetime

    from models.layout import FeatureLayout

# Rows of both tables, which differ in what may be null: whoever is no example has no targets.
ROW_SCHEMA = pa.schema(
    {
        field.name: field.type
        for table in ("user_features", "training_examples")
        for field in contract(table).arrow_schema
        if field.name != "batch_id"
    }
)


@dataclass(frozen=True)
class Cuts:
    """Past moments of some users: row ``user`` of the profiles, and where in the plays.

    A cut's history is plays[start:at], its targets plays[at:stop]; all arrays (C,) int64.
    """

    user: np.ndarray
    start: np.ndarray
    at: np.ndarray
    stop: np.ndarray


@dataclass(frozen=True)
class BucketFeatures:
    """The function that Spark applies to each bucket.

    Attributes:
        layout: the groups.
        as_of: the batch's moment.
        creators: number of creators.
        horizon_days, session_gap, cuts: as in the job's settings.
        vectors: by fold (or WHOLE), the shipped file of the item vectors made without it.
        creator_of_item: the shipped file of each item's creator.
    """

    layout: FeatureLayout
    as_of: datetime
    creators: int
    horizon_days: float
    session_gap: float
    cuts: int
    vectors: dict[int, str]
    creator_of_item: str
    _builders: dict[int, FeatureBuilder] = field(default_factory=dict)

    def __call__(self, plays: pa.Table, told: pa.Table) -> pa.Table:
        """Feature rows of one bucket: everyone at ``as_of``, then the training examples.

        Args:
            plays: the bucket's plays, as ``build_features`` selects them.
            told: one row per user of the bucket.
        """
        plays = plays.sort_by(
            [("user_id", "ascending"), ("played_at", "ascending"), ("event_id", "ascending")]
        )
        told = told.sort_by("user_id")
        user = np.searchsorted(
            told["user_id"].to_numpy(zero_copy_only=False).astype(str),
            plays["user_id"].to_numpy(zero_copy_only=False).astype(str),
        )
        everyone = self._everyone(plays, told, user)
        examples = self._examples(plays, told, user)
        return pa.concat_tables([everyone, *examples])

    def _builder(self, fold: int) -> FeatureBuilder:
        if fold not in self._builders:
            vectors = np.load(SparkFiles.get(self.vectors[fold]), mmap_mode="r")
            creator = np.load(SparkFiles.get(self.creator_of_item))
            centres = creator_vectors(vectors, creator, self.creators)
            self._builders[fold] = FeatureBuilder(self.layout, vectors, centres)
        return self._builders[fold]

    def _everyone(self, plays: pa.Table, told: pa.Table, user: np.ndarray) -> pa.Table:
        moment = np.full(told.num_rows, self.as_of.timestamp())
        events = self._events(plays, np.arange(plays.num_rows), user, moment[user])
        profiles = self._profiles(told, np.arange(told.num_rows), moment)
        features, present = self._builder(WHOLE).rows(events, profiles, told.num_rows)
        return self._table(told, moment, features, present, None, np.ones(told.num_rows))

    def _examples(self, plays: pa.Table, told: pa.Table, user: np.ndarray) -> list[pa.Table]:
        at = plays["played_at"].to_numpy()
        cuts = choose_cuts(user, at, self.session_gap * 60, self.cuts, self.horizon_days)
        fold = told["fold"].to_numpy()
        share = 1.0 / np.maximum(np.bincount(cuts.user, minlength=told.num_rows), 1)
        made = []
        for held_out in np.unique(fold[cuts.user]):
            of = np.flatnonzero(fold[cuts.user] == held_out)
            chosen = Cuts(cuts.user[of], cuts.start[of], cuts.at[of], cuts.stop[of])
            made.append(self._fold_examples(plays, told, chosen, int(held_out), share))
        return made

    def _fold_examples(
        self, plays: pa.Table, told: pa.Table, cuts: Cuts, fold: int, share: np.ndarray
    ) -> pa.Table:
        moment = plays["played_at"].to_numpy()[cuts.at]
        length = cuts.at - cuts.start
        query = np.repeat(np.arange(len(length)), length)
        begin = np.repeat(cuts.start - np.concatenate([[0], np.cumsum(length)[:-1]]), length)
        history = np.arange(length.sum()) + begin
        # What was learned only after the moment was not known then, whenever it was played.
        known = plays["ingested_at"].to_numpy()[history] <= moment[query]
        query, history = query[known], history[known]
        events = self._events(plays, history, query, moment[query])
        profiles = self._profiles(told, cuts.user, moment)
        features, present = self._builder(fold).rows(events, profiles, len(moment))
        ids = plays["item_id"].to_numpy(zero_copy_only=False)
        targets = [list(dict.fromkeys(ids[a:b])) for a, b in zip(cuts.at, cuts.stop, strict=True)]
        rows = told.take(pa.array(cuts.user))
        return self._table(rows, moment, features, present, targets, share[cuts.user])

    def _events(
        self, plays: pa.Table, chosen: np.ndarray, query: np.ndarray, moment: np.ndarray
    ) -> Events:
        rows = plays.take(pa.array(chosen))
        at = rows["played_at"].to_numpy()
        seconds = at.astype(np.int64)
        # 1970 began on a Thursday.
        return Events(
            query=query,
            item=rows["item"].to_numpy().astype(np.int64),
            creator=rows["creator"].to_numpy().astype(np.int64),
            age=np.maximum(moment - at, 0.0) / SECONDS_PER_DAY,
            weight=play_weight(rows["ms_played"].to_numpy(zero_copy_only=False).astype(float)),
            hour=(seconds // 3600) % 24,
            weekday=(seconds // 86_400 + 3) % 7,
            kind=self._codes(rows, "item_kind", "kind"),
            surface=self._codes(rows, "surface", "surface"),
            device=self._codes(rows, "device", "device"),
        )

    def _codes(self, rows: pa.Table, column: str, group: str) -> np.ndarray:
        """The group's column for each value, -1 where there is no value."""
        encoded = rows[column].combine_chunks().dictionary_encode()
        words = self.layout[group].index(encoded.dictionary.to_pylist())
        indices = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        return np.append(words, -1)[indices]

    def _profiles(self, told: pa.Table, users: np.ndarray, moment: np.ndarray) -> Profiles:
        rows = told.take(pa.array(users))
        year = 1970 + moment / SECONDS_PER_DAY / DAYS_PER_YEAR
        born = rows["birth_year"].to_numpy(zero_copy_only=False).astype(float)
        registered = rows["registered_at"].to_numpy(zero_copy_only=False).astype(float)
        # A profile says nothing about moments before it was made.
        known = ~(registered > moment)
        return Profiles(
            country=_where(known, rows["country"]),
            language=_where(known, rows["language"]),
            subscription=_where(known, rows["subscription"]),
            age=np.where(known, np.floor(year - born), np.nan),
            account_age=np.where(known, (moment - registered) / SECONDS_PER_DAY, np.nan),
            picked_items=_picks(rows, "picked_item", moment),
            picked_creators=_picks(rows, "picked_creator", moment),
        )

    def _table(
        self,
        rows: pa.Table,
        moment: np.ndarray,
        features: np.ndarray,
        present: np.ndarray,
        targets: list[list[str]] | None,
        weight: np.ndarray,
    ) -> pa.Table:
        micros = np.round(moment * 1e6).astype(np.int64)
        columns = {
            "user_id": rows["user_id"],
            "bucket": rows["bucket"].cast(pa.int32()),
            "as_of": pa.array(micros).cast(pa.timestamp("us", tz="UTC")),
            "validation": rows["validation"],
            "fold": rows["fold"].cast(pa.int32()),
            "weight": pa.array(weight.astype(np.float32)),
            "features": list_column(features),
            "present": list_column(present),
            "targets": _targets(targets, len(moment)),
        }
        return pa.table(columns, schema=ROW_SCHEMA)


def choose_cuts(
    user: np.ndarray, at: np.ndarray, gap: float, most: int, horizon_days: float
) -> Cuts:
    """Moments to learn from: the beginnings of sessions, and some plays within.

    Args:
        user: (E,) int64, ascending; whose play each is.
        at: (E,) float64 seconds, ascending within a user.
        gap: seconds of silence that end a session.
        most: cuts at beginnings of sessions, and cuts at other plays, per user.
        horizon_days: days after the cut in which the targets lie.

    Returns:
        cuts with at least one play before them; the cut's own play is its first target.
    """
    plays = np.arange(len(user))
    first = np.r_[True, user[1:] != user[:-1]] if len(user) else np.zeros(0, bool)
    start = np.maximum.accumulate(np.where(first, plays, 0)) if len(user) else plays
    begins = np.r_[False, np.diff(at) > gap] & ~first if len(user) else first
    # Of plays at one moment only the first can be a cut: its history lies before it in time.
    later = np.r_[False, np.diff(at) > 0] & ~first if len(user) else first
    cut = np.union1d(
        _some(np.flatnonzero(begins), user, at, most),
        _some(np.flatnonzero(later & ~begins), user, at, most),
    ).astype(np.int64)
    end = at[cut] + horizon_days * SECONDS_PER_DAY
    stop = _after(user, at, user[cut], end)
    return Cuts(user=user[cut], start=start[cut], at=cut, stop=stop)


def _some(plays: np.ndarray, user: np.ndarray, at: np.ndarray, most: int) -> np.ndarray:
    """At most so many plays of each user, drawn by hash, so that more plays move no others."""
    drawn = plays[np.lexsort((_scatter(at[plays]), user[plays]))]
    rank = np.arange(len(drawn)) - np.searchsorted(user[drawn], user[drawn])
    return drawn[rank < most]


def _scatter(at: np.ndarray) -> np.ndarray:
    """A number that looks random and depends on nothing but the play."""
    mixed = at.astype(np.int64).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return mixed ^ (mixed >> np.uint64(29))


def _after(user: np.ndarray, at: np.ndarray, whose: np.ndarray, until: np.ndarray) -> np.ndarray:
    """For each (user, moment) the place after that user's last play up to the moment."""
    if not len(user):
        return np.zeros(0, np.int64)
    base = at.min()
    width = at.max() - base + 1.0
    place = user * width + (at - base)
    limit = whose * width + np.minimum(until - base, width - 0.5)
    return np.searchsorted(place, limit, side="right")


def _where(known: np.ndarray, column: pa.ChunkedArray) -> list[str | None]:
    return [value if keep else None for keep, value in zip(known, column.to_pylist(), strict=True)]


def _picks(rows: pa.Table, column: str, moment: np.ndarray) -> list[list[int]]:
    """The picks that were made before each row's moment."""
    found = []
    for times, chosen, now in zip(
        rows["picked_at"].to_pylist(), rows[column].to_pylist(), moment, strict=True
    ):
        pairs = zip(times or [], chosen or [], strict=True)
        found.append([index for time, index in pairs if time < now and index >= 0])
    return found


def _targets(targets: list[list[str]] | None, rows: int) -> pa.ListArray:
    kind = pa.list_(pa.string())
    return pa.nulls(rows, kind) if targets is None else pa.array(targets, kind)
