import numpy as np
import pyarrow as pa

from evaluation.places import item_places, placed_items
from lakehouse import parts
from schemas.arrow import matrix


def test_all_items_are_placed_in_parts_as_they_are_one_by_one(lake, two_spaces, monkeypatch):
    _, live = two_spaces()
    monkeypatch.setitem(parts.READING, "batch_size", 7)
    found = list(placed_items(lake, live))
    assert len(found) > 5
    rows = pa.Table.from_batches(found)
    ids = rows["item_id"].to_numpy(zero_copy_only=False)
    assert sorted(ids) == sorted(f"t{number}" for number in range(50))
    np.testing.assert_allclose(matrix(rows["embedding"]), item_places(lake, live, ids), atol=1e-6)


def test_places_have_the_width_and_the_length_of_users(lake, two_spaces):
    _, live = two_spaces()
    (part,) = placed_items(lake, live)
    places = matrix(part["embedding"])
    assert places.shape == (50, 128)
    np.testing.assert_allclose(np.linalg.norm(places, axis=1), 1.0, atol=1e-5)
