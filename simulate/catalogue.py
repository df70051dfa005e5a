"""The catalogue: creators and their items, popular by Zipf's law within each genre.

Items are sorted by genre, language, scene, creator and release. So whatever a play may be drawn
from (a creator, a scene, the genre in one language, all music) is one slice, and a draw by
popularity is one binary search in one array of summed weights.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from simulate.config import DAY, Simulation
from simulate.genres import GENRES, MUSIC, PODCASTS, SCENES, Genre
from simulate.places import LANGUAGE_SHARES, LANGUAGES
from simulate.sampling import Floats, Ints, Stream, choose, cumulative, generator

TRACKS_PER_CREATOR = 9
EPISODES_PER_SHOW = 18
CATALOGUE_SPREAD = 0.7  # of the log of a creator's number of items
ZIPF = 0.85  # exponent of an item's popularity by its rank within the genre
TASTE_ZIPF = 0.35  # the same where people pick favourites, which are less alike than plays
SECOND_GENRE_SHARE = 0.25  # of the creators
TRACK_YEARS = 4.0  # mean age of an older track
EPISODE_YEARS = 2.5  # mean age of an older episode; shows must be older than most accounts
OLDEST_YEARS = 25.0
EVERGREEN_YEARS = 12  # age of each genre's most played item: older than any listener's account
YEAR = 365 * DAY
CALENDAR = 1_000_000  # more days than lie between 1970 and any moment


@dataclass(frozen=True)
class Slices:
    """Consecutive items, one slice for each key.

    Attributes:
        low: (...) int64, first item.
        high: (...) int64, one past the last; equal to low where there are none.
    """

    low: Ints
    high: Ints


@dataclass(frozen=True)
class Catalogue:
    """Items (N) and creators (C) as arrays, for G genres and L languages.

    Attributes:
        creator: (N,) int64, each item's creator.
        released_us: (N,) int64, midnight of the release day, microseconds since 1970.
        duration_ms: (N,) int64.
        popularity: (N + 1,) float64, summed weights of plays.
        taste: (N + 1,) float64, summed weights of favourites.
        genre: (C,) int64, each creator's genre, an index into GENRES.
        second_genre: (C,) int64, another genre of the family, or -1.
        language: (C,) int64, index into LANGUAGES.
        scene: (C,) int64, the creator's style within the genre; no table shows it.
        creators: slice of each creator, (C,).
        scenes: slice of the scene of each creator, in the creator's language, (C,).
        cells: slices by genre and language, (G, L); the whole genre where a cell is empty.
        kinds: slices of music and of podcasts, (2,).
        evergreen: (G,) int64, each genre's most popular item, released before anybody registered.
    """

    creator: Ints
    released_us: Ints
    duration_ms: Ints
    popularity: Floats
    taste: Floats
    genre: Ints
    second_genre: Ints
    language: Ints
    scene: Ints
    creators: Slices
    scenes: Slices
    cells: Slices
    kinds: Slices
    evergreen: Ints

    def draw(
        self, weights: Floats, low: Ints, high: Ints, at: Ints, genre: Ints, uniform: Floats
    ) -> Ints:
        """Draw items that are released already, each from its own slice.

        Args:
            weights: (N + 1,) float64, `popularity` or `taste`.
            low: (B,) int64, first item of the slice.
            high: (B,) int64, one past its last.
            at: (B,) int64, the moment, microseconds since 1970.
            genre: (B,) int64, whose evergreen stands in where every try was unreleased.
            uniform: (B, T) float64 in [0, 1), one column for each try.

        Returns:
            (B,) int64, items.
        """
        drawn = self.evergreen[genre].copy()  # (B,)
        open_rows = np.arange(len(drawn))
        for column in uniform.T:
            first, last = low[open_rows], high[open_rows]
            mass = weights[first] + column[open_rows] * (weights[last] - weights[first])
            item = np.clip(np.searchsorted(weights, mass, side="right") - 1, first, last - 1)
            released = self.released_us[item] <= at[open_rows]
            drawn[open_rows[released]] = item[released]
            open_rows = open_rows[~released]
        return drawn

    def latest(self, items: Ints, at: Ints, back: Ints) -> Ints:
        """Find the newest items of the same creators, as people follow a show.

        Args:
            items: (B,) int64, released at the moment.
            at: (B,) int64, the moment, microseconds since 1970.
            back: (B,) int64, how many items before the newest.

        Returns:
            (B,) int64, items of the same creators, released at the moment.
        """
        creator = self.creator[items]
        keys = self.creator * CALENDAR + self.released_us // DAY  # (N,) ascending, as the items
        newest = np.searchsorted(keys, creator * CALENDAR + at // DAY, side="right") - 1
        return np.maximum(newest - back, self.creators.low[creator])


@lru_cache(maxsize=2)
def catalogue(simulation: Simulation) -> Catalogue:
    """Build the catalogue, once per process: every worker builds the same.

    Args:
        simulation: what to build.
    """
    rng = generator(simulation.seed, Stream.CATALOGUE)
    episodes = round(simulation.item_count * simulation.episode_share)
    creator, genre, language, scene = _creators(rng, simulation.item_count - episodes, episodes)
    fame = rng.standard_normal(len(genre))[creator] + rng.standard_normal(len(creator))  # (N,)
    rank, evergreen = _ranks(fame, genre[creator])
    is_track = genre[creator] < len(MUSIC)
    released_us = _releases(rng, simulation, is_track)
    released_us[evergreen] = simulation.starts_us // DAY * DAY - EVERGREEN_YEARS * YEAR
    order = np.lexsort((released_us, creator))
    position = np.argsort(order)
    creators = _runs(creator, len(genre))
    scene_key = (genre * len(LANGUAGES) + language) * SCENES + scene  # (C,)
    scenes = _runs(scene_key[creator], len(GENRES) * len(LANGUAGES) * SCENES)
    second = np.where(
        rng.random(len(genre)) < SECOND_GENRE_SHARE, _relatives(rng, genre), -1
    )  # (C,)
    return Catalogue(
        creator=creator,
        released_us=released_us[order],
        duration_ms=_durations(rng, is_track),
        popularity=_summed(rank[order], genre[creator], ZIPF),
        taste=_summed(rank[order], genre[creator], TASTE_ZIPF),
        genre=genre,
        second_genre=second,
        language=language,
        scene=scene,
        creators=creators,
        scenes=Slices(scenes.low[scene_key], scenes.high[scene_key]),
        cells=_cells(genre[creator], language[creator]),
        kinds=_runs((~is_track).astype(np.int64), 2),
        evergreen=position[evergreen],
    )


def _creators(
    rng: np.random.Generator, tracks: int, episodes: int
) -> tuple[Ints, Ints, Ints, Ints]:
    """Make creators sorted by genre, language and scene, and give each its items.

    Returns:
        (N,) each item's creator, ascending; (C,) genre, language and scene of each creator.
    """
    artists = _creators_of(rng, MUSIC, tracks, max(tracks // TRACKS_PER_CREATOR, len(MUSIC)))
    shows = _creators_of(rng, PODCASTS, episodes, max(episodes // EPISODES_PER_SHOW, len(PODCASTS)))
    genre = np.concatenate([artists[0], shows[0] + len(MUSIC)])
    language, scene, items = np.concatenate([artists, shows], axis=1)[1:]
    return np.repeat(np.arange(len(genre)), items), genre, language, scene


def _creators_of(
    rng: np.random.Generator, genres: tuple[Genre, ...], items: int, creators: int
) -> Ints:
    """Make the creators of one kind, and say how many of its items each has.

    Returns:
        (4, creators): genre, language, scene, number of items; sorted by the first three.
    """
    sizes = np.array([each.size for each in genres])
    more = rng.choice(len(genres), creators - len(genres), p=sizes / sizes.sum())
    genre = np.concatenate([np.arange(len(genres)), more])  # every genre has somebody
    language = rng.choice(len(LANGUAGES), creators, p=LANGUAGE_SHARES)
    scene = rng.integers(SCENES, size=creators)
    output = rng.lognormal(sigma=CATALOGUE_SPREAD, size=creators)
    owned = 1 + rng.multinomial(items - creators, output / output.sum())
    order = np.lexsort((scene, language, genre))
    return np.stack([genre, language, scene, owned])[:, order]


def _relatives(rng: np.random.Generator, genre: Ints) -> Ints:
    """Draw another genre of the family of each of (C,) genres."""
    family = np.array([each.family for each in GENRES])
    related = (family[:, None] == family) & ~np.eye(len(GENRES), dtype=bool)  # (G, G)
    return choose(cumulative(related.astype(np.float64)), genre, rng.random(len(genre)))


def _ranks(fame: Floats, genre: Ints) -> tuple[Ints, Ints]:
    """Rank items within their genre, 0 the most popular.

    Args:
        fame: (N,) float64, in part the creator's and in part the item's own.
        genre: (N,) int64, ascending.

    Returns:
        (N,) ranks and (G,) the items of rank 0.
    """
    order = np.lexsort((-fame, genre))
    first = np.searchsorted(genre, np.arange(len(GENRES)))  # (G,)
    rank = np.empty(len(genre), dtype=np.int64)
    rank[order] = np.arange(len(genre)) - first[genre]
    return rank, order[first]


def _summed(rank: Ints, genre: Ints, exponent: float) -> Floats:
    """Sum Zipf weights, scaled so that a genre weighs as many as it has items; (N + 1,)."""
    weight = (1.0 + rank) ** -exponent
    totals = np.bincount(genre, weights=weight, minlength=len(GENRES))
    counts = np.bincount(genre, minlength=len(GENRES))
    weight *= (counts / totals)[genre]
    return np.concatenate([[0.0], np.cumsum(weight)])


def _releases(
    rng: np.random.Generator, simulation: Simulation, is_track: NDArray[np.bool_]
) -> Ints:
    """Draw release days, some of them within the period; (N,) microseconds since 1970."""
    years = np.where(is_track, TRACK_YEARS, EPISODE_YEARS) * rng.exponential(size=len(is_track))
    older = -np.minimum(years, OLDEST_YEARS) * YEAR
    newer = rng.random(len(is_track)) * simulation.days * DAY
    is_new = rng.random(len(is_track)) < simulation.new_item_share
    released = simulation.starts_us + np.where(is_new, newer, older).astype(np.int64)
    return released // DAY * DAY


def _durations(rng: np.random.Generator, is_track: NDArray[np.bool_]) -> Ints:
    """Draw lengths of about 3.5 minutes for tracks, half an hour for episodes; (N,) ms."""
    minutes = np.where(is_track, 3.5, 32.0) * rng.lognormal(
        sigma=np.where(is_track, 0.25, 0.45), size=len(is_track)
    )
    return np.asarray(minutes * 60_000, dtype=np.int64)


def _runs(keys: Ints, count: int) -> Slices:
    """Find where each of `count` keys begins and ends in ascending (N,) keys."""
    every = np.arange(count)
    return Slices(np.searchsorted(keys, every), np.searchsorted(keys, every, side="right"))


def _cells(genre: Ints, language: Ints) -> Slices:
    """Find the slice of each genre in each language; the whole genre where it has no such."""
    languages = len(LANGUAGES)
    cells = _runs(genre * languages + language, len(GENRES) * languages)
    whole = _runs(genre, len(GENRES))
    empty = cells.low == cells.high
    low = np.where(empty, np.repeat(whole.low, languages), cells.low)
    high = np.where(empty, np.repeat(whole.high, languages), cells.high)
    return Slices(low.reshape(-1, languages), high.reshape(-1, languages))
