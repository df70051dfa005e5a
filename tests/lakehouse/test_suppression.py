import json
import stat
from pathlib import Path

import pyarrow as pa
import pytest

from lakehouse.suppression import Suppressed, erasure_key, subject, suppressed, values_in
from schemas.errors import InputError

KEY = b"k" * 32
ANN = Suppressed(KEY, frozenset([subject(KEY, "ann")]))


def test_nobody_is_kept_out_of_a_lakehouse_that_forgot_nobody(lake):
    assert suppressed(lake) is None
    lake.ensure("erasures")
    assert suppressed(lake) is None


def test_the_key_is_made_once_and_only_its_owner_may_read_it(lake):
    key = erasure_key(lake)
    place = Path(lake.uri) / "erasure.key"
    assert erasure_key(lake) == key
    assert len(key) == 32
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert sorted(Path(lake.uri).iterdir()) == [place]


def test_who_lost_the_key_is_told(lake, rows_of):
    key = erasure_key(lake)
    lake.append("erasures", rows_of("erasures", {"subject": subject(key, "ann")}))
    assert suppressed(lake).holds("ann")
    (Path(lake.uri) / "erasure.key").unlink()
    with pytest.raises(InputError, match="bring it back from a backup"):
        suppressed(lake)


def test_another_key_gives_another_subject():
    assert subject(KEY, "ann") != subject(b"l" * 32, "ann")
    assert "ann" not in subject(KEY, "ann")


def test_many_ids_are_looked_up_at_once():
    ids = pa.array(["ann", None, "bob", "ann"])
    assert ANN.among(ids).to_pylist() == [True, False, False, True]


def test_raw_rows_are_looked_through_at_any_depth():
    rows = ['{"a": [{"b": "ann"}]}', None, '{"a": "annabel", "ann": 1}']
    assert ANN.told_in(pa.array(rows)).to_pylist() == [True, False, False]


def test_numbers_are_values_as_they_were_written():
    assert values_in('{"user": 17, "x": [1.50, true, null, "é"]}') == {"17", "1.50", "é"}


@pytest.mark.parametrize(
    "line", ['{"user": "a b", "ms":', 'e1,"a b",t1', "e1;a b;t1", '["a b" "c"]', "x\ta b\ty"]
)
def test_of_a_line_that_could_not_be_parsed_every_piece_counts(line):
    assert "a b" in values_in(line)
    assert "a b" in values_in(json.dumps({"_corrupt_record": line}))
