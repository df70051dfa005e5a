import numpy as np
import pytest

from models.baselines.light_fm import LightFM, _features

lightfm = pytest.importorskip("lightfm")


@pytest.fixture
def plays(communities):
    return communities()


def test_the_dot_product_is_the_score_of_lightfm(plays, monkeypatch):
    kept = []
    monkeypatch.setattr(
        lightfm,
        "LightFM",
        lambda make=lightfm.LightFM, **given: kept.append(make(**given)) or kept[0],
    )
    users, items = LightFM(size=16, epochs=5).fit(plays, 0)
    user, item = np.repeat([3, 4], plays.items), np.tile(np.arange(plays.items), 2)
    expected = kept[0].predict(
        user.astype(np.int32),
        item.astype(np.int32),
        user_features=_features(plays.user_tags),
        item_features=_features(plays.item_tags),
    )
    np.testing.assert_allclose((users[user] * items[item]).sum(axis=1), expected, atol=1e-5)


def test_two_columns_hold_the_biases(plays):
    users, items = LightFM(size=16, epochs=5).fit(plays, 0)
    heard = ~plays.silent()
    assert (users[heard, -1] == 1).all()
    assert (items[:, -2] == 1).all()
    assert items[:, -1].std() > 0


def test_a_user_who_has_played_nothing_is_the_sum_of_his_tags(plays, communities):
    silent = plays.silent()
    users, items = LightFM(size=16).fit(plays, 0)
    scores = users[silent][0] @ items.T  # his tag is that of the odd
    assert scores[1::2].mean() > scores[::2].mean()
    untagged, _ = LightFM(size=16).fit(communities(tagged=False), 0)
    assert not untagged[silent].any()
