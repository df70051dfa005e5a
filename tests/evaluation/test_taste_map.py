import base64
import json
import re

import numpy as np
import pytest

from evaluation.cohort import read_cohort
from evaluation.contenders import user_model
from evaluation.taste_map import taste_map


def test_items_and_users_are_drawn_with_their_names(lake, two_spaces):
    pytest.importorskip("plotly")
    live = two_spaces(users=20)[1]
    cohort = read_cohort(lake, live, 7, most=100, seed=0)
    drawn = taste_map(cohort, user_model(lake, live, cohort), cohort.item_ids).html
    assert 'id="taste-map"' in drawn
    assert cohort.item_ids[7] in drawn
    assert "plays " in drawn
    assert not any(f'"{user}"' in drawn for user in cohort.user_ids)


def _places(html: str, title: str) -> np.ndarray:
    """Where the points of a trace lie, (N, 2)."""
    figure = re.search(r'Plotly\.newPlot\(\s*"taste-map",\s*(\[.*?\]),\s*\{', html, re.DOTALL)
    (trace,) = [one for one in json.loads(figure[1]) if one["name"] == title]
    sides = [np.frombuffer(base64.b64decode(trace[s]["bdata"]), trace[s]["dtype"]) for s in "xy"]
    return np.stack(sides, axis=1)


def test_a_user_stands_among_the_items_that_score_highest(lake, two_spaces):
    pytest.importorskip("plotly")
    live = two_spaces(users=20)[1]
    cohort = read_cohort(lake, live, 7, most=100, seed=0)
    known = user_model(lake, live, cohort)
    alike = known._replace(users=np.tile(known.users[:1], (len(known.users), 1)))
    drawn = taste_map(cohort, alike, cohort.item_ids).html
    users, items = _places(drawn, "users"), _places(drawn, "items")
    assert np.allclose(users, users[0])
    order = np.argsort(-cohort.plays, kind="stable")
    best = np.argsort(-(known.items[order] @ known.users[0]))[:10]
    assert np.allclose(users[0], np.median(items[best], axis=0))
