import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import yaml

from jobs.source import (
    Constant,
    FromColumn,
    FromPosition,
    HashOf,
    LateBegin,
    check_source,
    load_source,
)
from schemas.errors import InputError

ROOT = Path(__file__).parents[2]
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
PLAYS = pa.table(
    {
        "user": ["ann", "bob"],
        "sku": ["t1", "t2"],
        "at": pa.array([1_700_000_000, 1_700_000_060], pa.int64()),
        "when": pa.array([NOON, NOON], pa.timestamp("us", tz="UTC")),
        "tags": [["rock"], ["pop"]],
    }
)
MAPPING = {
    "name": "shop",
    "tables": {
        "items": {
            "files": "plays*.parquet",
            "distinct": True,
            "columns": {"item_id": "sku", "kind": {"constant": "track"}},
        },
        "listens": {
            "files": "plays*.parquet",
            "columns": {
                "event_id": {"hash_of": ["user", "sku", "at"]},
                "user_id": "user",
                "item_id": "sku",
                "item_kind": {"constant": "track"},
                "played_at": {"column": "at", "unit": "s"},
                "ingested_at": {"now": True},
            },
        },
    },
}


class Shop:
    """A folder of files and a source file, both easily spoilt."""

    def __init__(self, folder: Path) -> None:
        self.data, self.file = folder / "data", folder / "shop.yaml"
        self.data.mkdir()
        self.map()
        self.put(PLAYS)

    def map(self, table="listens", without=(), files=None, **columns):
        document = yaml.safe_load(yaml.safe_dump(MAPPING))
        spec = document["tables"][table]
        spec["columns"] |= columns
        spec["columns"] = {k: v for k, v in spec["columns"].items() if k not in without}
        if files:
            for one in document["tables"].values():
                one["files"] = files
        self.file.write_text(yaml.safe_dump(document))

    def put(self, rows: pa.Table, name="plays.parquet"):
        write = pa.csv.write_csv if name.endswith("csv") else pq.write_table
        write(rows, str(self.data / name))

    def check(self):
        return check_source(str(self.file), str(self.data))

    def refusal(self) -> str:
        with pytest.raises(InputError) as error:
            self.check()
        return str(error.value)


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path)


def test_a_fitting_source_is_a_delivery_of_its_files(shop):
    shop.put(PLAYS, "plays2.parquet")
    delivery = shop.check()
    names = [Path(name).name for name in delivery.of("plays*.parquet")]
    assert names == ["plays.parquet", "plays2.parquet"]
    assert delivery.ingest_id.startswith("ingest-shop-")


def test_an_ingest_has_one_id_for_the_same_files_and_another_for_others(shop):
    first = shop.check().ingest_id
    assert shop.check().ingest_id == first
    shop.map(surface="user")
    second = shop.check().ingest_id
    shop.put(PLAYS, "plays2.parquet")
    assert len({first, second, shop.check().ingest_id}) == 3


def test_a_missing_column_is_answered_with_the_nearest(shop):
    shop.map(user_id="usr")
    assert (
        "listens.user_id should come from column 'usr', which the files lack; "
        "did you mean 'user'?" in shop.refusal()
    )


def test_a_missing_column_like_no_other_is_answered_with_all(shop):
    shop.map(user_id="xyzzy")
    assert "'xyzzy', which the files lack; there are user, sku, at, when, tags" in shop.refusal()


def test_columns_of_hashes_and_positions_are_looked_for_too(shop):
    position = {"position": "nth", "within": "user", "ends_at": NOON, "step": "PT4H"}
    shop.map(event_id={"hash_of": ["user", "sko"]}, played_at=position)
    said = shop.refusal()
    assert "listens.event_id should come from column 'sko'" in said
    assert "listens.played_at should come from column 'nth'" in said


def test_a_list_cannot_become_a_time(shop):
    shop.map(played_at="tags")
    assert "listens.played_at is timestamp[us, tz=UTC], which 'tags' (list<" in shop.refusal()


def test_a_list_cannot_become_a_text(shop):
    shop.map(surface="tags")
    assert "listens.surface is string, which 'tags' (list<" in shop.refusal()


def test_a_time_cannot_become_a_number(shop):
    shop.map(ms_played="when")
    assert "listens.ms_played is int64, which 'when' (timestamp" in shop.refusal()


def test_a_number_cannot_become_a_day(shop):
    shop.map("items", released_on="at")
    assert "items.released_on is date32[day], which 'at' (int64) cannot become" in shop.refusal()


def test_a_number_needs_a_unit_to_become_a_time(shop):
    shop.map(played_at="at")
    said = shop.refusal()
    assert "'at' is a number (int64); say its unit as {column: at, unit: s} (or ms, us)" in said


