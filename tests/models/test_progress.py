import json

import pytest

from models.progress import SUMMED, Progress


@pytest.fixture
def progress() -> Progress:
    """After two steps of the first epoch."""
    made = Progress()
    made.step(loss=2.0, norm=1.0, users=10, waited=0.5, seconds=1.0)
    made.step(loss=4.0, norm=3.0, users=30, waited=0.0, seconds=1.0)
    return made


def test_an_epoch_is_told_by_what_its_steps_were(progress):
    together = {name: progress.sums[name] for name in SUMMED}
    assert progress.finish_epoch(together, workers=1, auc=0.7) == {
        "epoch": 1,
        "loss": 3.0,
        "gradient_norm": 2.0,
        "highest_gradient_norm": 3.0,
        "users_per_second": 20.0,
        "waiting": 0.25,
        "seconds": 2.0,
        "auc": 0.7,
    }
    assert (progress.epochs, progress.steps, progress.sums) == (1, 0, {})


def test_two_workers_see_twice_the_users_in_the_same_time(progress):
    together = {name: 2 * progress.sums[name] for name in SUMMED}
    entry = progress.finish_epoch(together, workers=2)
    assert (entry["loss"], entry["users_per_second"], entry["seconds"]) == (3.0, 40.0, 2.0)


def test_it_comes_back_from_json_to_the_last_bit(progress):
    progress.finish_epoch(dict.fromkeys(SUMMED, 0.1), workers=3)
    progress.step(loss=0.1, norm=0.2, users=3, waited=0.3, seconds=0.7)
    assert Progress(**json.loads(json.dumps(progress.as_json()))) == progress
