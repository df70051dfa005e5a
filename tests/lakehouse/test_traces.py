import pytest

from lakehouse.traces import Names


@pytest.mark.parametrize(
    ("user", "text", "left"),
    [
        ("u1", "b7 / u1", "b7 / (erased)"),
        ("u1", "u1 is gone, u12 and xu1 are not", "(erased) is gone, u12 and xu1 are not"),
        ("@bob", "x@bob said", "x(erased) said"),
        ("a.b", "a.b acb", "(erased) acb"),
        ("日本", "日本 日本人", "(erased) 日本人"),
    ],
)
def test_an_id_is_taken_out_where_it_is_a_word_of_its_own(user, text, left):
    assert Names([user]).without(text) == left


def test_of_two_ids_the_longer_goes_first():
    assert Names(["a", "a b"]).without("a b, a") == "(erased), (erased)"


def test_lists_and_mappings_are_looked_through():
    value = {"near": [{"user": "ann", "cosine": 0.5}], "note": None}
    assert Names(["ann"]).without(value) == {
        "near": [{"user": "(erased)", "cosine": 0.5}],
        "note": None,
    }