def test_a_time_needs_no_unit(shop):
    shop.map(played_at={"column": "when", "unit": "ms"})
    assert "'when' is a time already: leave out its unit" in shop.refusal()


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]
)
def test_text_of_any_kind_may_be_a_time(shop, kind):
    texts = pa.array(["2026-03-01 12:00:00"] * 2).cast(kind)
    shop.put(PLAYS.append_column("text", texts))
    shop.map(played_at="text")
    assert shop.check().of("plays*.parquet")


def test_a_file_of_no_bytes_is_named(shop):
    (shop.data / "plays2.parquet").touch()
    assert "plays2.parquet is empty (0 bytes)" in shop.refusal()


def test_a_parquet_file_without_rows_is_named(shop):
    shop.put(PLAYS.slice(0, 0), "plays2.parquet")
    assert "plays2.parquet is empty (no rows)" in shop.refusal()


def test_a_csv_file_of_a_header_alone_is_named(shop):
    (shop.data / "plays.csv").write_text("user,sku,at\n")
    shop.map(files="plays.csv")
    assert "plays.csv is empty (a header and no rows)" in shop.refusal()


def test_a_file_of_garbage_is_named(shop):
    (shop.data / "plays2.parquet").write_bytes(b"this is no parquet" * 99)
    assert "plays2.parquet cannot be read: Parquet magic bytes not found" in shop.refusal()


def test_a_json_file_of_garbage_is_named(shop):
    (shop.data / "plays.json").write_text("{{{")
    shop.map(files="plays.json")
    assert "plays.json cannot be read: JSON parse error" in shop.refusal()


def test_a_folder_in_the_place_of_a_file_is_named(shop):
    (shop.data / "plays2.parquet").mkdir()
    assert "plays2.parquet cannot be read" in shop.refusal()


def test_a_format_without_a_reader_is_named(shop):
    (shop.data / "plays.xlsx").write_text("x")
    shop.map(files="plays.xlsx")
    assert "plays.xlsx: no reader for .xlsx; there are parquet, csv, json, jsonl" in shop.refusal()


def test_a_glob_without_files_is_named(shop):
    shop.map(files="clicks*.parquet")
    assert f"listens: no file matches clicks*.parquet in {shop.data}" in shop.refusal()


def test_csv_files_have_their_columns_in_one_order(shop):
    shop.put(PLAYS.select(["user", "sku", "at"]), "plays1.csv")
    shop.put(PLAYS.select(["sku", "user", "at"]), "plays2.csv")
    shop.map(files="plays*.csv")
    assert "plays2.csv has the columns sku, user, at, and" in shop.refusal()


def test_parquet_files_have_the_same_columns_of_the_same_types(shop):
    seconds = PLAYS.column("at").cast(pa.float64())
    shop.put(PLAYS.set_column(2, "at", seconds), "plays2.parquet")
    said = shop.refusal()
    assert "'at' is double in" in said
    assert "and int64 in" in said
    shop.put(PLAYS.drop_columns(["tags"]), "plays2.parquet")
    assert "'tags' is missing in" in shop.refusal()


def test_one_glob_does_not_mix_formats(shop):
    shop.put(PLAYS.select(["user", "sku", "at"]), "plays.csv")
    shop.map(files="plays*")
    assert "is parquet and" in shop.refusal()


def test_joined_files_are_looked_at_too(shop):
    document = yaml.safe_load(shop.file.read_text())
    document["tables"]["items"] |= {"join": [{"files": "tags.parquet", "by": "sku"}]}
    document["tables"]["items"]["columns"]["genres"] = "genre_ids"
    shop.file.write_text(yaml.safe_dump(document))
    assert "items: no file matches tags.parquet" in shop.refusal()
    shop.put(pa.table({"sku": ["t1"], "genre_ids": [["rock"]]}), "tags.parquet")
    shop.check()


def test_a_table_nobody_may_fill_is_named(shop):
    document = yaml.safe_load(shop.file.read_text())
    document["tables"]["user_embeddings"] = document["tables"]["items"]
    shop.file.write_text(yaml.safe_dump(document))
    said = shop.refusal()
    assert "may fill users, onboarding, playlists and taste_edits; it names user_embeddings" in said


def test_items_and_listens_must_be_filled(shop):
    document = yaml.safe_load(shop.file.read_text())
    del document["tables"]["items"]
    shop.file.write_text(yaml.safe_dump(document))
    assert "must fill items and listens" in shop.refusal()


def test_a_column_that_is_not_in_the_contract_is_answered_with_the_nearest(shop):
    shop.map(playd_at="when")
    said = shop.refusal()
    assert "listens.playd_at is not in the contract; did you mean 'played_at'?" in said


def test_a_required_column_that_is_not_mapped_is_named(shop):
    shop.map(without=["user_id"])
    assert (
        "listens.user_id must be filled, and the source does not say from where" in shop.refusal()
    )


def test_everything_wrong_is_listed_at_once(shop):
    shop.map(without=["user_id"], played_at="at", surface="srface", mood="user")
    (shop.data / "plays2.parquet").touch()
    said = shop.refusal()
    for part in ("user_id must be", "say its unit", "'srface'", "listens.mood", "0 bytes"):
        assert part in said
    assert said.startswith(f"{shop.file} and {shop.data} do not fit:\n  - ")


