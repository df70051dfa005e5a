"""The listens table: what was played, for how long, and when we learned of it."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from simulate.catalogue import Catalogue, catalogue
from simulate.config import DAY, MINUTE, Simulation
from simulate.genres import MUSIC
from simulate.items import item_ids
from simulate.listeners import Listeners, listeners, user_ids
from simulate.places import DEVICES, SURFACES
from simulate.sampling import Floats, Ints, choose, cumulative
from simulate.sessions import Sessions, randomness, sessions

SCHEMA = pa.schema(
    {
        "event_id": pa.string(),
        "user_id": pa.string(),
        "item_id": pa.string(),
        "item_kind": pa.string(),
        "played_at": pa.timestamp("us", tz="UTC"),
        "ms_played": pa.int64(),
        "surface": pa.string(),
        "device": pa.string(),
        "ingested_at": pa.timestamp("us", tz="UTC"),
    }
)

TRIES = slice(1, 5)  # columns of a play's random numbers for drawing its item
BACK_CATALOGUE = 0.45  # chance that a listener to a show goes one episode further back
# Log odds that a play is finished: of a misfit, and what each kind of fit adds.
MISFIT, GENRE_FIT, LANGUAGE_FIT, FAVOURITE_FIT = -1.6, 2.4, 0.8, 0.9
WHOLE_SHARE = 0.85  # of the finished plays run to the last millisecond, the others nearly
NEARLY = 0.15  # at most this share is cut from the end of the others
PAUSE = 4_000_000  # mean microseconds between plays of a session
SECONDS = 30_000_000  # at most this long until we learn of a play that is not late
LATEST = 2 * DAY
SESSION_BREAK = 45 * MINUTE  # at least, between two sessions of a user
FAR = 10**15  # microseconds, longer than any period


def listen_batch(simulation: Simulation, users: Ints) -> pa.RecordBatch:
    """Write all plays of some users, in the order of users and of time.

    Args:
        simulation: what to simulate.
        users: (U,) int64, indices below `simulation.user_count`; memory grows with their plays,
            by about half a KB for each.

    Returns:
        Rows of `SCHEMA`; as many as the users' plays, less those that would end up after the
        period because the sessions before them took so long.
    """
    crowd = listeners(simulation, users)
    of_sessions, of_plays = randomness(simulation, crowd)
    sittings = sessions(simulation, crowd, of_sessions)
    plays = _plays(simulation, crowd, sittings, of_plays)
    return _rows(simulation, crowd, plays)


@dataclass(frozen=True)
class _Plays:
    """Plays (E), in the order of listeners and of time; (E,) int64 all."""

    listener: Ints
    number: Ints
    item: Ints
    surface: Ints
    device: Ints
    played_us: Ints
    ms_played: Ints
    ingested_us: Ints


def _plays(simulation: Simulation, crowd: Listeners, sittings: Sessions, uniform: Floats) -> _Plays:
    """Fill sessions with plays.

    Args:
        simulation: what to simulate.
        crowd: U listeners.
        sittings: their S sessions, of E plays.
        uniform: (E, PLAY_DRAWS) float64 in [0, 1).
    """
    shelf = catalogue(simulation)
    session = np.repeat(np.arange(len(sittings.plays)), sittings.plays)  # (E,)
    item = _items(shelf, sittings, session, uniform)
    fit = _fit(shelf, crowd, sittings, session, item)
    ms_played = _ms_played(shelf.duration_ms[item], fit, uniform[:, 6], uniform[:, 7])
    pause = (-PAUSE * np.log1p(-uniform[:, 8])).astype(np.int64)
    played = _clock(sittings, session, 1000 * ms_played + pause)
    delay = uniform[:, 10] * SECONDS
    # The phone that was offline tells of the whole play when it is back: late, but never
    # before the play is over.
    late = uniform[:, 9] < simulation.late_share
    lag = np.where(late, uniform[:, 10] * (LATEST - 1000 * ms_played), delay).astype(np.int64)
    listener = sittings.listener[session]
    first = np.cumsum(crowd.events) - crowd.events  # (U,)
    return _Plays(
        listener=listener,
        number=np.arange(len(session)) - first[listener],
        item=item,
        surface=sittings.surface[session],
        device=sittings.device[session],
        played_us=played,
        ms_played=ms_played,
        ingested_us=played + 1000 * ms_played + lag,
    )


def _items(shelf: Catalogue, sittings: Sessions, session: Ints, uniform: Floats) -> Ints:
    """Draw an item for each play, near the creator that its session starts from; (E,)."""
    creator = sittings.creator[session]
    genre, language = shelf.genre[creator], shelf.language[creator]
    kind = sittings.is_podcast[session]
    reach = cumulative(np.array([surface.reach for surface in SURFACES]))
    circle = choose(reach, sittings.surface[session], uniform[:, 0])  # (E,) how far it strays
    low, high = (
        np.choose(circle, [creators[creator], scenes[creator], cells[genre, language], kinds[kind]])
        for creators, scenes, cells, kinds in (
            (shelf.creators.low, shelf.scenes.low, shelf.cells.low, shelf.kinds.low),
            (shelf.creators.high, shelf.scenes.high, shelf.cells.high, shelf.kinds.high),
        )
    )
    at = sittings.begins_us[session]
    item = shelf.draw(shelf.popularity, low, high, at, genre, uniform[:, TRIES])
    back = np.floor(np.log1p(-uniform[:, 5]) / np.log(BACK_CATALOGUE)).astype(np.int64)
    item = np.where(kind == 1, shelf.latest(item, at, back), item)
    # Nobody plays the same thing over and over: a repeat in a session tries once more, more widely.
    again = _repeats(session, item, len(shelf.creator))
    low, high = shelf.cells.low[genre, language], shelf.cells.high[genre, language]
    tries = uniform[again, TRIES][:, ::-1]
    item[again] = shelf.draw(
        shelf.popularity, low[again], high[again], at[again], genre[again], tries
    )
    return item


def _repeats(session: Ints, item: Ints, items: int) -> Ints:
    """Find the plays of an item that its session had before; positions in (E,)."""
    _, first = np.unique(session * items + item, return_index=True)
    is_repeat = np.ones(len(item), dtype=bool)
    is_repeat[first] = False
    return np.flatnonzero(is_repeat)


def _fit(
    shelf: Catalogue, crowd: Listeners, sittings: Sessions, session: Ints, item: Ints
) -> Floats:
    """Tell the log odds that each play is finished, from what the listener likes now; (E,)."""
    row, moved = sittings.listener, sittings.moved[:, None]
    mixture = (1 - moved) * crowd.start[row] + moved * crowd.end[row]  # (S, G)
    best = np.stack(
        [mixture[:, : len(MUSIC)].max(axis=1), mixture[:, len(MUSIC) :].max(axis=1)], axis=1
    )  # (S, 2)
    creator = shelf.creator[item]
    genre, listener = shelf.genre[creator], row[session]
    liked = mixture[session, genre] / best[session, (genre >= len(MUSIC)).astype(np.int64)]
    languages = crowd.languages / crowd.languages.max(axis=1, keepdims=True)
    spoken = languages[listener, shelf.language[creator]]
    favourite = (crowd.favourites[listener, genre] == creator[:, None]).any(axis=1)
    return np.asarray(
        MISFIT
        + GENRE_FIT * np.sqrt(liked)
        + LANGUAGE_FIT * spoken
        + FAVOURITE_FIT * favourite
        + crowd.patience[listener]
    )


def _ms_played(duration_ms: Ints, fit: Floats, finishes: Floats, share: Floats) -> Ints:
    """Draw how long each play lasted: to the end, or skipped, most often soon; (E,)."""
    finished = finishes < 1 / (1 + np.exp(-fit))
    nearly = 1 - NEARLY * np.maximum(share - WHOLE_SHARE, 0) / (1 - WHOLE_SHARE)
    return np.asarray(duration_ms * np.where(finished, nearly, share**3), dtype=np.int64)


def _clock(sittings: Sessions, session: Ints, lasted: Ints) -> Ints:
    """Let the plays of a listener follow each other: no session begins before the last is over.

    With b the moments at which sessions mean to begin and d what they take, session i begins at
    the largest, over j <= i, of b_j + d_j + ... + d_(i-1): a running maximum of b_j less the time
    taken before j.

    Args:
        sittings: S sessions.
        session: (E,) int64, the session of each play, ascending.
        lasted: (E,) int64, microseconds from each play's beginning to the next's.

    Returns:
        (E,) int64, when each play begins, microseconds since 1970.
    """
    taken = np.bincount(session, weights=lasted, minlength=len(sittings.plays)).astype(np.int64)
    taken += SESSION_BREAK
    before = np.cumsum(taken) - taken  # (S,)
    first = np.searchsorted(sittings.listener, sittings.listener)  # (S,) the listener's first
    before -= before[first]
    # Listeners are lifted apart, so that one running maximum serves all of them.
    origin = sittings.begins_us.min(initial=0)
    lift = sittings.listener * FAR - origin
    begins = np.maximum.accumulate(sittings.begins_us - before + lift) - lift + before
    elapsed = np.cumsum(lasted) - lasted  # (E,)
    start = np.cumsum(sittings.plays) - sittings.plays  # (S,) each session's first play
    return begins[session] + elapsed - elapsed[start][session]


def _rows(simulation: Simulation, crowd: Listeners, plays: _Plays) -> pa.RecordBatch:
    """Write plays within the period as rows of `SCHEMA`."""
    kept = np.flatnonzero(plays.played_us < simulation.ends_us)
    item_id = item_ids(simulation).take(pa.array(plays.item[kept]))
    shelf = catalogue(simulation)
    is_podcast = shelf.genre[shelf.creator[plays.item[kept]]] >= len(MUSIC)
    user_id = user_ids(crowd.user).take(pa.array(plays.listener[kept]))
    number = pa.array(plays.number[kept]).cast(pa.string())
    moment = SCHEMA.field("played_at").type
    columns = [
        pc.binary_join_element_wise(user_id, number, "-"),
        user_id,
        item_id,
        pa.array(["track", "episode"]).take(pa.array(is_podcast.astype(np.int64))),
        pa.array(plays.played_us[kept], moment),
        pa.array(plays.ms_played[kept]),
        pa.array([each.name for each in SURFACES]).take(pa.array(plays.surface[kept])),
        pa.array(DEVICES).take(pa.array(plays.device[kept])),
        pa.array(plays.ingested_us[kept], moment),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)
