r"""Are items that nobody has played found where they belong? hit@50, beside popularity and means.

::

    python bench/content.py --data DIR --lines test --tasks spotify_songs --seeds 0 --seeds 1

A fifth of the items (split ``items``), or all items of a fifth of the creators (``creators``), is
hidden from co-occurrence. The rest get vectors from it, the encoder learns from these, and the
hidden ones get vectors from their content. A query is the mean of a context's visible items; every
item that is not among them is ranked by cosine, or the hidden ones alone (``among: hidden``).
hit@50 is the share of (context, hidden item) pairs among the first 50.

Lines: ``test`` compares with peers; ``choose`` varies the settings, where a fifth of what ``test``
leaves visible is hidden instead and what ``test`` hides is left out; ``blend`` finds how many plays
content is worth; ``topics`` is about podcasts. Prints JSON lines; skips, saying so, data that is
not there.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
from content_data import TASKS, Task, genres_by_creator, genres_by_label
from scipy import sparse

from models import item_vectors as iv
from models.content import content_sums, fit
from models.content_features import ContentConfig, learn_layout, others_of_creator
from models.features import unit
from models.layout import VECTOR_SIZE
from models.text import SentenceEncoder, installed
from schemas.arrow import list_column
from schemas.errors import entry_point
from schemas.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from models.content import ContentEncoder

Lines = Literal["test", "choose", "blend", "topics"]
Split = Literal["items", "creators"]
DEPTH, AT_ONCE, FEWEST_PLAYS = 50, 64, 5
PRIORS = (0.0, 1.0, 5.0, 20.0)
SETTINGS: dict[str, Sequence[Any]] = {
    "spread": (0.0, 0.5, 0.75),
    "penalty": (1.0, 3.0, 30.0, 100.0),
    "waves": (0, 64, 1024),
    "wave_width": (0.15, 0.6),
    "wave_scale": (2.0, 32.0),
    "most_genres": (100, 4000),
    "creator_prior": (0.03, 0.3, 1.0),
    "others_prior": (1.0, 5.0, 100.0),
    "support_prior": (0.3, 5.0, 20.0),
}


class Content(Settings):
    """Measure what content says of items that are hidden from co-occurrence."""

    data: str
    """Folder with the data sets."""
    tasks: tuple[str, ...] = tuple(TASKS)
    """Data sets."""
    lines: Lines = "test"
    """What to measure."""
    split: Split = "items"
    """What is hidden."""
    genres: Literal["creator", "label"] = "creator"
    """Where genres are told of playlists: from the creator's other tracks, or as labelled."""
    seeds: tuple[int, ...] = (0,)
    """Each hides other items."""
    share: float = 0.2
    """Share that is hidden."""
    text: bool = True
    """Read titles, too."""
    keep: str | None = None
    """Folder in which the vectors of texts are kept for the next run."""


@dataclass(frozen=True)
class World:
    """What is visible: vectors of co-occurrence, and content. All arrays by item.

    Attributes:
        task: items and contexts.
        hidden: (items,) bool.
        vectors: (items, d) float32, zeros where hidden.
        plays: (items,) visible plays.
    """

    task: Task
    hidden: np.ndarray
    vectors: np.ndarray
    plays: np.ndarray


@entry_point
def main(argv: Sequence[str] | None = None) -> None:
    """Print one JSON line per measurement."""
    args = Content.parse(argv)
    for name in args.tasks if args.lines != "topics" else ["podcasts"]:
        if not (Path(args.data) / name).is_dir():
            print(f"skipped {name}: it is not in {args.data}", file=sys.stderr)
            continue
        found = topics(args) if args.lines == "topics" else measured(name, args)
        for line in found:
            print(json.dumps({"data": name, "lines": args.lines, **line}), flush=True)


def measured(name: str, args: Content) -> Iterator[dict[str, Any]]:
    """The lines of one data set."""
    task = TASKS[name](Path(args.data))
    if args.text and installed() and "words" in task.items.column_names:
        words = spoken(name, task.items["words"].to_pylist(), args.keep)
        task = replace(task, items=task.items.append_column("text", list_column(words)))
    for seed in args.seeds:
        about = {"split": args.split, "genres": args.genres, "seed": seed}
        hidden = hide(task, args.split, args.share, seed)
        if args.lines == "blend":
            found = blended(task, seed)
        elif args.lines == "choose":
            rest = only(task, ~hidden)
            world = see(rest, hide(rest, args.split, args.share, seed + 1000), args.genres)
            found = chosen(world)
        else:
            found = compared(see(task, hidden, args.genres), seed)
        for line in found:
            yield {**about, **line}


