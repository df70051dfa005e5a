"""The tables of users: what they tell at registration, what they pick, and their true taste."""

import numpy as np
import pyarrow as pa

from simulate.config import MINUTE, Simulation
from simulate.items import creator_id
from simulate.listeners import FAVOURITES, Listeners, listeners, user_ids
from simulate.places import COUNTRIES
from simulate.sampling import Floats, Ints, Stream, choose, cumulative, generator

USERS = pa.schema(
    {
        "user_id": pa.string(),
        "registered_at": pa.timestamp("us", tz="UTC"),
        "country": pa.string(),
        "language": pa.string(),
        "birth_year": pa.int32(),
        "subscription": pa.string(),
    }
)
ONBOARDING = pa.schema(
    {
        "user_id": pa.string(),
        "picked_id": pa.string(),
        "picked_kind": pa.string(),
        "picked_at": pa.timestamp("us", tz="UTC"),
        "completed": pa.bool_(),
    }
)
TRUTH = pa.schema(
    {
        "user_id": pa.string(),
        "start": pa.list_(pa.float32()),
        "end": pa.list_(pa.float32()),
    }
)

NO_BIRTH_YEAR = 0.12  # share of the users who do not tell it
PLANS = ("free", "premium", "family", "student")
PLAN_SHARES = {True: (0.35, 0.20, 0.05, 0.40), False: (0.40, 0.38, 0.22, 0.0)}  # young, older
STUDENT_AGE = 26
MAX_PICKS = 5
MIN_PICKS = 3  # different creators, to finish
GLANCES = 30  # creators looked at; a narrow taste comes upon the same ones again
COMPLETED_SHARE = 0.8
PICK_DRAWS = 3  # random numbers of each pick
PICK_EVERY = MINUTE // 4


def user_batch(simulation: Simulation, users: Ints) -> pa.RecordBatch:
    """Write rows of the users table.

    Args:
        simulation: what to simulate.
        users: (U,) int64, indices below `simulation.user_count`, in any order.

    Returns:
        U rows of `USERS`.
    """
    crowd = listeners(simulation, users)
    born = simulation.ends_at.year - crowd.age
    silent = crowd.told[:, 0] < NO_BIRTH_YEAR
    columns = [
        user_ids(users),
        pa.array(crowd.registered_us, USERS.field("registered_at").type),
        pa.array([COUNTRIES[each].code for each in crowd.country], pa.string()),
        pa.array([COUNTRIES[each].language for each in crowd.country], pa.string()),
        pa.array(born.astype(np.int32), mask=silent),
        pa.array([PLANS[each] for each in _plans(crowd)], pa.string()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=USERS)


def onboarding_batch(simulation: Simulation, users: Ints) -> pa.RecordBatch:
    """Write the creators that users picked at registration; some users picked none.

    Args:
        simulation: what to simulate.
        users: (U,) int64, indices below `simulation.user_count`, in any order.

    Returns:
        Up to U * MAX_PICKS rows of `ONBOARDING`.
    """
    crowd = listeners(simulation, users)
    uniform = _pick_numbers(simulation, users)  # (U, GLANCES, PICK_DRAWS)
    completed = uniform[:, 0, 0] < COMPLETED_SHARE
    some = (uniform[:, 1, 0] * (MAX_PICKS - MIN_PICKS + 1)).astype(np.int64)  # 0 to 2
    picks = np.where(completed, MIN_PICKS + some, some)  # (U,)
    row = np.repeat(np.arange(len(users)), GLANCES)
    creator = _picked(crowd, row, uniform.reshape(-1, PICK_DRAWS))
    row, creator = _different(row, creator)
    order = np.arange(len(row)) - np.searchsorted(row, row)  # of a user's picks
    wanted = order < picks[row]
    row, creator, order = row[wanted], creator[wanted], order[wanted]
    picked = crowd.registered_us[row] + (order + 1) * PICK_EVERY
    columns = [
        user_ids(users).take(pa.array(row)),
        pa.array([creator_id(each) for each in creator.tolist()], pa.string()),
        pa.array(["creator"] * len(row), pa.string()),
        pa.array(picked, ONBOARDING.field("picked_at").type),
        pa.array(completed[row]),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=ONBOARDING)


def truth_batch(simulation: Simulation, users: Ints) -> pa.RecordBatch:
    """Write the mixtures that a model is to find out; only tests read them.

    Args:
        simulation: what to simulate.
        users: (U,) int64, indices below `simulation.user_count`, in any order.

    Returns:
        U rows of `TRUTH`: shares of sessions by genre, as GENRES, at both ends of the period.
    """
    crowd = listeners(simulation, users)
    start, end = (
        pa.array(list(mixture.astype(np.float32)), TRUTH.field("start").type)
        for mixture in (crowd.start, crowd.end)
    )
    return pa.RecordBatch.from_arrays([user_ids(users), start, end], schema=TRUTH)


def _plans(crowd: Listeners) -> Ints:
    """Draw (U,) plans, indices into PLANS: the young are students."""
    shares = cumulative(np.array([PLAN_SHARES[True], PLAN_SHARES[False]]))
    return choose(shares, (crowd.age >= STUDENT_AGE).astype(np.int64), crowd.told[:, 1])


def _pick_numbers(simulation: Simulation, users: Ints) -> Floats:
    uniform = np.empty((len(users), GLANCES, PICK_DRAWS))
    for row, user in enumerate(users.tolist()):
        generator(simulation.seed, Stream.ONBOARDING, user).random(out=uniform[row])
    return uniform


def _picked(crowd: Listeners, row: Ints, uniform: Floats) -> Ints:
    """Choose (B,) creators, favourites in genres that the (B,) listeners like at first."""
    genre = choose(cumulative(crowd.start), row, uniform[:, 1])
    slot = (uniform[:, 2] * FAVOURITES).astype(np.int64)
    return crowd.favourites[row, genre, slot]


def _different(row: Ints, creator: Ints) -> tuple[Ints, Ints]:
    """Drop (B,) creators that the same listener came upon before, and keep the order."""
    _, first = np.unique(np.stack([row, creator]), axis=1, return_index=True)
    kept = np.sort(first)
    return row[kept], creator[kept]
