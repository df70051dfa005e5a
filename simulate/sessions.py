"""Sittings: when a listener opens the app, in what mood, and where it starts.

A session has one genre, one language and one creator from which it starts; its plays stay near.
"""

from dataclasses import dataclass

import numpy as np

from simulate.catalogue import catalogue
from simulate.config import DAY, HOUR, WEEK, Simulation
from simulate.genres import MUSIC
from simulate.listeners import FAVOURITES, Listeners
from simulate.places import SURFACES
from simulate.sampling import Floats, Ints, Stream, choose, cumulative, generator, geometric

MUSIC_PLAYS = 9.0  # mean plays of a session of music
PODCAST_PLAYS = 1.8  # and of podcasts
SCENE_LIKING = 0.5  # chance that a session without a favourite still is of a favourite's scene
FIRST_MONDAY = 4 * DAY  # 5 January 1970
DRAWS = 16  # random numbers of a session
PLAY_DRAWS = 11  # random numbers of a play


@dataclass(frozen=True)
class Sessions:
    """Sessions (S), sorted by listener and by when they are meant to begin.

    Attributes:
        listener: (S,) int64, positions in the listeners' arrays, ascending.
        begins_us: (S,) int64, microseconds since 1970.
        plays: (S,) int64, at least 1.
        is_podcast: (S,) int64, 0 or 1.
        moved: (S,) float64 in [0, 1], how far the listener's taste has drifted.
        surface: (S,) int64, index into SURFACES.
        device: (S,) int64, index into DEVICES.
        creator: (S,) int64, the creator from which the session starts.
    """

    listener: Ints
    begins_us: Ints
    plays: Ints
    is_podcast: Ints
    moved: Floats
    surface: Ints
    device: Ints
    creator: Ints


def randomness(simulation: Simulation, crowd: Listeners) -> tuple[Floats, Floats]:
    """Draw the numbers of every play and of as many sessions, user after user.

    Args:
        simulation: what to simulate.
        crowd: whose plays; E in all.

    Returns:
        (E, DRAWS) float64 for sessions, of which few are needed, and (E, PLAY_DRAWS) for plays;
        all in [0, 1).
    """
    numbers = np.empty((int(crowd.events.sum()), DRAWS + PLAY_DRAWS))
    low = 0
    for user, events in zip(crowd.user.tolist(), crowd.events.tolist(), strict=True):
        generator(simulation.seed, Stream.LISTENS, user).random(out=numbers[low : low + events])
        low += events
    return numbers[:, :DRAWS], numbers[:, DRAWS:]


def sessions(simulation: Simulation, crowd: Listeners, uniform: Floats) -> Sessions:
    """Cut each listener's plays into sessions.

    Args:
        simulation: what to simulate.
        crowd: U listeners.
        uniform: (E, DRAWS) float64 in [0, 1), a row for each play of each listener in turn.
    """
    row = np.repeat(np.arange(len(crowd.user)), crowd.events)  # (E,)
    opens = crowd.opens_us[row]
    day = opens + (uniform[:, 0] * (simulation.ends_us - opens)).astype(np.int64)
    moved = crowd.moved(row, day)
    after = (uniform[:, 1] < moved).astype(np.int64)  # a blend of two mixtures is a coin between
    mixtures = cumulative(
        np.stack([crowd.start, crowd.end], axis=1).reshape(-1, crowd.start.shape[1])
    )
    genre = choose(mixtures, 2 * row + after, uniform[:, 2])
    is_podcast = (genre >= len(MUSIC)).astype(np.int64)
    plays, kept = _lengths(crowd.events, is_podcast, uniform[:, 3])
    uniform, row, day, moved = uniform[kept], row[kept], day[kept], moved[kept]  # (S, ...)
    genre, is_podcast = genre[kept], is_podcast[kept]
    surface = choose(crowd.surfaces, 2 * row + is_podcast, uniform[:, 6])
    begins = _hour(simulation, crowd, 2 * row + is_podcast, day, uniform[:, 4:6])
    order = np.lexsort((begins, row))
    made = Sessions(
        listener=row,
        begins_us=begins,
        plays=plays,
        is_podcast=is_podcast,
        moved=moved,
        surface=surface,
        device=choose(crowd.devices, row, uniform[:, 7]),
        creator=_starting_points(simulation, crowd, (row, genre, surface), begins, uniform[:, 8:]),
    )
    return Sessions(**{name: values[order] for name, values in vars(made).items()})


def _lengths(events: Ints, is_podcast: Ints, uniform: Floats) -> tuple[Ints, Ints]:
    """Draw lengths until each listener's plays are used up.

    Args:
        events: (U,) int64, plays of each listener.
        is_podcast: (E,) int64, kind of each candidate session.
        uniform: (E,) float64 in [0, 1).

    Returns:
        (S,) plays of each session, which sum to E, and (S,) which candidates these are.
    """
    drawn = geometric(np.where(is_podcast == 1, PODCAST_PLAYS, MUSIC_PLAYS), uniform)  # (E,)
    before = np.cumsum(drawn) - drawn
    first = np.repeat(np.cumsum(events) - events, events)  # (E,) the listener's first row
    before -= before[first]
    left = np.repeat(events, events) - before
    kept = np.flatnonzero(left > 0)
    return np.minimum(drawn, left)[kept], kept


def _hour(
    simulation: Simulation, crowd: Listeners, rhythm: Ints, day: Ints, uniform: Floats
) -> Ints:
    """Move (S,) moments to hours of their week at which the listener is wont to listen."""
    monday = (day - FIRST_MONDAY) // WEEK * WEEK + FIRST_MONDAY
    hour = choose(crowd.hours, rhythm, uniform[:, 0]) + uniform[:, 1]
    begins = monday + (hour * HOUR).astype(np.int64)
    opens = crowd.opens_us[rhythm // 2]
    begins += WEEK * ((begins < opens).astype(np.int64) - (begins >= simulation.ends_us))
    inside = (begins >= opens) & (begins < simulation.ends_us)
    return np.where(inside, begins, day)  # who registered days ago may have no such hour yet


def _starting_points(
    simulation: Simulation,
    crowd: Listeners,
    mood: tuple[Ints, Ints, Ints],
    at: Ints,
    uniform: Floats,
) -> Ints:
    """Choose the creator that each session starts from.

    Args:
        simulation: what to simulate.
        crowd: U listeners.
        mood: listener, genre and surface of each session, each (S,) int64.
        at: (S,) int64, microseconds since 1970.
        uniform: (S, 8) float64 in [0, 1).

    Returns:
        (S,) int64, creators.
    """
    shelf = catalogue(simulation)
    row, genre, surface = mood
    language = choose(cumulative(crowd.languages), row, uniform[:, 0])
    slot = (uniform[:, 1] * FAVOURITES).astype(np.int64)
    favourite = crowd.favourites[row, genre, slot]
    loyalty = crowd.loyalty[row] + np.array([each.loyalty for each in SURFACES])[surface]
    near = uniform[:, 3] < SCENE_LIKING
    low = np.where(near, shelf.scenes.low[favourite], shelf.cells.low[genre, language])
    high = np.where(near, shelf.scenes.high[favourite], shelf.cells.high[genre, language])
    found = shelf.creator[shelf.draw(shelf.popularity, low, high, at, genre, uniform[:, 4:])]
    return np.where(uniform[:, 2] < loyalty, favourite, found)
