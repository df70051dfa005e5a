import pytest
from hypothesis import given
from hypothesis import strategies as st
from open_data_contract_standard.model import CustomProperty, SchemaProperty

from schemas.compatibility import Change, changes, compare
from schemas.contract import contract, contract_names
from schemas.errors import ContractError

LISTENS = contract("listens")


@pytest.fixture
def differences(edited, column_of):
    """What changes when a function changes one column of a contract."""

    def found(table, column, edit):
        new = edited(table, lambda document: edit(column_of(document, column)))
        return [(change.level, change.sentence) for change in changes(contract(table), new)]

    return found


def unit(value):
    return lambda column: setattr(
        column, "customProperties", [CustomProperty(property="unit", value=value)]
    )


def values(*allowed):
    return lambda column: setattr(
        column, "customProperties", [CustomProperty(property="enum", value=list(allowed))]
    )


def options(**limits):
    return lambda column: setattr(column, "logicalTypeOptions", limits)


def required(value):
    return lambda column: setattr(column, "required", value)


def typed(name):
    return lambda column: setattr(column, "physicalType", name)


def classified(name):
    return lambda column: setattr(column, "classification", name)


def added(name, *, filled):
    def edit(document):
        document.schema_[0].properties.append(
            SchemaProperty(
                name=name, logicalType="string", physicalType="string", required=filled or None
            )
        )

    return edit


def gone(name):
    def edit(document):
        table = document.schema_[0]
        table.properties = [item for item in table.properties if item.name != name]

    return edit


def versioned(number):
    return lambda document: setattr(document, "version", number)


@pytest.mark.parametrize(
    ("column", "edit", "sentence"),
    [
        ("ms_played", typed("int"), "column ms_played was long, and is int"),
        ("ms_played", typed("string"), "column ms_played was long, and is string"),
        ("ms_played", required(True), "column ms_played must be filled"),
        ("ms_played", unit("s"), "column ms_played had the unit ms, and has s"),
        (
            "ms_played",
            options(minimum=0, maximum=60_000),
            "column ms_played had the range 0 to 86400000, and has 0 to 60000",
        ),
        (
            "ms_played",
            options(minimum=1, maximum=86_400_000),
            "column ms_played had the range 0 to 86400000, and has 1 to 86400000",
        ),
        (
            "item_kind",
            values("track"),
            "column item_kind allowed track, episode, and allows track",
        ),
        (
            "surface",
            values("home"),
            "column surface allowed nothing in particular, and allows home",
        ),
        (
            "surface",
            options(minLength=2),
            "column surface had the text length none, and has 2 to …",
        ),
        (
            "surface",
            options(pattern="[a-z]+"),
            "column surface: logicalTypeOptions differs",
        ),
        ("user_id", classified("internal"), "column user_id was personal, and is internal"),
    ],
)
def test_less_room_or_another_meaning_is_breaking(differences, column, edit, sentence):
    assert differences("listens", column, edit) == [("breaking", sentence)]


@pytest.mark.parametrize(
    ("column", "edit", "sentence"),
    [
        ("item_kind", required(False), "column item_kind may be null"),
        (
            "ms_played",
            options(minimum=0),
            "column ms_played had the range 0 to 86400000, and has 0 to …",
        ),
        (
            "item_kind",
            values("track", "episode", "chapter"),
            "column item_kind allowed track, episode, and allows track, episode, chapter",
        ),
        (
            "item_kind",
            values(),
            "column item_kind allowed track, episode, and allows nothing in particular",
        ),
        ("surface", classified("personal"), "column surface was internal, and is personal"),
        ("surface", unit("place"), "column surface had the unit none, and has place"),
    ],
)
def test_more_room_is_additive(differences, column, edit, sentence):
    assert differences("listens", column, edit) == [("additive", sentence)]


def test_a_wider_type_is_additive(differences):
    found = differences("user_features", "bucket", typed("long"))
    assert found == [("additive", "column bucket was int, and is long")]


def test_a_vector_of_another_length_is_breaking_though_it_would_allow_the_old(differences):
    found = differences("track_vectors", "vector", options(minItems=80, maxItems=128))
    assert found == [("breaking", "column vector had the length 80, and has 80 to 128")]