def spoken(name: str, texts: Sequence[str], keep: str | None) -> np.ndarray:
    """The vectors of the items' texts, (items, size) float32."""
    kept = Path(keep) / f"{name}.npy" if keep else None
    if kept and kept.exists():
        words: np.ndarray = np.load(kept)
        return words
    words = SentenceEncoder().encode(texts)
    if kept:
        np.save(kept, words)
    return words


def hide(task: Task, split: Split, share: float, seed: int) -> np.ndarray:
    """Which items nobody is to have met, (items,) bool."""
    rng = np.random.default_rng(seed)
    if split == "items":
        return rng.random(task.met.shape[1]) < share
    return (rng.random(task.creator.max() + 1) < share)[task.creator]


def only(task: Task, kept: np.ndarray) -> Task:
    """The same world without the other items."""
    return replace(
        task,
        items=task.items.filter(pa.array(kept)),
        creator=task.creator[kept],
        met=task.met[:, np.flatnonzero(kept)],
        popularity=task.popularity[kept],
    )


def see(task: Task, hidden: np.ndarray, genres: str) -> World:
    """Co-occurrence of what is visible, and genres that do not give the hidden away."""
    if task.labels is not None:
        told = genres_by_label(task) if genres == "label" else genres_by_creator(task, ~hidden)
        task = replace(task, items=task.items.append_column("genres", told))
    met = (task.met @ sparse.diags((~hidden).astype(float))).tocsr()
    plays = np.asarray(met.sum(axis=0)).ravel()
    return World(task, hidden, co_occurrence(met, task.creator, plays), plays)


def co_occurrence(met: sparse.csr_matrix, creator: np.ndarray, plays: np.ndarray) -> np.ndarray:
    """Vectors of the items from whom they are met with: creators, and items met often enough."""
    counts = (met.T @ met).tocsr()
    counts.setdiag(0)
    counts.eliminate_zeros()
    blocks = []
    for label, kept in ((creator, creator >= 0), (np.arange(len(plays)), plays >= FEWEST_PLAYS)):
        chosen = np.flatnonzero(kept)
        if len(chosen):
            names, column = np.unique(label[chosen], return_inverse=True)
            shape = (len(plays), len(names))
            blocks.append(sparse.csr_matrix((np.ones(len(chosen)), (chosen, column)), shape=shape))
    near = (counts @ sparse.hstack(blocks).tocsr()).tocsr()
    total = np.asarray(near.sum(axis=0)).ravel()
    block = np.repeat(np.arange(len(blocks)), [part.shape[1] for part in blocks])
    used = np.flatnonzero(total > 0)
    rows = iv.positive_pmi(near[:, used], total[used], block[used], 1.0, 0.75)
    start = iv.start_block(len(used), VECTOR_SIZE, seed=0)
    for _ in range(4):
        start = np.linalg.qr(iv.power_step(rows, start))[0].astype(np.float32)
    return unit(rows @ iv.projection(start, iv.gram(rows, start), VECTOR_SIZE))


def learned(
    world: World, config: ContentConfig, without: Sequence[str] = ()
) -> tuple[ContentEncoder, pa.Table]:
    """The encoder of the visible items, and all items as it reads them."""
    believed = iv.trust(world.plays, config.others_prior)
    others, rest = others_of_creator(world.task.creator, world.vectors, believed)
    items = world.task.items.append_column("others", list_column(others))
    items = items.append_column("others_weight", pa.array(rest))
    items = items.drop_columns([name for name in without if name in items.column_names])
    visible = items.filter(pa.array(~world.hidden))
    size = len(items["text"][0].as_py()) if "text" in items.column_names else 0
    layout = learn_layout(visible, config, VECTOR_SIZE, size)
    vectors = world.vectors[~world.hidden]
    weight = iv.trust(world.plays[~world.hidden], config.support_prior)
    return fit(layout, content_sums(layout, visible, vectors, weight)), items


