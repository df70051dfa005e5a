import asyncio

import pyarrow as pa
import pytest

from lakehouse.event_codec import Event, encode
from lakehouse.folder_log import FolderWriter
from schemas.contract import contract
from tasteprint.cli import main

AT = "2026-03-01T12:00:00.000000Z"


@pytest.fixture
def known(lake):
    """A lakehouse that knows one item."""
    items = pa.Table.from_pylist(
        [{"item_id": "t1", "kind": "track"}], schema=contract("items").arrow_schema
    )
    lake.append("items", items)
    return lake


@pytest.fixture
def log(tmp_path):
    """An event log with one play."""
    row = {"event_id": "e1", "user_id": "u1", "item_id": "t1", "item_kind": "track"}
    event = Event("listens", row | {"played_at": AT, "ingested_at": AT})
    writer = FolderWriter(tmp_path / "events")
    asyncio.run(writer.append([encode(event)]))
    writer.close()
    return tmp_path / "events"


@pytest.mark.spark
@pytest.mark.whole
@pytest.mark.timeout(600)
def test_what_was_logged_is_taken_in_by_a_command_that_may_be_given_again(known, log, capsys):
    argv = ["drain", "--event-log", str(log), "--lakehouse", known.uri]
    main(argv)
    said = capsys.readouterr().out
    assert "listens: 1 events: 1 taken in, 0 repeated" in said
    assert "the log is drained up to" in said
    assert known.rows("listens")["event_id"].to_pylist() == ["e1"]
    main(argv)
    assert "Nothing new in the log." in capsys.readouterr().out


@pytest.mark.spark
@pytest.mark.whole
def test_a_log_that_is_not_there_is_told_in_a_sentence(known, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["drain", "--event-log", str(tmp_path / "no"), "--lakehouse", known.uri])
    assert ended.value.code == 2
    assert "there is no event log in" in capsys.readouterr().err
