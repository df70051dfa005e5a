import pytest

from lakehouse.ann import IndexConfig
from lakehouse.side_car import Asked, file_of, read_side_car

ALL = Asked(formats=("faiss", "parquet", "npy"), recall=0.9)


@pytest.mark.parametrize(
    ("asked", "met"),
    [
        (Asked(formats=("npy",)), True),
        (Asked(formats=("npy", "parquet")), True),
        (Asked(formats=("parquet",), dtype="float16"), True),  # of which Parquet knows nothing
        (Asked(formats=("npy",), dtype="float16"), False),
        (Asked(formats=("faiss",)), False),
        (Asked(formats=("faiss",), recall=0.9), True),
        (Asked(formats=("faiss",), recall=0.9, recall_at=100), False),
        (Asked(formats=("faiss",), recall=0.9, index=IndexConfig(nlist=8)), False),
        (Asked(formats=("faiss",), recall=0.9, index=IndexConfig(threads=8)), True),
    ],
)
def test_what_was_made_meets_what_concerns_the_formats_that_are_asked_for(asked, met):
    assert asked.met_by(ALL) is met


def test_what_is_asked_for_is_made_beside_what_was():
    both = Asked(formats=("npy",), dtype="float16").beside(ALL)
    assert both == ALL.model_copy(update={"dtype": "float16"})
    fewer = Asked(formats=("parquet",))
    assert Asked(formats=("npy",)).beside(fewer).formats == ("parquet", "npy")
    assert not ALL.met_by(fewer)


def test_formats_are_in_one_order_each_once():
    assert Asked(formats=("npy", "parquet", "npy")).formats == ("parquet", "npy")


@pytest.mark.parametrize("content", [None, "", "{}", '{"batch_id": 1}'])
def test_what_is_no_side_car_is_none(lake, content):
    if content is not None:
        lake.write_text(f"{lake.uri}/export.json", content)
    assert read_side_car(lake, lake.uri) is None


def test_a_file_is_told_by_its_content(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    told = file_of(tmp_path / "a")
    assert (told.name, told.size) == ("a", 3)
    assert told.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
