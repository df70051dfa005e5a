import asyncio

import pytest

from tasteprint.replay_names import ItemNames


def test_items_are_called_by_title_and_creator_else_by_their_id(lake, named_items):
    named_items(lake)
    names = ItemNames(lake)
    found = asyncio.run(names.of(["b", "c", "unheard-of", "b"]))
    assert found == ["Blue Again by Mira", "Talk", "unheard-of", "Blue Again by Mira"]


@pytest.mark.parametrize("is_there", [True, False])
def test_without_a_catalogue_items_are_called_by_their_ids(lake, is_there):
    assert asyncio.run(ItemNames(lake if is_there else None).of(["a"])) == ["a"]