def encode(world: World, config: ContentConfig, without: Sequence[str] = ()) -> np.ndarray:
    """The encoder learns from the visible and speaks of all, (items, d) float32."""
    encoder, items = learned(world, config, without)
    return encoder.vectors(items)[0]


def compared(world: World, seed: int) -> Iterator[dict[str, Any]]:
    """The encoder and its peers, on the hidden items."""
    rng = np.random.default_rng(seed)
    plays = np.where(world.hidden, 0.0, world.plays)
    for name, score in (
        ("popularity, as known", plays + 1e-3 * rng.random(len(plays))),
        (
            "popularity, with the hidden plays",
            world.task.popularity + 1e-3 * rng.random(len(plays)),
        ),
    ):
        yield {"by": name, **hits(world, np.zeros_like(world.vectors), score)}
    creators, _ = others_of_creator(world.task.creator, world.vectors, np.ones(len(plays)))
    yield {"by": "creator mean", **hits(world, unit(creators))}
    yield {"by": "genre centroids", **hits(world, genre_means(world))}
    config = ContentConfig()
    blocks = {"audio": "audio_features", "genres": "genres", "creator": "others", "text": "text"}
    yield {"by": "content encoder", **hits(world, encode(world, config))}
    for name, column in blocks.items():
        told = [
            *world.task.items.column_names,
            *(["others"] if world.task.creator.max() >= 0 else []),
        ]
        if column in told:
            rest = [other for other in blocks.values() if other != column]
            yield {"by": f"{name} alone", **hits(world, encode(world, config, rest))}
            yield {"by": f"without {name}", **hits(world, encode(world, config, [column]))}


def genre_means(world: World) -> np.ndarray:
    """Mean of the genres' means of visible items, (items, d) float32."""
    if "genres" not in world.task.items.column_names:
        return np.zeros_like(world.vectors)
    told = [row or [] for row in world.task.items["genres"].to_pylist()]
    flat = [genre for row in told for genre in row]
    names, column = np.unique(np.array(flat, str), return_inverse=True)
    row = np.repeat(np.arange(len(told)), [len(genres) for genres in told])
    shape = (len(told), len(names))
    has = sparse.csr_matrix((np.ones(len(flat)), (row, column)), shape=shape)
    return unit(has @ unit(has.T @ world.vectors))


def chosen(world: World) -> Iterator[dict[str, Any]]:
    """Other settings, one at a time."""
    defaults = ContentConfig()
    yield {"settings": {}, **hits(world, encode(world, defaults))}
    for name, values in SETTINGS.items():
        for value in values:
            config = defaults.model_copy(update={name: value})
            yield {"settings": {name: value}, **hits(world, encode(world, config))}


def hits(world: World, content: np.ndarray, score: np.ndarray | None = None) -> dict[str, Any]:
    """hit@50 with these vectors of the hidden items; equal cosines go by popularity.

    Args:
        world: what is visible.
        content: (items, d); only those of hidden items are used.
        score: (items,) ranks all items the same for everybody, instead of by cosine.
    """
    space = np.where(world.hidden[:, None], content, world.vectors)
    tie = 1e-6 * world.task.popularity / max(world.task.popularity.max(), 1.0)
    found, total = {"all": 0, "hidden": 0}, 0
    seen = (world.task.met @ sparse.diags((~world.hidden).astype(float))).tocsr()
    seen.eliminate_zeros()
    wanted = (world.task.met @ sparse.diags(world.hidden.astype(float))).tocsr()
    wanted.eliminate_zeros()
    asked = np.flatnonzero((np.diff(seen.indptr) > 0) & (np.diff(wanted.indptr) > 0))
    for start in range(0, len(asked), AT_ONCE):
        rows = asked[start : start + AT_ONCE]
        query = unit(np.asarray(seen[rows] @ world.vectors))
        scores = query @ space.T + tie if score is None else np.tile(score, (len(rows), 1))
        scores[seen[rows].toarray() > 0] = -np.inf
        targets = wanted[rows].toarray() > 0
        total += int(targets.sum())
        found["all"] += _found(scores, targets)
        found["hidden"] += _found(np.where(world.hidden, scores, -np.inf), targets)
    return {f"hit@{DEPTH} among {name}": round(count / total, 4) for name, count in found.items()}


