import pytest

from evaluation import item_neighbours
from evaluation.item_neighbours import nearest_items
from schemas.errors import InputError


@pytest.fixture
def batch(lake, named_items):
    """A batch of four items with vectors and one without."""
    return named_items(lake)


def ids(found) -> list[str]:
    return [row.item_id for row in found]


def test_an_item_comes_first_and_then_the_nearest(lake, batch):
    (found,) = nearest_items(lake, batch, ["a"], 2).values()
    assert ids(found) == ["a", "b", "c"]
    assert found[0].cosine == pytest.approx(1)
    assert (found[1].title, found[1].creator, found[1].support) == ("Blue Again", "Mira", 3)


def test_neighbours_of_one_kind_are_looked_for_deeper(lake, batch):
    (found,) = nearest_items(lake, batch, ["d"], 1, kind="episode").values()
    assert ids(found) == ["d", "c"]
    (found,) = nearest_items(lake, batch, ["c"], 3, kind="track").values()
    assert ids(found) == ["c", "b", "a", "d"]


def test_several_items_are_told_in_one_reading_of_any_cut(lake, batch, monkeypatch):
    whole = nearest_items(lake, batch, ["a", "d"], 3)
    monkeypatch.setattr(item_neighbours, "AT_ONCE", 1)
    assert nearest_items(lake, batch, ["a", "d"], 3) == whole
    assert ids(whole["d"]) == ["d", "c", "b", "a"]


def test_a_title_suggests_the_ids_that_may_be_meant(lake, batch):
    with pytest.raises(InputError, match=r"no item blue; did you mean\n  a  Blue, Mira\n  b"):
        nearest_items(lake, batch, ["blue"], 2)
    with pytest.raises(InputError, match=r"no item xyz$"):
        nearest_items(lake, batch, ["xyz"], 2)


def test_an_item_without_a_vector_is_told_from_one_that_is_not_there(lake, batch):
    with pytest.raises(InputError, match="nobody had played it"):
        nearest_items(lake, batch, ["silent"], 2)
