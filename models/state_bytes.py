"""The state of a user as bytes, and back: a header of counts, then arrays one behind the other."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

from models.events import Histories
from models.features import HABITS
from models.history import Pairs, Sums
from models.layout import CODE_SIZE, HALF_LIVES, VECTOR_SIZE
from models.user_state import PICK, PLAY, Profile, UserState

if TYPE_CHECKING:
    from models.layout import FeatureLayout

FORMAT = 1
HEADER = struct.Struct("<BBHHHHIIhhhdd")  # format, past, plays, seen, picks, ...
FIXED = np.dtype(
    [
        ("first", "<i8"),
        ("last", "<i8"),
        ("count", "<i8"),
        ("plays", "<f8", len(HALF_LIVES)),
        ("tastes", "<f4", (len(HALF_LIVES), VECTOR_SIZE)),
        ("interests", "<f4", CODE_SIZE),
    ]
)


class StateBytes:
    """Encodes and decodes states of one layout.

    Args:
        layout: whose habits the sums have.
    """

    def __init__(self, layout: FeatureLayout) -> None:
        widths = [layout[name].width for name in HABITS]
        self._ends = np.cumsum(widths)
        self._habits = int(self._ends[-1])

    def encode(self, state: UserState) -> bytes:
        """A state as bytes."""
        past = state.past
        creators, items = (len(past.by_creator.column), len(past.items.column)) if past else (0, 0)
        header = HEADER.pack(
            FORMAT,
            past is not None,
            len(state.plays),
            len(state.seen),
            len(state.picks),
            min(state.unpublished, 2**16 - 1),
            creators,
            items,
            *state.profile.words,
            state.profile.born,
            state.profile.registered,
        )
        parts = [header, state.plays.tobytes(), state.seen.tobytes(), state.picks.tobytes()]
        if past is not None:
            parts += self._encode_past(past)
        return b"".join(parts)

    def _encode_past(self, past: Sums) -> list[bytes]:
        fixed = np.zeros(1, FIXED)
        fixed["first"], fixed["last"] = past.histories.first, past.histories.last
        fixed["count"], fixed["plays"] = past.counts, past.histories.plays
        fixed["tastes"] = np.stack([past.tastes[name][0] for name in HALF_LIVES])
        fixed["interests"] = past.interests
        habits = np.concatenate([past.habits[name][0] for name in HABITS])
        return [
            fixed.tobytes(),
            habits.astype("<f8").tobytes(),
            past.by_creator.column.astype("<i4").tobytes(),
            past.by_creator.weight.astype("<f8").tobytes(),
            past.items.column.astype("<i4").tobytes(),
        ]

    def decode(self, value: bytes) -> UserState:
        """Bytes as a state; its arrays are those bytes, and may not be written.

        Raises:
            ValueError: they are of a format that this code does not know.
        """
        if not value or value[0] != FORMAT:
            raise ValueError(f"a user's state has format {value[:1]!r}, this code knows {FORMAT}")
        _, has_past, plays, seen, picks, unpublished, creators, items, *told = HEADER.unpack_from(
            value
        )
        reader = _Reader(value)
        return UserState(
            plays=reader.take(PLAY, plays),
            seen=reader.take(np.dtype("<i8"), seen),
            picks=reader.take(PICK, picks),
            past=self._decode_past(reader, creators, items) if has_past else None,
            profile=Profile((told[0], told[1], told[2]), told[3], told[4]),
            unpublished=unpublished,
        )

    def _decode_past(self, reader: _Reader, creators: int, items: int) -> Sums:
        fixed = reader.take(FIXED, 1)
        habits = np.split(reader.take(np.dtype("<f8"), self._habits), self._ends[:-1])
        creator = reader.take(np.dtype("<i4"), creators).astype(np.int64)
        weight = reader.take(np.dtype("<f8"), creators)
        item = reader.take(np.dtype("<i4"), items).astype(np.int64)
        return Sums(
            Histories(fixed["first"], fixed["last"], fixed["plays"]),
            counts=fixed["count"],
            tastes={name: fixed["tastes"][:, row] for row, name in enumerate(HALF_LIVES)},
            interests=fixed["interests"],
            by_creator=Pairs(np.zeros(creators, np.int64), creator, weight),
            items=Pairs(np.zeros(items, np.int64), item, np.ones(items)),
            habits={name: part[None] for name, part in zip(HABITS, habits, strict=True)},
        )


class _Reader:
    """Arrays one behind the other, after the header."""

    def __init__(self, value: bytes) -> None:
        self._value, self._offset = value, HEADER.size

    def take(self, dtype: np.dtype, count: int) -> np.ndarray:
        found = np.frombuffer(self._value, dtype, count, self._offset)
        self._offset += found.nbytes
        return found
