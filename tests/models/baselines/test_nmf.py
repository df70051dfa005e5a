import pytest

from models.baselines.nmf import NMF

pytest.importorskip("sklearn")


@pytest.mark.parametrize("loss", ["frobenius", "kullback-leibler"])
def test_no_number_is_negative(communities, auc_of, loss):
    found = NMF(size=8, loss=loss, iterations=20).fit(communities(), 0)
    assert min(found.users.min(), found.items.min()) >= 0
    assert auc_of(*found) > 0.8
