import numpy as np
import pytest

from models.baselines.negatives import Unplayed


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_nothing_is_drawn_that_the_user_has_played(communities, power):
    plays = communities()
    user = np.repeat(np.arange(plays.users), 50)
    kept, item = Unplayed(plays, power).draw(user, np.random.default_rng(0))
    assert len(kept) == len(item) > 0.9 * len(user)
    assert plays.counts()[user[kept], item].sum() == 0


def test_items_are_drawn_by_the_power_of_their_plays(communities):
    plays = communities()
    silent = np.full(40_000, np.flatnonzero(plays.silent())[0])  # to whom everything is unplayed
    popularity = np.bincount(plays.item, minlength=plays.items)
    for power in (0.0, 1.0):
        _, item = Unplayed(plays, power).draw(silent, np.random.default_rng(0))
        drawn = np.bincount(item, minlength=plays.items) / len(item)
        share = popularity**power / (popularity**power).sum()
        np.testing.assert_allclose(drawn, share, atol=0.005)
