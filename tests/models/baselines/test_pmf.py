import numpy as np
import pytest

from models.baselines.pmf import PMF


def test_every_play_is_rated_above_zero_and_every_zero_was_not_played(communities):
    plays = communities()
    user, item, rating = PMF(zeros=2, contrast=1.0).ratings(plays, np.random.default_rng(0))
    counts = plays.counts()
    played = counts[user, item] > 0
    assert (rating[played] > 0).all()
    assert (rating[~played] == 0).all()
    assert played.sum() == counts.nnz
    assert (~played).sum() == pytest.approx(2 * counts.nnz, rel=0.05)


@pytest.mark.parametrize("contrast", [0.0, 1.0])
def test_more_plays_raise_a_rating_where_contrast_says_so(communities, contrast):
    plays = communities()
    user, item, rating = PMF(contrast=contrast).ratings(plays, np.random.default_rng(0))
    count = plays.counts()[user, item]
    once, often = rating[count == 1], rating[count == count.max()]
    assert (often == 1).all()
    assert (once < 1).all() == (contrast > 0)


@pytest.mark.parametrize("variant", ["linear", "non_linear"])
def test_both_variants_learn(communities, auc_of, variant):
    pytest.importorskip("cornac")
    assert auc_of(*PMF(size=8, variant=variant, epochs=40).fit(communities(), 0)) > 0.8
