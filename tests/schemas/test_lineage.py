from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.contract import contract, contract_names
from schemas.errors import ContractError
from schemas.lineage import BOX_HEIGHT, BOX_WIDTH, draw

NAMES = "abcdefgh"


def by_name(drawing):
    return {box.name: box for box in drawing.boxes}


@st.composite
def inputs_of_tables(draw_from):
    """Each table is made from some of those before it, so that there is no circle."""
    return {
        name: draw_from(st.lists(st.sampled_from(NAMES[:place]), unique=True)) if place else []
        for place, name in enumerate(NAMES)
    }


def test_a_table_stands_to_the_right_of_what_it_is_made_from():
    boxes = by_name(draw({"a": [], "b": ["a"], "c": ["a", "b"]}))
    assert boxes["a"].x < boxes["b"].x < boxes["c"].x


def test_what_is_no_table_itself_stands_at_the_left():
    boxes = by_name(draw({"listens": ["source files"]}))
    assert boxes["source files"].x < boxes["listens"].x


def test_lines_of_one_table_run_together_while_they_can():
    drawing = draw({"a": [], "b": ["a"], "c": ["b"], "d": ["a", "c"], "e": ["a", "c"]})
    # a to b, past b, past c, and from there to d and e
    assert sum(line.source == "a" for line in drawing.lines) == 5


def test_tables_in_the_order_of_their_names_are_turned_so_that_lines_do_not_cross():
    drawing = by_name(draw({"a": [], "b": [], "c": ["b"], "d": ["a"]}))
    assert (drawing["a"].y < drawing["b"].y) == (drawing["d"].y < drawing["c"].y)


def test_a_circle_is_named():
    with pytest.raises(ContractError, match=r"in a circle: .*a.* -> .*b"):
        draw({"a": ["b"], "b": ["a"]})


@given(inputs=inputs_of_tables())
def test_boxes_never_overlap_and_all_lie_within_the_drawing(inputs):
    drawing = draw(inputs)
    for one, other in combinations(drawing.boxes, 2):
        assert abs(one.x - other.x) >= BOX_WIDTH or abs(one.y - other.y) >= BOX_HEIGHT
    for box in drawing.boxes:
        assert 0 <= box.x <= drawing.width - BOX_WIDTH
        assert 0 <= box.y <= drawing.height - BOX_HEIGHT


@given(inputs=inputs_of_tables())
def test_every_table_is_drawn_once_and_stands_right_of_its_inputs(inputs):
    drawing = draw(inputs)
    boxes = by_name(drawing)
    assert len(drawing.boxes) == len(boxes) == len(NAMES)
    assert all(
        boxes[given].x < boxes[name].x for name, sources in inputs.items() for given in sources
    )


def test_our_own_tables_are_drawn_the_same_every_time():
    inputs = {name: contract(name).inputs for name in contract_names()}
    assert draw(inputs) == draw(inputs)
