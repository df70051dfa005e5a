"""What will somebody play who has only just come? Table 2 of the published evaluation.

Newcomers (``evaluation.newcomers``) are asked about what they play in their first 4 hours, or with
their first 20 plays, whichever is more, when nothing is known but what they told: profile and picks
(``evaluation.picks``). Those who completed onboarding are one table, the others another;
Fazelnia et al., arXiv 2403.00584.

Then a curve: having seen the first 0, 1, 2, … 200 plays, what are the next 20? Only those are asked
who have played as many, so each point has users of its own.

Positives are distinct and had been played by somebody before ``as_of``; negatives are drawn in
proportion to plays before ``as_of``, without what the user is seen or asked to play. What it plays
afterwards may be a negative like anything else: whoever knows of that, as stand-ins for picks do,
must not find that its absence tells the answer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from evaluation.contenders import MODEL
from evaluation.measured import Measured, measured
from evaluation.pairs import Question, shuffled
from evaluation.picks import stand_ins
from evaluation.scores import ask
from models.cuts import Cuts
from models.events import HOUR

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from evaluation.catalogue import Catalogue
    from evaluation.newcomer_vectors import NewcomerVectors
    from evaluation.newcomers import Newcomers

NAME = "first_hours"
COMPLETED, NOT_COMPLETED = "completed", "not completed"
SEEN = (0, 1, 2, 5, 10, 50, 200)  # plays
NEXT = 20  # plays that are asked about then
FEWEST = 30  # users that are worth a figure
IN_TABLES = (MODEL, "popularity", "country", "picks")
ON_CURVE = (MODEL, "popularity", "picks", "average", "average_7d")
PUBLISHED = {  # gains of the representation over each, as shares: accuracy, AUC
    COMPLETED: {"popularity": (0.262, 0.270), "picks": (0.050, 0.051)},
    NOT_COMPLETED: {"popularity": (0.246, 0.247)},
}


@dataclass(frozen=True)
class Plan:
    """Who is asked what.

    Attributes:
        people: the newcomers, with their picks or what stands in for them.
        stand_in: whether it does.
        asked: by name of the table or point the users, what is seen of them and what is asked;
            only those who can be asked.
    """

    people: Newcomers
    stand_in: bool
    asked: Mapping[str, Cuts]

    @property
    def measured(self) -> dict[str, Cuts]:
        """Those with enough users for a figure."""
        return {name: cuts for name, cuts in self.asked.items() if len(cuts.user) >= FEWEST}


def planned(people: Newcomers, catalogue: Catalogue, hours: float, first: int) -> Plan:
    """Say what is asked; where the data holds nobody's picks, favourites of later plays stand in.

    Args:
        people: the newcomers, with what they picked.
        catalogue: the items.
        hours: from the first play on that are asked about.
        first: plays that are asked about, where they are more.
    """
    begin = beginnings(people, hours, first)
    points = {point(seen): next_plays(people, seen) for seen in SEEN}
    picked = len(people.picks.user) > 0
    if not picked:
        end = np.zeros(len(people.user_ids), np.int64)
        for cuts in (begin, *points.values()):
            np.maximum.at(end, cuts.user, cuts.stop)
        people = replace(people, picks=stand_ins(people, catalogue, end))
    completed = people.picks.completed
    every = {
        COMPLETED: begin.take(np.flatnonzero(completed)),
        NOT_COMPLETED: begin.take(np.flatnonzero(~completed)),
        **points,
    }
    asked = {name: _with_answers(people, catalogue, cuts) for name, cuts in every.items()}
    return Plan(people, not picked, asked)


def point(seen: int) -> str:
    """Name of a point of the curve."""
    return f"seen {seen}"


def beginnings(people: Newcomers, hours: float, first: int) -> Cuts:
    """Everybody's first hours, or first plays where they are more; nothing is seen."""
    start, stop = people.bounds[:-1], people.bounds[1:]
    within = people.at < (people.first + round(hours * HOUR))[people.user]
    plays = np.maximum(np.bincount(people.user[within], minlength=len(start)), first)
    return Cuts(np.arange(len(start)), start, start, np.minimum(start + plays, stop))


def next_plays(people: Newcomers, seen: int) -> Cuts:
    """The next plays of everybody who has played so many, and as many as are asked about."""
    start, stop = people.bounds[:-1], people.bounds[1:]
    enough = np.flatnonzero(stop - start >= seen + NEXT)
    at = start + seen
    return Cuts(np.arange(len(start)), start, at, at + NEXT).take(enough)


def question_of(people: Newcomers, catalogue: Catalogue, cuts: Cuts) -> Question:
    """What the users are asked at their cuts, and what cannot be a negative."""
    known = np.append(catalogue.plays > 0, False)  # the last for items without a vector
    asked = [np.unique(people.item[slice(*ends)]) for ends in zip(cuts.at, cuts.stop, strict=True)]
    seen = [np.unique(people.item[slice(*ends)]) for ends in zip(cuts.start, cuts.at, strict=True)]
    return Question(
        positives=[own[known[own]] for own in asked],
        excluded=[np.union1d(*own) for own in zip(seen, asked, strict=True)],
        weight=catalogue.plays,
    )


def first_hours(
    plan: Plan,
    vectors: NewcomerVectors,
    seeds: int,
    say: Callable[[str], None],
    *,
    shuffle: bool = False,
) -> list[Measured]:
    """Ask everybody about everything that enough of them can be asked.

    Args:
        plan: who is asked what.
        vectors: of the plan's people.
        seeds: times that all are asked (``evaluation.scores.ask``).
        say: told of each table and point before it is asked.
        shuffle: give everybody somebody else's answers, to see that nothing leaks.
    """
    rows = []
    for name, cuts in plan.measured.items():
        say(name)
        question = question_of(plan.people, vectors.catalogue, cuts)
        if shuffle:
            question = shuffled(question, np.random.default_rng(0))
        wanted = IN_TABLES if name in PUBLISHED else ON_CURVE
        by_user = {
            contender: ask(known, question, seeds, rank=False)
            for contender, known in vectors.at(cuts)
            if contender in wanted
        }
        rows += measured(f"{NAME}/{name}", by_user, MODEL)
    return rows


def _with_answers(people: Newcomers, catalogue: Catalogue, cuts: Cuts) -> Cuts:
    """The users who play anything that can be asked about."""
    positives = question_of(people, catalogue, cuts).positives
    return cuts.take(np.flatnonzero([len(own) > 0 for own in positives]))
