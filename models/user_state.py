"""What is kept of a user so that one more play makes a new feature row, exactly.

The last plays are kept one by one, older ones only as sums. So a play counts once however often it
comes, a late one takes its place among the others, and what is computed is what
``models.features`` computes from the whole history: that is the one definition, here as in the
batch. Interests fade by plays and are exact up to a share of 2^(-WINDOW / 50) = 1e-6, which is
what a play beyond the window would still have counted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from models.events import Events, play_weight
from models.history import stacked
from models.profiles import PICKED, WORDS, Told

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.events import Rows
    from models.features import FeatureBuilder
    from models.history import Sums

WINDOW = 1_000  # plays that are kept one by one
SLACK = 128  # more of them before the oldest are added up, which costs as much for one as for all
SEEN = 4_096  # older plays that are known by their hash, so that they are not counted again
MS_CAP, MS_UNKNOWN = 30_000, 65_535  # a play counts whole from half a minute on

PLAY = np.dtype(
    [
        ("at", "<i8"),  # microseconds since 1970
        ("event", "<i8"),  # hash of the event's id
        ("item", "<i4"),  # row of the item; -1 where it has no vector
        ("ms", "<u2"),  # milliseconds, at most MS_CAP
        ("kind", "i1"),  # columns of these groups; -1 where unknown
        ("surface", "i1"),
        ("device", "i1"),
    ]
)
PICK = np.dtype(
    [
        ("at", "<i8"),
        ("picked", "<i8"),  # hash of what was picked, by its id
        ("item", "<i4"),
        ("creator", "<i4"),
    ]
)


@dataclass(frozen=True)
class Profile:
    """What a user has told, as of any moment.

    Attributes:
        words: columns of the groups WORDS; -1 where untold.
        born: year, NaN where untold.
        registered: microseconds, NaN where unknown.
    """

    words: tuple[int, int, int] = (-1, -1, -1)
    born: float = np.nan
    registered: float = np.nan


@dataclass(frozen=True)
class UserState:
    """What is kept of one user.

    Attributes:
        plays: (P,) PLAY, the last ones, in order of time.
        seen: (S,) int64, hashes of plays before those, the latest last.
        picks: (K,) PICK, in order of time.
        past: sums of all plays before ``plays``; None if there are none.
        profile: what the user has told.
        unpublished: plays and picks since the last vector that was published.
    """

    plays: np.ndarray
    seen: np.ndarray
    picks: np.ndarray
    past: Sums | None = None
    profile: Profile = Profile()
    unpublished: int = 0

    @classmethod
    def empty(cls) -> UserState:
        """Of somebody of whom nothing is known."""
        return cls(np.zeros(0, PLAY), np.zeros(0, np.int64), np.zeros(0, PICK))

    @property
    def counted(self) -> int:
        """All plays."""
        return len(self.plays) + (int(self.past.counts[0]) if self.past else 0)

    def with_plays(self, plays: np.ndarray) -> UserState:
        """The state with more plays, (N,) PLAY in any order; those that it knows are left out."""
        once = plays[np.sort(np.unique(plays["event"], return_index=True)[1])]
        known = np.concatenate([self.plays["event"], self.seen])
        fresh = once[~np.isin(once["event"], known)]
        if not len(fresh):
            return self
        both = np.concatenate([self.plays, fresh])
        order = np.lexsort((both["event"], both["at"]))
        return replace(self, plays=both[order], unpublished=self.unpublished + len(fresh))

    def with_picks(self, picks: np.ndarray) -> UserState:
        """The state with more picks, (N,) PICK; of one thing the latest pick counts."""
        both = np.concatenate([self.picks, picks])
        both = both[np.lexsort((both["at"], both["picked"]))]
        last = np.append(np.diff(both["picked"]) != 0, True)[: len(both)]
        kept = both[last]
        if np.array_equal(np.sort(kept), np.sort(self.picks)):
            return self
        added = max(len(kept) - len(self.picks), 1)
        kept = kept[np.argsort(kept["at"], kind="stable")]
        return replace(self, picks=kept, unpublished=self.unpublished + added)


class StateBuilder:
    """Adds plays to states, and turns states into feature rows.

    Args:
        builder: of the batch whose space the states belong to.
        creator_of_item: (items,) int64, dense index; -1 where unknown.
        window: plays that are kept one by one.
    """

    def __init__(
        self, builder: FeatureBuilder, creator_of_item: np.ndarray, window: int = WINDOW
    ) -> None:
        self._builder = builder
        self._creator = np.append(creator_of_item, -1)
        self._window = window
        self._nothing = builder.sums(self._events([np.zeros(0, PLAY)]), 1)

    def add(
        self, state: UserState, plays: np.ndarray | None = None, picks: np.ndarray | None = None
    ) -> UserState:
        """The state with more plays and picks, none of which counts twice."""
        if plays is not None:
            state = state.with_plays(plays)
        if picks is not None:
            state = state.with_picks(picks)
        if len(state.plays) > self._window + SLACK:
            return self._with_oldest_summed(state)
        return state

    def _with_oldest_summed(self, state: UserState) -> UserState:
        oldest, rest = np.split(state.plays, [len(state.plays) - self._window])
        sums = self._builder.sums(self._events([oldest]), 1)
        return replace(
            state,
            plays=rest,
            seen=np.concatenate([state.seen, oldest["event"]])[-SEEN:],
            past=sums if state.past is None else state.past.then(sums),
        )

    def begun(self, plays: Sequence[np.ndarray], profiles: Sequence[UserState]) -> list[UserState]:
        """States of whole histories, many at once.

        Args:
            plays: of each user (P,) PLAY, in order of time, each event once.
            profiles: of each user, without plays.
        """
        oldest = [one[: max(len(one) - self._window, 0)] for one in plays]
        long = [number for number, one in enumerate(oldest) if len(one)]
        sums = self._builder.sums(self._events([oldest[number] for number in long]), len(long))
        past = {number: sums.of(row) for row, number in enumerate(long)}
        return [
            replace(
                told,
                plays=one[len(before) :],
                seen=before["event"][-SEEN:],
                past=past.get(number),
            )
            for number, (one, before, told) in enumerate(zip(plays, oldest, profiles, strict=True))
        ]

    def rows(self, states: Sequence[UserState], moments: np.ndarray) -> Rows:
        """Feature rows of states at moments in microseconds, both (Q,)."""
        recent = self._builder.sums(self._events([state.plays for state in states]), len(states))
        if any(state.past for state in states):
            recent = stacked([state.past or self._nothing for state in states]).then(recent)
        profiles = told(states).at(np.arange(len(states)), moments)
        return self._builder.finish(recent, profiles, moments)

    def _events(self, plays: Sequence[np.ndarray]) -> Events:
        every = np.concatenate(plays) if plays else np.zeros(0, PLAY)
        ms = every["ms"].astype(np.float64)
        item = every["item"].astype(np.int64)
        return Events(
            query=np.repeat(np.arange(len(plays)), [len(one) for one in plays]),
            item=item,
            creator=self._creator[item],
            at=every["at"].astype(np.int64),
            weight=play_weight(np.where(ms == MS_UNKNOWN, np.nan, ms)),
            kind=every["kind"].astype(np.int64),
            surface=every["surface"].astype(np.int64),
            device=every["device"].astype(np.int64),
        )


def told(states: Sequence[UserState]) -> Told:
    """What the users of states have told."""
    picks = np.concatenate([state.picks for state in states]) if states else np.zeros(0, PICK)
    offsets = pa.array(np.cumsum([0, *(len(state.picks) for state in states)]).astype(np.int32))
    lists = [pa.ListArray.from_arrays(offsets, pa.array(picks[name].copy())) for name in PICKED_AS]
    words = np.array([state.profile.words for state in states], np.int64).reshape(-1, len(WORDS))
    return Told(
        words=dict(zip(WORDS, words.T, strict=True)),
        born=np.array([state.profile.born for state in states]),
        registered=np.array([state.profile.registered for state in states]),
        picks=pa.table(dict(zip(PICKED, lists, strict=True))),
    )


PICKED_AS = ("at", "item", "creator")


def play_ms(ms_played: np.ndarray) -> np.ndarray:
    """Milliseconds as PLAY keeps them, (N,) uint16; from float64 with NaN where unknown."""
    known = np.minimum(np.nan_to_num(ms_played), MS_CAP)
    return np.where(np.isnan(ms_played), MS_UNKNOWN, known).astype(np.uint16)