def test_a_longer_list_is_additive(differences):
    found = differences("semantic_ids", "codes", options(minItems=4, maxItems=8))
    assert found == [("additive", "column codes had the length 4 to 6, and has 4 to 8")]


def test_another_key_is_breaking(edited, column_of):
    def key_by_user_too(document):
        user = column_of(document, "user_id")
        user.primaryKey, user.primaryKeyPosition = True, 2

    assert changes(LISTENS, edited("listens", key_by_user_too)) == [
        Change("listens", "breaking", "the key was event_id, and is event_id, user_id")
    ]


def test_other_words_are_wording_and_other_rules_are_additive(edited, column_of):
    def speak(document):
        document.schema_[0].description = "A play."
        column_of(document, "user_id").description = "Somebody."
        document.slaProperties[0].value = 2

    found = {(item.level, item.sentence) for item in changes(LISTENS, edited("listens", speak))}
    assert found == {
        ("wording", "description differs"),
        ("wording", "column user_id: description differs"),
        ("additive", "slaProperties differs"),
    }


@given(name=st.sampled_from(contract_names()))
def test_a_contract_has_not_changed_from_itself(name):
    assert changes(contract(name), contract(name)) == []


@given(data=st.data())
def test_a_new_nullable_column_is_never_breaking_and_rows_written_before_conform(edited, data):
    old = contract(data.draw(st.sampled_from(contract_names())))
    new = edited(old.name, added("mood", filled=False))
    assert changes(old, new) == [Change(old.name, "additive", "column mood is new")]
    conforming = new.conform(old.arrow_schema.empty_table())
    assert conforming.schema == new.arrow_schema


@given(data=st.data())
def test_a_new_column_that_must_be_filled_is_always_breaking(edited, data):
    old = contract(data.draw(st.sampled_from(contract_names())))
    new = edited(old.name, added("mood", filled=True))
    assert [change.level for change in changes(old, new)] == ["breaking"]


@given(data=st.data())
def test_a_column_that_goes_is_always_breaking(edited, data):
    old = contract(data.draw(st.sampled_from(contract_names())))
    column = data.draw(st.sampled_from(old.column_names))
    found = changes(old, edited(old.name, gone(column)))
    assert Change(old.name, "breaking", f"column {column} is gone") in found
    assert found[0].breaking


@pytest.mark.parametrize(
    ("edit", "enough", "too_little", "step"),
    [
        (gone("device"), "2.0.0", "1.9.0", "major"),
        (added("mood", filled=False), "1.2.0", "1.1.1", "minor"),
        (lambda it: setattr(it.schema_[0], "description", "A play."), "1.1.1", "1.1.0", "patch"),
    ],
)
def test_a_change_needs_the_version_that_says_so(edited, edit, enough, too_little, step):
    assert compare([LISTENS], [edited("listens", edit, versioned(enough))])
    with pytest.raises(ContractError, match=f"needs a new {step} version:\n  - "):
        compare([LISTENS], [edited("listens", edit, versioned(too_little))])


def test_everything_that_is_wrong_with_the_versions_is_listed_at_once(edited):
    old = [LISTENS, contract("items"), contract("users"), contract("steps")]
    new = [
        edited("listens", gone("device"), gone("surface")),
        edited("items", versioned("1.0.0")),
        edited("users", versioned("3.0.0")),
    ]
    with pytest.raises(ContractError) as error:
        compare(old, new)
    assert str(error.value).splitlines() == [
        "the versions do not say what changed:",
        "listens 1.1.0 -> 1.1.0 needs a new major version:",
        "  - column surface is gone",
        "  - column device is gone",
        "items goes back from 1.1.0 to 1.0.0",
        "table steps is gone: set its status to deprecated first",
    ]


def test_tables_come_and_once_deprecated_they_go(edited):
    def deprecate(document):
        document.status = "deprecated"

    assert compare([edited("users", deprecate)], [LISTENS]) == [
        Change("listens", "additive", "table listens is new"),
        Change("users", "breaking", "table users is gone"),
    ]
