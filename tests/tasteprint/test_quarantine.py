from datetime import UTC, datetime

import pyarrow as pa
import pytest

from schemas.contract import contract
from tasteprint.cli import main

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ROW_ID = "0123456789abcdef0123456789abcdef"
SOURCE = """
name: shop
tables:
  items: {files: items.csv, columns: {item_id: sku, kind: {constant: track}}}
  listens:
    files: plays.csv
    columns:
      event_id: id
      user_id: user
      item_id: sku
      item_kind: {constant: track}
      played_at: at
      ingested_at: at
"""
REFUSED = {
    "ingest_id": "ingest-shop-1",
    "table": "listens",
    "row": '{"id":"e1","user":"Zoë [1]","sku":null}',
    "reasons": ["item_id is missing", "user_id is no name (Zoë [1])"],
    "file": "plays.csv",
    "quarantined_at": NOON,
    "row_id": ROW_ID,
}


@pytest.fixture
def kept(lake):
    """A lakehouse with one row that is refused, and one that was."""
    taken_in = {"row_id": "f" * 32, "replayed_at": NOON, "replayed_by": "replay-shop-2"}
    rows = [REFUSED, REFUSED | taken_in | {"reasons": ["played_at is missing"]}]
    schema = contract("quarantine").arrow_schema
    lake.append("quarantine", pa.Table.from_pylist(rows, schema=schema))
    return lake


@pytest.fixture
def source(tmp_path):
    """The path of a source file."""
    path = tmp_path / "shop.yaml"
    path.write_text(SOURCE)
    return path


def said(capsys, lake, *argv: str) -> str:
    main(["quarantine", *argv, "--lakehouse", lake.uri])
    return capsys.readouterr().out


def status(lake, *argv: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["quarantine", *argv, "--lakehouse", lake.uri])
    return ended.value.code


@pytest.mark.parametrize("command", ["", "list", "show", "replay"])
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["quarantine", *command.split(), "--help"])
    assert ended.value.code == 0
    assert len(capsys.readouterr().out.splitlines()) > 5


def test_open_faults_are_listed_with_an_example(kept, capsys):
    shown = said(capsys, kept, "list")
    assert "listens refused by ingest-shop-1" in shown
    assert shown.count(ROW_ID[:12]) == 2
    assert "user_id is no name" in shown
    assert "played_at is missing" not in shown


def test_what_was_replayed_since_is_listed_on_request(kept, capsys):
    assert "played_at is missing" in said(capsys, kept, "list", "--all")
    assert "No refused rows." in said(capsys, kept, "list", "--table", "items")


def test_a_row_is_shown_as_it_came_with_every_reason(kept, capsys):
    shown = said(capsys, kept, "show", "0123")
    assert f"row {ROW_ID} of listens" in shown
    assert "came in plays.csv" in shown
    assert "replayed not yet" in shown
    assert "  - item_id is missing\n  - user_id is no name (Zoë [1])" in shown
    assert '{\n  "id": "e1",\n  "user": "Zoë [1]",\n  "sku": null\n}' in shown


def test_a_row_that_was_replayed_says_when_and_by_what(kept, capsys):
    assert "replayed 2026-03-01 12:00:00 UTC, by replay-shop-2" in said(capsys, kept, "show", "ff")


def test_a_dry_replay_says_how_many_rows_and_which_command(kept, source, capsys):
    argv = ["replay", "--source", str(source), "--reason", "item_id is missing", "--dry-run"]
    shown = said(capsys, kept, *argv)
    assert "listens: 1 refused rows to judge again" in shown
    assert "spark-submit" in shown
    assert f"jobs/replay.py --source {source} --lakehouse {kept.uri}" in shown
    assert "--reason 'item_id is missing'" in shown


def test_where_nothing_is_open_nothing_is_started(kept, source, capsys):
    shown = said(capsys, kept, "replay", "--source", str(source), "--table", "items")
    assert shown == "No refused rows to replay.\n"


def test_a_table_that_is_read_as_a_whole_is_refused_before_spark_starts(kept, source, capsys):
    source.write_text(SOURCE.replace("files: plays.csv", "files: plays.csv\n    distinct: true"))
    assert status(kept, "replay", "--source", str(source)) == 2
    assert "refused rows of listens cannot be replayed" in capsys.readouterr().err


@pytest.mark.spark
@pytest.mark.whole
@pytest.mark.timeout(1200)
def test_a_row_that_is_good_now_is_taken_in_and_the_summary_says_so(kept, source, capsys):
    row = '{"id": "e2", "user": "Zoë", "sku": "t1", "at": "2024-03-01 12:00:00"}'
    rows = [REFUSED | {"row": row, "row_id": "e" * 32, "reasons": ["item_id is not in items (t1)"]}]
    kept.append("quarantine", pa.Table.from_pylist(rows, contract("quarantine").arrow_schema))
    items = [{"item_id": "t1", "kind": "track"}]
    kept.append("items", pa.Table.from_pylist(items, contract("items").arrow_schema))
    shown = said(capsys, kept, "replay", "--source", str(source), "--reason", "not in items")
    assert "listens: 1 landed, 0 were there already, 0 are still bad" in shown
    assert kept.open("listens").to_pyarrow_table()["user_id"].to_pylist() == ["Zoë"]
    assert ", by replay-shop-" in said(capsys, kept, "show", "ee")
