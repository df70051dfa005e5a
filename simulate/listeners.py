"""Listeners: who they are, what they like, when they listen, and how that changes.

A mixture over genres is the share of a user's sessions that start from each genre. It goes from
`start` to `end` along a straight line in time; for a user whose taste switches abruptly that line
is one moment long.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa

from simulate.catalogue import catalogue
from simulate.config import DAY, MINUTE, Simulation
from simulate.genres import FAMILIES, GENRES, MUSIC
from simulate.places import (
    CHRONOTYPES,
    COUNTRIES,
    DEVICE_SHARES,
    DEVICES,
    LANGUAGE_SHARES,
    LANGUAGES,
    SURFACES,
)
from simulate.rhythm import rhythms
from simulate.sampling import Floats, Ints, Stream, choose, cumulative, generator

ACTIVITY_SPREAD = (
    1.1  # of the log of plays per day: a tenth of the users makes nearly half of the plays
)
MOST_ACTIVE = 25.0  # times the typical user's plays; more would not fit into a day
OLDEST_ACCOUNT = 365 * DAY  # before the period
ONBOARDING = 10 * MINUTE  # first plays come after it
GENRE_SHAPE = 0.35  # of the gamma draws below a mixture; small values make few genres matter
LOCAL_LIKING = 2.5  # times that a country's own genres are liked more
HABIT_LIKING = 3.0  # times that a chronotype's own genres are liked more
AGE_SPREAD = 14.0  # years around a genre's typical age
HOME_LANGUAGE, ENGLISH = 12.0, 2.5  # likings beside 1 for an average foreign language
MOVED_SHARE = 0.8  # of a mixture that drift replaces
FAVOURITES = 3  # creators that a listener returns to, in each genre
FAVOURITE_TRIES = 4


@dataclass(frozen=True)
class Listeners:
    """Some users (U) as arrays, for G genres, L languages, D devices and S surfaces.

    Attributes:
        user: (U,) int64, indices of the users.
        events: (U,) int64, plays in the period.
        registered_us: (U,) int64, microseconds since 1970.
        opens_us: (U,) int64, when the first play may begin.
        country: (U,) int64, index into COUNTRIES.
        chronotype: (U,) int64, index into CHRONOTYPES.
        age: (U,) int64, years.
        start: (U, G) float64, the mixture before the drift; rows sum to 1.
        end: (U, G) float64, the mixture after it.
        drift_from_us: (U,) int64, when the mixture begins to move.
        drift_until_us: (U,) int64, when it has arrived, later than drift_from_us.
        languages: (U, L) float64, shares of sessions in each language; rows sum to 1.
        hours: (2 U, 168) float64, cumulative over the hours of the UTC week from Monday; row 2 u
            for music, 2 u + 1 for podcasts.
        surfaces: (2 U, S) float64, cumulative; rows as in hours.
        devices: (U, D) float64, cumulative.
        favourites: (U, G, F) int64, creators.
        loyalty: (U,) float64, chance that a session starts from a favourite.
        patience: (U,) float64, added to the log odds that a play is finished.
        told: (U, 2) float64 in [0, 1), random numbers for what the user tells of themselves.
    """

    user: Ints
    events: Ints
    registered_us: Ints
    opens_us: Ints
    country: Ints
    chronotype: Ints
    age: Ints
    start: Floats
    end: Floats
    drift_from_us: Ints
    drift_until_us: Ints
    languages: Floats
    hours: Floats
    surfaces: Floats
    devices: Floats
    favourites: Ints
    loyalty: Floats
    patience: Floats
    told: Floats

    def moved(self, rows: Ints, at: Ints) -> Floats:
        """Tell how far the drift has gone.

        Args:
            rows: (B,) int64, positions in these arrays.
            at: (B,) int64, moments, microseconds since 1970.

        Returns:
            (B,) float64 in [0, 1]: 0 is the start mixture, 1 the end mixture.
        """
        begun, done = self.drift_from_us[rows], self.drift_until_us[rows]
        return np.clip((at - begun) / (done - begun), 0.0, 1.0)


@dataclass(frozen=True)
class Population:
    """What depends on all users at once.

    Attributes:
        registered_us: (users,) int64, microseconds since 1970.
        events: (users,) int64, plays of each; they sum to `simulation.events`.
    """

    registered_us: Ints
    events: Ints


@lru_cache(maxsize=2)
def population(simulation: Simulation) -> Population:
    """Deal the events out to the users: many to few, and fewer to who came late.

    Args:
        simulation: what to simulate.
    """
    rng = generator(simulation.seed, Stream.POPULATION)
    count = simulation.user_count
    is_new = rng.random(count) < simulation.new_user_share
    newer = rng.random(count) * simulation.days * DAY
    older = -rng.random(count) * OLDEST_ACCOUNT
    registered = simulation.starts_us + np.where(is_new, newer, older).astype(np.int64)
    lifetime = simulation.ends_us - np.maximum(registered, simulation.starts_us)
    activity = np.minimum(rng.lognormal(sigma=ACTIVITY_SPREAD, size=count), MOST_ACTIVE)
    owed = np.cumsum(activity * lifetime)
    # Rounding the running sum keeps the total exact whatever the number of users.
    dealt = np.rint(owed / owed[-1] * simulation.events).astype(np.int64)
    return Population(registered, np.diff(dealt, prepend=0))


def listeners(simulation: Simulation, users: Ints) -> Listeners:
    """Make listeners; each is the same whichever others are made with them.

    Args:
        simulation: what to simulate.
        users: (U,) int64, indices below `simulation.user_count`, in any order.
    """
    chance, gamma, normal = _randomness(simulation, users)
    everybody = population(simulation)
    registered = everybody.registered_us[users]
    opens = np.maximum(registered + ONBOARDING, simulation.starts_us)
    country = _pick([each.share for each in COUNTRIES], chance["country"])
    chronotype = _pick([each.share for each in CHRONOTYPES], chance["chronotype"])
    age = np.rint(np.clip(33 + 13 * normal["age"], 14, 85)).astype(np.int64)  # (U,)
    start, end = _mixtures(gamma, country, chronotype, age)
    steady = chance["drift"] < simulation.steady_share
    abrupt = ~steady & (chance["drift"] < simulation.steady_share + simulation.abrupt_share)
    switch = opens + (chance["switch"] * 0.6 + 0.2) * (simulation.ends_us - opens)  # (U,)
    languages = _languages(gamma["languages"], country)
    return Listeners(
        user=users,
        events=everybody.events[users],
        registered_us=registered,
        opens_us=opens,
        country=country,
        chronotype=chronotype,
        age=age,
        start=start,
        end=np.where(steady[:, None], start, end),
        drift_from_us=np.where(abrupt, switch.astype(np.int64), simulation.starts_us),
        drift_until_us=np.where(abrupt, switch.astype(np.int64) + 1, simulation.ends_us),
        languages=languages,
        hours=rhythms(chronotype, country, normal["hours"]),
        surfaces=_surfaces(gamma["surfaces"]),
        devices=cumulative(gamma["devices"] * DEVICE_SHARES),
        favourites=_favourites(simulation, registered, languages, chance),
        loyalty=0.15 + 0.6 * chance["loyalty"],
        patience=0.8 * normal["patience"],
        told=chance["told"],
    )


# One call of each kind of draw per user, cut into named parts: the per-user loop stays cheap.
_UNIFORM: dict[str, tuple[int, ...]] = {
    "country": (),
    "chronotype": (),
    "drift": (),
    "switch": (),
    "loyalty": (),
    "told": (2,),
    "favourite_language": (len(GENRES), FAVOURITES),
    "favourite": (len(GENRES), FAVOURITES, FAVOURITE_TRIES),
}
_GAMMA: dict[str, tuple[tuple[int, ...], float]] = {
    "start": ((len(GENRES),), GENRE_SHAPE),
    "end": ((len(GENRES),), GENRE_SHAPE),
    "families": ((FAMILIES,), 0.8),
    "podcasts": ((2,), 1.5),
    "languages": ((len(LANGUAGES),), 0.8),
    "surfaces": ((len(SURFACES),), 1.2),
    "devices": ((len(DEVICES),), 0.6),
}
_NORMAL: dict[str, tuple[int, ...]] = {"age": (), "patience": (), "hours": (3,)}


def _randomness(
    simulation: Simulation, users: Ints
) -> tuple[dict[str, Floats], dict[str, Floats], dict[str, Floats]]:
    """Draw each user's own numbers: uniform, gamma and normal, by name, each (U, ...)."""
    gamma_shapes = {name: shape for name, (shape, _) in _GAMMA.items()}
    gammas = np.concatenate([np.full(np.prod(shape), size) for shape, size in _GAMMA.values()])
    uniform = np.empty((len(users), _width(_UNIFORM)))
    gamma = np.empty((len(users), len(gammas)))
    normal = np.empty((len(users), _width(_NORMAL)))
    for row, user in enumerate(users.tolist()):
        rng = generator(simulation.seed, Stream.TRAITS, user)
        rng.random(out=uniform[row])
        rng.standard_gamma(gammas, out=gamma[row])
        rng.standard_normal(out=normal[row])
    gamma += np.finfo(np.float64).tiny  # a draw of this shape can underflow to 0
    return _cut(uniform, _UNIFORM), _cut(gamma, gamma_shapes), _cut(normal, _NORMAL)


