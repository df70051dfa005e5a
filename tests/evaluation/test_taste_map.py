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
