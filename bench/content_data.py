"""Data sets in which some items can be hidden: what describes them, and what they were met in.

Each is read from its folder and never copied. Playlists and users are *contexts*.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy import sparse

from schemas.arrow import list_column

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

AUDIO = (
    *("danceability", "energy", "loudness", "speechiness", "acousticness"),
    *("instrumentalness", "liveness", "valence", "tempo"),
)


@dataclass(frozen=True)
class Task:
    """Items with their content, and the contexts they were met in.

    Attributes:
        items: kind, genres, audio_features, as ``ContentLayout.rows`` reads them; words, their
            texts.
        creator: (items,) int, -1 where unknown.
        met: (contexts, items) float32 of 0 and 1.
        popularity: (items,) float64, as somebody tells it who knows the hidden plays, too.
        labels: (contexts,) text, genre of a context, where genres of items come from there.
    """

    items: pa.Table
    creator: np.ndarray
    met: sparse.csr_matrix
    popularity: np.ndarray
    labels: np.ndarray | None = None


def spotify_songs(folder: Path) -> Task:
    """Playlists of tracks with audio features; genres are told of playlists, not of tracks."""
    rows = pd.read_parquet(folder / "spotify_songs/playlist_tracks.parquet")
    tracks = rows.drop_duplicates("track_id").sort_values("track_id").reset_index(drop=True)
    labels = rows.groupby("playlist_id")["playlist_subgenre"].first()
    items = {
        "audio_features": list_column(tracks[list(AUDIO)].to_numpy()),
        "words": pa.array(tracks["track_name"].fillna("") + ". " + tracks["track_artist"]),
    }
    return Task(
        items=pa.table({"kind": pa.array(["track"] * len(tracks)), **items}),
        creator=pd.factorize(tracks["track_artist"], sort=True)[0],
        met=_met(rows["playlist_id"], rows["track_id"], tracks["track_id"]),
        popularity=tracks["track_popularity"].to_numpy(float),
        labels=labels.sort_index().to_numpy(),
    )


def hetrec_lastfm(folder: Path) -> Task:
    """Users and the artists they play; the artist is the item, tags are its genres."""
    plays = pd.read_parquet(folder / "hetrec_lastfm/user_artists.parquet")
    artists = pd.read_parquet(folder / "hetrec_lastfm/artists.parquet").sort_values("artist_id")
    given = pd.read_parquet(folder / "hetrec_lastfm/tag_assignments.parquet")
    tags = given.groupby(["artist_id", "tag_id"]).size().rename("times").reset_index()
    tags = tags.sort_values(["artist_id", "times", "tag_id"], ascending=[True, False, True])
    told = tags.groupby("artist_id")["tag_id"].agg(list).reindex(artists["artist_id"])
    items = {"genres": _words(told), "words": pa.array(artists["name"].fillna(""))}
    met = _met(plays["user_id"], plays["artist_id"], artists["artist_id"])
    return Task(
        items=pa.table({"kind": pa.array(["track"] * len(artists)), **items}),
        creator=np.full(len(artists), -1),
        met=met,
        popularity=np.asarray(met.sum(axis=0)).ravel(),
    )


def thirtymusic_events(folder: Path) -> Task:
    """Users and the tracks they play, with tags and artists; no text."""
    plays = pd.read_parquet(folder / "thirtymusic_events/listens.parquet")
    tracks = pd.read_parquet(folder / "thirtymusic_events/track_tags.parquet")
    tracks = tracks.sort_values("track_id")
    owner = plays.drop_duplicates("track_id").set_index("track_id")["artist_id"]
    met = _met(plays["user_id"], plays["track_id"], tracks["track_id"])
    items = {"kind": pa.array(["track"] * len(tracks)), "genres": _words(tracks["tag_ids"])}
    return Task(
        items=pa.table(items),
        creator=pd.factorize(owner.reindex(tracks["track_id"]), sort=True)[0],
        met=met,
        popularity=np.asarray(met.sum(axis=0)).ravel(),
    )


TASKS: dict[str, Callable[[Path], Task]] = {
    "spotify_songs": spotify_songs,
    "hetrec_lastfm": hetrec_lastfm,
    "thirtymusic_events": thirtymusic_events,
}


def genres_by_creator(task: Task, visible: np.ndarray, fewest: int = 1) -> pa.Array:
    """For each item the genres of the playlists in which its creator's other tracks are.

    Those of its own playlists would give away what it is hidden from.
    """
    seen = (task.met @ sparse.diags(visible.astype(float))).tocsr()
    names, column = np.unique(np.asarray(task.labels, str), return_inverse=True)
    where = (np.arange(len(column)), column)
    label = sparse.csr_matrix((np.ones(len(column)), where), shape=(len(column), len(names)))
    own = (seen.T @ label).toarray()  # (items, labels)
    total = np.zeros((task.creator.max() + 1, len(names)))
    np.add.at(total, task.creator, own)
    rest = total[task.creator] - own
    return _named(rest >= fewest, names)


def genres_by_label(task: Task) -> pa.Array:
    """For each item the genres of the playlists in which it is, its hidden ones included."""
    names, column = np.unique(np.asarray(task.labels, str), return_inverse=True)
    where = (np.arange(len(column)), column)
    label = sparse.csr_matrix((np.ones(len(column)), where), shape=(len(column), len(names)))
    return _named((task.met.T @ label).toarray() > 0, names)


def _named(told: np.ndarray, names: np.ndarray) -> pa.Array:
    rows = [names[row].tolist() or None for row in told]
    return pa.array(rows, pa.list_(pa.string()))


def _words(told: pd.Series) -> pa.Array:
    rows = [None if isinstance(row, float) else [str(tag) for tag in row] or None for row in told]
    return pa.array(rows, pa.list_(pa.string()))


def _met(contexts: pd.Series, items: pd.Series, order: Sequence[object]) -> sparse.csr_matrix:
    row, names = pd.factorize(contexts, sort=True)
    column = pd.Index(order).get_indexer(items)
    kept = column >= 0
    shape = (len(names), len(order))
    met = sparse.csr_matrix((np.ones(kept.sum()), (row[kept], column[kept])), shape=shape)
    met.data[:] = 1.0
    return met
