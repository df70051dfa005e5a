import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.layout import OTHER, FeatureLayout, build_layout

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
