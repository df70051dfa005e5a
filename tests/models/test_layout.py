import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.layout import AMOUNTS, OTHER, FeatureLayout, Group, build_layout

WORDS = {"surface": ["search", "home"], "device": ["phone"], "country": ["SE"]}
NAMES = ("surface", "device", "country", "language", "subscription")


@given(st.dictionaries(st.sampled_from(NAMES), st.lists(st.text(max_size=5), max_size=6)))
def test_the_groups_tile_the_row(vocabularies):
    layout = build_layout(vocabularies)
    end = 0
    for group in layout.groups:
        assert (group.slice.start, group.slice.stop) == (end, end + group.width)
        end = group.slice.stop
    assert layout.width == end
    assert len(set(layout.names)) == len(layout.groups)


@given(st.permutations(["a", "b", "c", OTHER, ""]))
def test_the_order_of_the_words_does_not_matter_and_each_has_one_column(words):
    columns = build_layout({"surface": [*words, *words]})["surface"].columns
    assert columns == ("a", "b", "c", OTHER)


def test_unknown_words_go_to_the_last_column():
    surface = build_layout(WORDS)["surface"]
    assert surface.columns == ("home", "search", OTHER)
    assert surface.index(["search", "car", "home", None, ""]).tolist() == [1, 2, 0, 2, 2]


def test_a_group_without_words_has_the_column_for_all_others():
    assert build_layout({})["country"].columns == (OTHER,)


def test_a_layout_does_not_differ_from_its_copy():
    layout = build_layout(WORDS)
    copy = FeatureLayout.model_validate_json(layout.model_dump_json())
    assert layout.differences(copy) == []
    assert layout == copy


def test_every_difference_is_said():
    ours = build_layout(WORDS)
    theirs = build_layout({**WORDS, "device": ["phone", "speaker"]})
    shorter = FeatureLayout(groups=theirs.groups[1:])
    found = ours.differences(shorter)
    assert found[0] == "group taste_7d is missing"
    assert any("group device differs: 2 columns" in line for line in found)
    assert shorter.differences(ours)[0] == "group taste_7d is unknown"


def test_two_words_that_change_places_are_a_difference():
    ours = build_layout({"surface": ["a", "b"]})
    other = build_layout({"surface": ["a", "c"]})
    assert ["surface" in line for line in ours.differences(other)] == [True]


def test_an_unknown_group_is_an_error():
    with pytest.raises(StopIteration):
        build_layout({})["mood"]


def test_every_column_has_a_unit():
    layout = build_layout(WORDS)
    assert all(group.unit(column) for group in layout.groups for column in group.columns)
    assert layout["taste_7d"].unit("v3") == "dimensionless"
    assert layout["country"].unit("SE") == "one of"
    assert [layout["amounts"].unit(column) for column in AMOUNTS] == list(AMOUNTS.values())


def test_a_layout_that_was_recorded_without_units_is_read_and_fits_the_same_with_units():
    layout = build_layout(WORDS)
    recorded = layout.model_dump(mode="json")
    for group in recorded["groups"]:
        del group["units"]
    older = FeatureLayout.model_validate(recorded)
    assert older["hour"].unit("3") is None
    assert layout.differences(older) == older.differences(layout) == []


def test_another_unit_of_the_same_columns_is_a_difference():
    ours = Group(name="a", kind="amounts", start=0, columns=("x",), units=("s",))
    theirs = ours.model_copy(update={"units": ("ms",)})
    layouts = FeatureLayout(groups=(ours,)), FeatureLayout(groups=(theirs,))
    assert ["group a differs" in line for line in layouts[0].differences(layouts[1])] == [True]


def test_units_of_some_columns_only_are_an_error():
    with pytest.raises(ValueError, match="group a has 2 units, 3 columns"):
        Group(name="a", kind="amounts", start=0, columns=("x", "y", "z"), units=("s", "s"))
