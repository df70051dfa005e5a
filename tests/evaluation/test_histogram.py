import json
import re

import numpy as np
import pytest

from evaluation.histogram import BINS, histogram


def test_samples_of_any_size_are_shares_over_the_same_bins():
    pytest.importorskip("plotly")
    drawn = histogram({"before": np.linspace(0, 1, 100), "after": np.full(7, 1.0)}, "cosine")
    told = re.search(r'newPlot\(\s*"histogram",\s*(\[.*?\}\]),\s*\{', drawn, re.DOTALL)
    traces = json.loads(told[1])
    assert [trace["name"] for trace in traces] == ["before", "after"]
    assert all(len(trace["y"]) == BINS for trace in traces)
    assert [sum(trace["y"]) for trace in traces] == pytest.approx([1, 1])
    assert traces[0]["x"] == traces[1]["x"]
    assert traces[1]["y"][-1] == 1
