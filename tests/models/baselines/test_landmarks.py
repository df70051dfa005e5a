import numpy as np

from models.baselines.landmarks import from_landmarks


def test_scores_of_low_rank_are_found_up_to_a_constant_for_each_user():
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((50, 4)) @ rng.standard_normal((4, 300))
    scores += rng.standard_normal((50, 1))
    users, items = from_landmarks(
        lambda user, item: scores[user][:, item],
        np.arange(0, 50, 2),
        np.arange(0, 300, 5),
        6,
        shape=scores.shape,
    )
    found = users @ items.T
    assert (users.shape, items.shape) == ((50, 6), (300, 6))
    for one, other in zip(found, scores, strict=True):
        assert np.corrcoef(one, other)[0, 1] > 0.999