def _width(shapes: dict[str, tuple[int, ...]]) -> int:
    return sum(int(np.prod(shape)) for shape in shapes.values())


def _cut(numbers: Floats, shapes: dict[str, tuple[int, ...]]) -> dict[str, Floats]:
    """Cut (U, W) columns into named arrays of the shapes given."""
    sizes = [int(np.prod(shape)) for shape in shapes.values()]
    parts = np.split(numbers, np.cumsum(sizes)[:-1], axis=1)
    return {
        name: part.reshape(len(numbers), *shape)
        for (name, shape), part in zip(shapes.items(), parts, strict=True)
    }


def _pick(shares: list[float], uniform: Floats) -> Ints:
    """Draw an index for each of (U,) uniform numbers, by shares."""
    rows = np.zeros(len(uniform), dtype=np.int64)
    return choose(cumulative(np.array([shares])), rows, uniform)


def _mixtures(
    gamma: dict[str, Floats], country: Ints, chronotype: Ints, age: Ints
) -> tuple[Floats, Floats]:
    """Make the mixtures before and after the drift, each (U, G) with rows that sum to 1.

    Gamma draws, normalised, are a Dirichlet draw; the tilts make country, habits and age tell of
    taste, and genres of one family go together.
    """
    local = np.array([[g.name in c.local_genres for g in GENRES] for c in COUNTRIES])
    habit = np.array([[g.name in c.genres for g in GENRES] for c in CHRONOTYPES])
    years = (age[:, None] - np.array([genre.age for genre in GENRES])) / AGE_SPREAD  # (U, G)
    family = gamma["families"][:, [genre.family for genre in GENRES]]  # (U, G)
    tilt = family * np.exp(-0.5 * years**2) + 0.02  # nobody is too old for anything
    tilt = tilt * LOCAL_LIKING ** local[country] * HABIT_LIKING ** habit[chronotype]  # (U, G)
    odds = np.array([each.podcasts for each in CHRONOTYPES])[chronotype]
    podcasts = odds * gamma["podcasts"][:, 0] / gamma["podcasts"][:, 1]
    share = podcasts / (1 + podcasts)  # (U,)
    start = _by_kind(gamma["start"] * tilt, share)
    moved = _by_kind(gamma["end"] * tilt, share)
    return start, (1 - MOVED_SHARE) * start + MOVED_SHARE * moved