def test_a_missing_data_folder_is_named(shop):
    with pytest.raises(InputError, match=r"--data .*/nowhere is no folder"):
        check_source(str(shop.file), str(shop.data / "nowhere"))


def test_a_missing_source_file_is_named(shop):
    with pytest.raises(InputError, match=r"source file .*none.yaml cannot be read"):
        check_source(str(shop.data / "none.yaml"), str(shop.data))


@pytest.mark.parametrize("text", [b"tables: {items: [", b"\xff\xfe\x00name", b"\tname: x"])
def test_what_is_no_yaml_is_told(shop, text):
    shop.file.write_bytes(text)
    assert "is no YAML" in shop.refusal()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "input: Input should be"),
        ("just words", "input: Input should be"),
        ("name: shop\ntables: {}\nmood: good", "mood: Extra inputs are not permitted"),
        ("name: My Shop\ntables: {}", "name: String should match pattern"),
        ("name: shop\ntables: {items: {columns: {}}}", "tables.items.files: Field required"),
    ],
)
def test_yaml_that_is_no_source_says_where(shop, text, said):
    shop.file.write_text(text)
    assert said in shop.refusal()


def test_a_moment_without_a_time_zone_is_no_moment(shop):
    position = {
        "position": "at",
        "within": "user",
        "ends_at": "2015-01-01T00:00:00",
        "step": "PT4H",
    }
    shop.map(played_at=position)
    assert "timezone" in shop.refusal()


@pytest.mark.parametrize("given", [{}, {"step": "PT4H", "span": "P35D"}])
def test_a_position_has_a_step_or_a_span(shop, given):
    shop.map(played_at={"position": "at", "within": "user", "ends_at": NOON, **given})
    assert "either a step or a span" in shop.refusal()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"span": "P35D", "newcomers": {"share": 0.0, "span": "P7D"}}, "greater than 0"),
        ({"span": "P35D", "newcomers": {"share": 1.0, "span": "P7D"}}, "less than 1"),
        ({"span": "P35D", "newcomers": {"share": 0.1, "span": "P35D"}}, "below everybody's"),
        ({"span": "P35D", "newcomers": {"share": 0.1, "span": "PT0S"}}, "above 0"),
        ({"step": "PT4H", "newcomers": {"share": 0.1, "span": "P7D"}}, "newcomers need a span"),
    ],
)
def test_newcomers_are_some_of_the_users_and_have_less_time(shop, given, said):
    shop.map(played_at={"position": "at", "within": "user", "ends_at": NOON, **given})
    assert said in shop.refusal()


def test_every_way_to_fill_a_column_is_understood(shop):
    position = {"position": "at", "within": "user", "ends_at": NOON, "step": "PT4H"}
    shop.map(played_at=position)
    origins = load_source(str(shop.file)).tables["listens"].origins()
    assert origins["user_id"] == FromColumn(column="user")
    assert origins["item_kind"] == Constant(constant="track")
    assert origins["event_id"] == HashOf(hash_of=["user", "sku", "at"])
    assert origins["played_at"] == FromPosition(
        position="at", within="user", ends_at=NOON, step=timedelta(hours=4)
    )


@pytest.mark.parametrize(
    "file", sorted((ROOT / "sources").glob("*.yaml")), ids=lambda file: file.stem
)
def test_every_source_file_here_can_be_read(file):
    assert load_source(str(file)).name == file.stem


def test_newcomers_of_the_histories_begin_within_the_days_that_are_held_out():
    source = load_source(str(ROOT / "sources" / "thirtymusic_histories.yaml"))
    played_at = source.tables["listens"].origins()["played_at"]
    assert played_at.newcomers == LateBegin(share=0.1, span=timedelta(days=source.holdout_days))


@pytest.mark.parametrize("name", ["thirtymusic_events", "thirtymusic_histories"])
def test_real_data_fits_its_source_file(name, shared_data):
    delivery = check_source(str(ROOT / "sources" / f"{name}.yaml"), str(shared_data(name)))
    assert delivery.ingest_id.startswith(f"ingest-{name}-")


def test_files_in_an_object_store_are_named_by_their_uris(new_shop, good_play, tmp_path, s3_store):
    shop = new_shop(tmp_path / "shop")
    shop.put("items.csv", [{"sku": "t0", "title": "Blue"}])
    shop.put("plays.csv", [good_play(0)])
    there = s3_store.unstrip_protocol(f"lakes/{uuid.uuid4().hex}")
    for file in shop.data.iterdir():
        s3_store.pipe_file(f"{there}/{file.name}", file.read_bytes())
    delivery = check_source(str(shop.source), there)
    assert delivery.files == {
        "items.csv": [f"{there}/items.csv"],
        "plays*.csv": [f"{there}/plays.csv"],
    }
    assert check_source(str(shop.source), there).ingest_id == delivery.ingest_id
