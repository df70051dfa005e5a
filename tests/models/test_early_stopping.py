import numpy as np
import pytest
import torch

from models.early_stopping import EarlyStopping, surely_better

USERS = 100


def curve(*means: float) -> list[np.ndarray]:
    """Scores of the same users; what differs between epochs differs for all alike."""
    noise = np.random.default_rng(0).normal(scale=0.1, size=USERS)
    return [mean + noise for mean in means]


def epochs_until_the_end(patience: int, scores: list[np.ndarray]) -> int | None:
    stopping, model = EarlyStopping(patience), torch.nn.Linear(1, 1)
    for epoch, aucs in enumerate(scores, start=1):
        stopping.see(epoch, aucs, model)
        if stopping.over(epoch):
            return epoch
    return None


def test_training_ends_when_no_epoch_has_been_better_for_long():
    falling = curve(0.6, 0.7, 0.69, 0.68, 0.67, 0.66)
    assert epochs_until_the_end(3, falling) == 5
    assert epochs_until_the_end(10, falling) is None
    assert epochs_until_the_end(0, falling) is None


def test_training_that_still_helps_goes_on():
    assert epochs_until_the_end(1, curve(*np.linspace(0.5, 0.9, 20))) is None


def test_better_by_chance_is_not_better():
    best = curve(0.7)[0]
    noise = np.random.default_rng(1).normal(scale=0.1, size=USERS)
    assert not surely_better(best + noise - noise.mean() + 0.001, best)
    assert surely_better(best + 0.001, best)
    assert not surely_better(best, best)


def test_small_steps_add_up():
    """Each is within the error of the one before; after some they are ahead of the best."""
    rng = np.random.default_rng(2)
    scores = [0.5 + 0.004 * epoch + rng.normal(scale=0.03, size=USERS) for epoch in range(10)]
    stopping = EarlyStopping(10)
    for epoch, aucs in enumerate(scores, start=1):
        stopping.see(epoch, aucs, torch.nn.Linear(1, 1))
    assert stopping.epoch > 1


def test_where_nobody_is_held_out_training_goes_to_its_end():
    assert epochs_until_the_end(1, [np.zeros(0)] * 5) is None


def test_the_weights_of_the_best_epoch_are_kept_as_they_were():
    model, stopping = torch.nn.Linear(2, 1), EarlyStopping(3)
    good, bad = curve(0.7, 0.6)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    stopping.see(1, good, model)
    with torch.no_grad():
        model.weight.add_(1.0)
    stopping.see(2, bad, model)
    assert stopping.epoch == 1
    for name, value in stopping.weights.items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("users", [0, 50])
def test_scores_of_other_users_are_no_measure(users):
    assert surely_better(np.zeros(users), np.ones(USERS))
