import pyarrow as pa

from models.layout import build_layout
from models.words import group_columns


def test_words_become_the_columns_of_their_group_and_no_word_minus_one():
    group = build_layout({"surface": ["home", "search"]})["surface"]
    words = pa.chunked_array([["search", None], ["car", "home"]])
    assert group_columns(words, group).tolist() == [1, -1, 2, 0]
