"""Will a user listen to this track in the days to come? Table 1 of the published evaluation.

Every user who plays within the horizon after ``as_of`` is asked about what it plays there and about
as many items that it does not; Fazelnia et al., arXiv 2403.00584. All representations have the same
size and are read through the same small head (``evaluation.head``), trained on the other users.
Negatives are drawn in three ways, each a table of its own:

* ``popularity``: in proportion to plays before ``as_of``; the published one.
* ``uniform``: all items that had been played alike. All of them are ranked, too.
* ``upcoming``: in proportion to what is played within the horizon, new items included. The head
  cannot gain from which items are in fashion then, only from who likes what.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from evaluation.contenders import MODEL
from evaluation.measured import Measured, measured
from evaluation.pairs import shuffled
from evaluation.scores import ask
from models.baselines import Representation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from evaluation.cohort import Cohort

NAME = "future_listening"
Drawn = Literal["popularity", "uniform", "upcoming"]
DRAWN: tuple[Drawn, ...] = ("popularity", "uniform", "upcoming")
PUBLISHED = {  # gains of the representation over each, as shares: accuracy, AUC
    "nmf": (0.152, 0.186),
    "pmf": (0.101, 0.127),
    "lightfm": (0.023, 0.039),
    "dlrm": (0.015, 0.028),
    "vae": (0.040, 0.057),
    "average": (0.018, 0.016),
}


def future_listening(
    cohort: Cohort,
    contenders: Mapping[str, Callable[[], Representation]],
    seeds: int,
    say: Callable[[str], None],
    *,
    shuffle: bool = False,
) -> tuple[list[Measured], dict[str, np.ndarray]]:
    """Ask everybody about everything.

    Args:
        cohort: the users.
        contenders: by name what makes a representation; each is asked for once, in turn.
        seeds: times that all are asked (``evaluation.scores.ask``).
        say: told before each contender is fitted.
        shuffle: give everybody somebody else's future, to see that nothing leaks.

    Returns:
        the figures; and for slices the AUC of each of the cohort's users, by contender, of the
        first table, NaN for who was not asked.
    """
    questions = {drawn: cohort.question(drawn) for drawn in DRAWN}
    if shuffle:
        users, question = questions["upcoming"]
        questions = {"upcoming": (users, shuffled(question, np.random.default_rng(0)))}
    found: dict[str, dict[str, dict[str, np.ndarray]]] = {drawn: {} for drawn in questions}
    for name, make in contenders.items():
        say(name)
        known = make()
        for drawn, (users, question) in questions.items():
            asked = Representation(known.users[users], known.items)
            found[drawn][name] = ask(asked, question, seeds, rank=drawn == "uniform")
    rows = [
        row
        for drawn, by_user in found.items()
        for row in measured(f"{NAME}/{drawn}", by_user, MODEL)
    ]
    first = next(iter(questions))
    return rows, {
        name: _everybody(cohort, questions[first][0], metrics["auc"])
        for name, metrics in found[first].items()
    }


def _everybody(cohort: Cohort, users: np.ndarray, values: np.ndarray) -> np.ndarray:
    spread = np.full(cohort.past.users, np.nan)
    spread[users] = values
    return spread
