"""SIGKILL at the worst moments: no reader sees a part, and the next run brings it to its end."""

from pathlib import Path

import pytest

from jobs import ingest

PLAYS, BAD, ITEMS = 2_000, 20, 300
WHOLE = {"listens": PLAYS, "items": ITEMS, "quarantine": BAD + 1}


@pytest.fixture
def shop(tmp_path, new_shop, good_play):
    """Two thousand good plays, twenty that last less than no time, and an item that repeats."""
    shop = new_shop(tmp_path)
    items = [{"sku": f"t{number}", "title": f"Song {number}"} for number in range(ITEMS)]
    shop.put("items.csv", [*items, items[0]])
    plays = [good_play(number) for number in range(PLAYS)]
    bad = [good_play(PLAYS + number, ms=-1) for number in range(BAD)]
    shop.put("plays1.csv", plays[::2] + bad)
    shop.put("plays2.csv", plays[1::2])
    return shop


def seen(shop) -> dict[str, int]:
    return {table: len(shop.rows(table)) for table in WHOLE}


@pytest.mark.whole
@pytest.mark.timeout(900)
def test_killed_at_three_moments_it_shows_no_part_and_ends_with_every_row_once(
    shop, runs, shared_session
):
    commit = "_delta_log/00000000000000000001.json"
    moments = [f"tables/quarantine/{commit}", "staging/*", f"tables/items/{commit}"]
    for moment in moments:
        runs.kill_when(lambda: list(Path(shop.lake.uri).glob(moment)), "jobs/ingest.py", *shop.argv)  # noqa: B023
        for table, rows in seen(shop).items():
            assert rows in (0, WHOLE[table]), f"{rows} rows of {table} after {moment}"
        assert shop.rows("steps") == []
    assert seen(shop)["quarantine"] == WHOLE["quarantine"]

    shared_session("ingest")
    ingest.main(shop.argv)
    assert seen(shop) == WHOLE
    for table, key in [("listens", "event_id"), ("items", "item_id")]:
        assert len({row[key] for row in shop.rows(table)}) == WHOLE[table]
    refused = sorted((row["table"], row["event_id"]) for row in shop.rows("quarantine"))
    assert refused == [("items", "t0"), *(("listens", f"e{PLAYS + n}") for n in range(BAD))]
    assert len(shop.rows("steps")) == 1
    assert not list((shop.folder / "lake" / "staging").glob("*"))