def _by_kind(liking: Floats, podcasts: Floats) -> Floats:
    """Normalise (U, G) likings so that podcasts have the (U,) share asked for."""
    music, spoken = liking[:, : len(MUSIC)], liking[:, len(MUSIC) :]
    music = music / music.sum(axis=1, keepdims=True) * (1 - podcasts[:, None])
    spoken = spoken / spoken.sum(axis=1, keepdims=True) * podcasts[:, None]
    return np.concatenate([music, spoken], axis=1)  # (U, G)


def _languages(gamma: Floats, country: Ints) -> Floats:
    """Make (U, L) shares of languages: mostly one's own, then English."""
    liking = np.array(LANGUAGE_SHARES) * gamma  # (U, L)
    home = np.array([LANGUAGES.index(each.language) for each in COUNTRIES])[country]
    liking[:, LANGUAGES.index("en")] += ENGLISH
    liking[np.arange(len(home)), home] += HOME_LANGUAGE
    return np.asarray(liking / liking.sum(axis=1, keepdims=True))


def _surfaces(gamma: Floats) -> Floats:
    """Make (2 U, S) cumulative shares of surfaces: of music, then of podcasts, for each user."""
    shares = np.array([[s.music_share for s in SURFACES], [s.podcast_share for s in SURFACES]])
    return cumulative((gamma[:, None, :] * shares).reshape(-1, len(SURFACES)))


def _favourites(
    simulation: Simulation, registered: Ints, languages: Floats, chance: dict[str, Floats]
) -> Ints:
    """Draw favourite creators of every genre, (U, G, F), among those out at registration."""
    shelf = catalogue(simulation)
    shape = (len(registered), len(GENRES), FAVOURITES)
    row, genre, _ = (axis.ravel() for axis in np.indices(shape))
    language = choose(cumulative(languages), row, chance["favourite_language"].ravel())
    low, high = shelf.cells.low[genre, language], shelf.cells.high[genre, language]
    tries = chance["favourite"].reshape(-1, FAVOURITE_TRIES)
    items = shelf.draw(shelf.taste, low, high, registered[row], genre, tries)
    return shelf.creator[items].reshape(shape)


def user_ids(users: Ints) -> pa.Array:
    """Name users by their indices: (U,) strings."""
    return pa.array([f"u{user:07d}" for user in users.tolist()], pa.string())