def _found(scores: np.ndarray, targets: np.ndarray) -> int:
    depth = min(DEPTH, scores.shape[1] - 1)
    first = np.argpartition(-scores, depth, axis=1)[:, :depth]
    return int(np.take_along_axis(targets, first, axis=1).sum())


def blended(task: Task, seed: int) -> Iterator[dict[str, Any]]:
    """How many plays content is worth: half of the contexts teach, the others are asked.

    Half of the items of each context that is asked are its query; of the others, those with a few
    plays are to be found.
    """
    rng = np.random.default_rng(seed)
    asked = rng.random(task.met.shape[0]) < 1 / 2
    teaching = replace(task, met=(sparse.diags((~asked).astype(float)) @ task.met).tocsr())
    teaching.met.eliminate_zeros()
    nobody = np.zeros(task.met.shape[1], bool)
    world = see(teaching, nobody, "creator")
    content = encode(world, ContentConfig())
    cells = (sparse.diags(asked.astype(float)) @ task.met).tocoo()
    kept = cells.data > 0
    row, column = cells.row[kept], cells.col[kept]
    shown = rng.random(len(row)) < 1 / 2
    for low, high in ((1, 2), (3, 5), (6, 20)):
        few = (world.plays >= low) & (world.plays <= high)
        for prior in PRIORS:
            said = content if prior else np.zeros_like(content)
            space = iv.blend(world.vectors, said, iv.trust(world.plays, prior))
            cut = [
                sparse.csr_matrix((np.ones(part.sum()), (row[part], column[part])), task.met.shape)
                for part in (shown, ~shown & few[column])
            ]
            yield {"plays": [low, high], "prior": prior, **_near(space, *cut)}


def topics(args: Content) -> Iterator[dict[str, Any]]:
    """Do podcasts lie with those of their topic, of whom only a text is known?

    Nobody's plays of them are in the data. The encoder learns from playlists of songs, and then
    reads the shows' texts; beside it the texts' own vectors, and chance.
    """
    shows = pd.read_parquet(Path(args.data) / "podcasts/shows.parquet").query("genre != 'NA'")
    told = shows["title"] + ". " + shows["producer"] + ". " + shows["description"]
    words = spoken("podcasts", told.tolist(), args.keep)
    songs = TASKS["spotify_songs"](Path(args.data))
    heard = spoken("spotify_songs", songs.items["words"].to_pylist(), args.keep)
    songs = replace(songs, items=songs.items.append_column("text", list_column(heard)))
    world = see(songs, np.zeros(songs.met.shape[1], bool), "creator")
    only_text = {"kind": ["episode"] * len(words), "text": list_column(words)}
    encoder, _ = learned(world, ContentConfig())
    found = {"text's own vector": words, "content vector": encoder.vectors(pa.table(only_text))[0]}
    genre = shows["genre"].to_numpy()
    for name, vectors in found.items():
        yield {"by": name, "genre agreement@10": round(agreement(vectors, genre, 10), 4)}
    share = np.unique(genre, return_counts=True)[1] / len(genre)
    yield {"by": "chance", "genre agreement@10": round(float(share @ share), 4)}


def agreement(vectors: np.ndarray, label: np.ndarray, count: int) -> float:
    """Share of the nearest others that have an item's own label."""
    cosine = vectors @ vectors.T
    np.fill_diagonal(cosine, -np.inf)
    near = np.argpartition(-cosine, count, axis=1)[:, :count]
    return float((label[near] == label[:, None]).mean())


def _near(space: np.ndarray, seen: sparse.csr_matrix, wanted: sparse.csr_matrix) -> dict[str, Any]:
    found, total = 0, 0
    for start in range(0, seen.shape[0], AT_ONCE):
        query = unit(np.asarray(seen[start : start + AT_ONCE] @ space))
        scores = query @ space.T
        scores[seen[start : start + AT_ONCE].toarray() > 0] = -np.inf
        targets = wanted[start : start + AT_ONCE].toarray() > 0
        total += int(targets.sum())
        found += _found(scores, targets)
    return {f"hit@{DEPTH}": round(found / max(total, 1), 4), "pairs": total}


if __name__ == "__main__":
    main()
