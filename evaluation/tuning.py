"""A baseline's hyperparameters, searched for on plays that no test asks about.

The last days before ``as_of`` stand in for those after it: a baseline is fitted to what came before
them, and judged as in the test, by AUC through the head against items drawn by popularity. What it
is by default is tried first, then settings drawn at random from the method's own space (Bergstra
and Bengio, JMLR 2012). Every trial is kept, and a longer search goes on from a shorter one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluation.contenders import digest
from evaluation.scores import ask
from models.baselines import Representation
from models.events import DAY
from schemas.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from evaluation.cohort import Cohort
    from models.baselines import Baseline

MOST_USERS = 1_000  # who are asked in a trial


@dataclass(frozen=True)
class Trial:
    """One baseline as it was tried, and its mean AUC over users."""

    baseline: Baseline
    auc: float


def earlier(cohort: Cohort, days: float) -> Cohort:
    """The cohort as it was some days before its last play, which is then what comes next.

    Raises:
        InputError: nobody plays anything in these days after having played before.
    """
    past = cohort.past
    moment = past.at.max(initial=0) - round(days * DAY)
    known = past.at < moment
    rest = {name: getattr(past, name)[known] for name in ("user", "item", "at")}
    heard = np.bincount(rest["user"], minlength=past.users) > 0
    after = ~known & heard[past.user]
    cells = np.unique(past.user[after] * past.items + past.item[after])
    bounds = np.searchsorted(cells, np.arange(1, past.users) * past.items)
    future = np.split(cells % past.items, bounds)
    if not any(len(own) for own in future):
        raise InputError(
            f"hyperparameters cannot be searched for: in the last {days:g} days before as_of "
            "nobody plays who had played before"
        )
    return replace(cohort, past=replace(past, **rest), future=future)


def search(
    start: Baseline,
    cohort: Cohort,
    trials: int,
    seed: int,
    kept: Path,
    say: Callable[[str], None],
) -> Trial:
    """Try settings, and return the trial with the highest AUC.

    Args:
        start: tried first; what its method's space does not name stays.
        cohort: from ``earlier``.
        trials: how many there are to be, kept ones included.
        seed: of the draws and of every fit.
        kept: folder of trials and of those that an earlier search has left there.
        say: told of every trial.
    """
    done: list[Trial] = []
    users, question = cohort.question("popularity")
    some = np.sort(np.random.default_rng(seed).permutation(len(users))[:MOST_USERS])
    question = replace(
        question,
        positives=[question.positives[row] for row in some],
        excluded=[question.excluded[row] for row in some],
    )
    for number in range(trials):
        baseline = drawn(start, np.random.default_rng([seed, number])) if number else start
        file = kept / f"trial-{digest(baseline, cohort.past, seed)}.json"
        if file.exists():
            auc = float(json.loads(file.read_text())["auc"])
        else:
            fitted = baseline.fit(cohort.past, seed)
            asked = Representation(fitted.users[users[some]], fitted.items)
            auc = float(np.nanmean(ask(asked, question, seeds=1, rank=False)["auc"]))
            _keep(file, {"auc": auc, "settings": baseline.model_dump(mode="json")})
        done.append(Trial(baseline, auc))
        best = max(done, key=lambda trial: trial.auc)
        say(f"trial {number + 1} of {trials}, AUC {auc:.4f}, best {best.auc:.4f}")
    return best


def drawn(start: Baseline, rng: np.random.Generator) -> Baseline:
    """The same method with every hyperparameter of its space drawn anew."""
    space = type(start).space()
    values = {name: of[int(rng.integers(len(of)))] for name, of in space.items()}
    return type(start).model_validate(start.model_dump() | values)


def _keep(file: Path, content: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_suffix(".partial")
    aside.write_text(json.dumps(content))
    aside.replace(file)
