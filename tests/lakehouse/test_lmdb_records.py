from hypothesis import given
from hypothesis import strategies as st

from lakehouse.lmdb_records import NUMBER, key

LMDB_TAKES = 511  # bytes
user_ids = st.text(max_size=4) | st.text("aé", min_size=140, max_size=320)
spaces = st.integers(1, 2**32 - 1)


@given(spaces, user_ids, spaces, user_ids)
def test_two_users_or_spaces_never_share_a_key(space, user_id, other_space, other_id):
    keys = {key(NUMBER.pack(space), user_id), key(NUMBER.pack(other_space), other_id)}
    assert len(keys) == len({(space, user_id), (other_space, other_id)})


@given(spaces, user_ids)
def test_a_key_begins_with_its_space_and_is_one_that_lmdb_takes(space, user_id):
    made = key(NUMBER.pack(space), user_id)
    assert made.startswith(NUMBER.pack(space))
    assert len(made) <= LMDB_TAKES
