import json

import numpy as np
import pytest

from evaluation.measured import as_json, gained, measured

OURS = np.array([0.9, 0.8, 0.7, np.nan])
THEIRS = np.array([0.6, 0.6, 0.6, np.nan])


def test_means_leave_out_who_was_not_asked_and_gains_are_shares():
    rows = measured("p", {"us": {"auc": OURS}, "them": {"auc": THEIRS}}, "us")
    of = {(row.representation, row.metric): row for row in rows}
    assert of["us", "auc"].value == pytest.approx(0.8)
    assert of["them", "auc gain"].value == pytest.approx(0.8 / 0.6 - 1)
    assert ("us", "auc gain") not in of
    assert all(row.low <= row.value <= row.high for row in rows)


def test_the_interval_is_of_pairs_not_of_two_means():
    """Users differ by far more than ours and theirs do, so only pairs can tell."""
    level = np.random.default_rng(0).uniform(0, 1, 400)
    value, low, high = gained(level + 0.01, level)
    assert low > 0
    assert high - low < value / 2


def test_figures_are_flat_json():
    (first, *_) = json.loads(as_json(measured("p", {"us": {"auc": OURS}}, "us")))
    assert list(first) == ["protocol", "representation", "metric", "value", "low", "high"]
