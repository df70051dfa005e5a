import numpy as np
import pytest

from models.baselines.als import ALS


@pytest.mark.parametrize(("scale", "amount"), [("count", lambda n: n), ("log", np.log1p)])
def test_confidence_grows_with_plays(communities, scale, amount):
    plays = communities()
    counts = plays.counts()
    confidence = ALS(scale=scale, alpha=3.0).confidence(plays)
    np.testing.assert_allclose(confidence.data, 1 + 3 * amount(counts.data), rtol=1e-6)
    assert np.array_equal(confidence.indices, counts.indices)
