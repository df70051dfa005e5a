"""Vectors for whoever has no account, and the nearest users and items of a batch."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakehouse.ann import Ann, IndexConfig
from lakehouse.event_codec import LISTENS, ONBOARDING
from models.user_state import PICK, PLAY
from ray_apps.nrt_events import as_tables
from ray_apps.nrt_service import as_text
from ray_apps.nrt_updates import last_event
from schemas.arrow import matrix

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lakehouse.event_codec import Event
    from lakehouse.storage import Lakehouse
    from ray_apps.nrt_space import NrtSpace

WIDER = 8  # times as many are looked at where some may be of another kind


@dataclass(frozen=True)
class Index:
    """What is searched.

    Attributes:
        ids: (N,) text.
        ann: over their vectors.
        told: by name, (N,) text that a search may ask for.
    """

    ids: pa.Array
    ann: Ann
    told: Mapping[str, pa.Array]

    def nearest(
        self, vector: np.ndarray, count: int, only: Mapping[str, str], but: str | None
    ) -> list[dict[str, Any]]:
        """The nearest that fit, nearest first.

        Args:
            vector: (d,) float32.
            count: how many at most.
            only: what each has to be, by name of ``told``.
            but: an id that does not count.
        """
        fits = self._fitting(only)
        asked = count + 1
        while True:
            found, rows = self.ann.search(vector[None], asked)
            chosen = [
                {"id": self.ids[row].as_py(), "cosine": float(product)}
                for product, row in zip(found[0].tolist(), rows[0].tolist(), strict=True)
                if row >= 0 and (fits is None or fits[row])
            ]
            chosen = [one for one in chosen if one["id"] != but]
            if len(chosen) >= count or asked >= len(self.ids):
                return chosen[:count]
            asked = min(asked * WIDER, len(self.ids))

    def _fitting(self, only: Mapping[str, str]) -> np.ndarray | None:
        masks = [
            pc.fill_null(pc.equal(self.told[name], word), False).to_numpy(zero_copy_only=False)
            for name, word in only.items()
        ]
        found: np.ndarray | None = np.logical_and.reduce(masks) if masks else None
        return found


class BatchInference:
    """Answers in the space of one batch.

    Args:
        lake: the lakehouse.
        space: of the batch.
        by_events: whether vectors are as of the last event that is told, and not of now.
    """

    def __init__(self, lake: Lakehouse, space: NrtSpace, *, by_events: bool = False) -> None:
        self._space, self._by_events = space, by_events
        self._indexes = {"users": _of_users(lake, space), "items": _of_items(space)}

    def embed(self, events: Sequence[Event], user: Mapping[str, Any]) -> dict[str, Any]:
        """The vector of somebody of whom only this is known; nothing is stored.

        Args:
            events: good ones.
            user: columns of ``users``.
        """
        space, tables = self._space, as_tables(events)
        profile = pa.table(
            {
                **{name: pa.array([user.get(name)], pa.string()) for name in PROFILE},
                "birth_year": pa.array([user.get("birth_year")], pa.int32()),
                "registered_at": pa.nulls(1, pa.int64()),
            }
        )
        (state,) = space.profiles(profile)
        plays = space.plays(tables[LISTENS]) if LISTENS in tables else np.zeros(0, PLAY)
        picks = space.picks(tables[ONBOARDING]) if ONBOARDING in tables else np.zeros(0, PICK)
        state = space.states.add(state, plays, picks)
        moment = last_event(state) if self._by_events and events else time.time_ns() // 1_000
        vectors, status = space.embed([state], np.array([moment]))
        return {
            "user_id": "",
            "batch_id": space.batch.batch_id,
            "status": "fresh",
            "source": "cold_start" if status[0] == "cold_start" else "nrt",
            "as_of": as_text(moment),
            "embedding": vectors[0].tolist(),
        }

    def nearest(
        self, what: str, of: Mapping[str, Any], count: int, **only: str | None
    ) -> dict[str, Any]:
        """The nearest users or items to a vector of the batch."""
        vector = np.array(of["embedding"], np.float32)
        wished = {name: word for name, word in only.items() if word is not None}
        own = of["user_id"] if what == "users" else None
        return {
            "batch_id": self._space.batch.batch_id,
            "as_of": of["as_of"],
            "nearest": self._indexes[what].nearest(vector, count, wished, own),
        }


PROFILE = ("country", "language", "subscription")


def _of_users(lake: Lakehouse, space: NrtSpace) -> Index:
    rows = lake.read("user_embeddings", space.batch, ["user_id", "embedding"])
    vectors = matrix(rows["embedding"])
    return Index(rows["user_id"].combine_chunks(), _index(vectors), {})


def _of_items(space: NrtSpace) -> Index:
    items = space.items
    vectors = space.predictor.place_items(items.vectors, items.support)
    told = {"kind": items.kinds, "language": items.languages}
    return Index(items.ids, _index(vectors), told)


def _index(vectors: np.ndarray) -> Ann:
    return Ann.build(vectors, IndexConfig(nprobe=16, rerank=8, threads=1))
