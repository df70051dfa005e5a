import asyncio
import json
import shutil
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest

from jobs import drain as drain_module
from jobs import ingest
from jobs.drain import drain, drain_span
from jobs.ingest import Ingest
from lakehouse.drained import DrainedLog
from lakehouse.erasure import forget
from lakehouse.event_codec import Event, encode
from lakehouse.folder_log import FolderWriter, ends
from lakehouse.overrides import override
from lakehouse.steps import finished_steps
from lakehouse.storage import Lakehouse
from schemas.contract import contract
from schemas.errors import GateError

pytestmark = [pytest.mark.spark, pytest.mark.timeout(600)]

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEEP_DAYS = 14.0


def at(minutes: float) -> str:
    return f"{(NOON + timedelta(minutes=minutes)).isoformat(timespec='microseconds')[:26]}Z"


def played(number: int, minutes: float = 0, **changes) -> Event:
    """A play as the service logs it: every column of its contract."""
    row = dict.fromkeys(contract("listens").column_names)
    row |= {"event_id": f"e{number}", "user_id": f"u{number % 3}", "item_id": f"t{number % 3}"}
    row |= {"item_kind": "track", "played_at": at(0), "ms_played": 1000, "ingested_at": at(minutes)}
    return Event("listens", row | changes)


def picked(user: str, *, completed: bool | None, minutes: float = 0) -> Event:
    row = {"user_id": user, "picked_id": "t1", "picked_kind": "item", "picked_at": at(minutes)}
    return Event("onboarding", row | {"completed": completed})


def wished(edit: str, minutes: float = 0) -> Event:
    row = dict.fromkeys(contract("taste_edits").column_names)
    row |= {"edit_id": edit, "user_id": "u1", "kind": "less", "genre": "jazz", "edited_at": at(0)}
    return Event("taste_edits", row | {"ingested_at": at(minutes)})


def refused(number: int, **changes) -> Event:
    row = {"event_id": f"r{number}", "user_id": 7, "item_id": "t1"} | changes
    return Event("listens", row, ("user_id is no string (7)", "played_at is missing"))


class Logged:
    """A lakehouse with a catalogue, and the event log of its service."""

    def __init__(self, folder: Path) -> None:
        self.log, self.lake = folder / "events", Lakehouse(str(folder / "lake"))
        if not self.lake.exists("items"):
            items = [{"item_id": f"t{number}", "kind": "track"} for number in range(3)]
            schema = contract("items").arrow_schema
            self.lake.append("items", pa.Table.from_pylist(items, schema=schema))

    def write(self, *events: Event) -> None:
        """Log events, as a service that begins and ends."""
        writer = FolderWriter(self.log)
        asyncio.run(writer.append([encode(event) for event in events]))
        writer.close()

    @property
    def argv(self) -> list[str]:
        return ["--from-log", str(self.log), "--lakehouse", self.lake.uri]

    def rows(self, table: str) -> list[dict]:
        return self.lake.rows(table).to_pylist() if self.lake.exists(table) else []

    def ids(self) -> list[str]:
        return sorted(row["event_id"] for row in self.rows("listens"))

    def steps(self) -> list[dict]:
        found = [row for row in self.rows("steps") if row["step"] == "drain"]
        found.sort(key=lambda row: row["finished_at"])
        return [{**row, "detail": json.loads(row["detail"])} for row in found]


FIRST = [
    *(played(number) for number in range(20)),
    played(3, minutes=9, ms_played=5),  # sent again
    picked("u1", completed=None),
    picked("u2", completed=None),
    picked("u1", completed=True, minutes=1),
    wished("w1"),
    wished("w1", minutes=9),
    refused(1),
    refused(2),
    Event("taste_edits", ["w"], ("the row is no object (an array)",)),
]


@pytest.fixture(scope="module")
def drained(tmp_path_factory, shared_session):
    """A log of good events, repeats and refused ones, drained once."""
    shared_session("drain")
    logged = Logged(tmp_path_factory.mktemp("drained"))
    logged.write(*FIRST)
    drain(logged.lake, logged.log, KEEP_DAYS)
    return logged


@pytest.fixture
def logged(drained, tmp_path):
    """The same lakehouse and log after that, for this test alone."""
    shutil.copytree(drained.log.parent, tmp_path / "copy")
    return Logged(tmp_path / "copy")


def test_good_events_land_once_with_the_moment_at_which_the_service_learned_of_them(drained):
    assert drained.ids() == sorted(f"e{number}" for number in range(20))
    found = {row["event_id"]: row for row in drained.rows("listens")}
    assert {row["ingested_at"] for row in found.values()} == {NOON}
    assert found["e3"]["ms_played"] == 1000  # the first counts
    assert found["e4"]["surface"] is None


def test_of_a_pick_the_last_event_counts_and_of_a_wish_the_first(drained):
    assert {r["user_id"]: r["completed"] for r in drained.rows("onboarding")} == {
        "u1": True,
        "u2": None,
    }
    (wish,) = drained.rows("taste_edits")
    assert (wish["edit_id"], wish["kind"], wish["ingested_at"]) == ("w1", "less", NOON)


def test_refused_events_are_in_quarantine_as_they_came_and_stop_nothing(drained):
    rows = {row["event_id"]: row for row in drained.rows("quarantine")}
    assert rows.keys() == {"r1", "r2", None}
    assert json.loads(rows["r1"]["row"]) == {"event_id": "r1", "user_id": 7, "item_id": "t1"}
    assert rows["r1"]["reasons"] == ["user_id is no string (7)", "played_at is missing"]
    (step,) = drained.steps()
    assert {row["ingest_id"] for row in rows.values()} == {step["run_id"]}
    assert (rows[None]["table"], rows[None]["row"]) == ("taste_edits", '["w"]')
    assert len({row["row_id"] for row in rows.values()}) == 3


def test_the_step_says_what_became_of_every_event(drained):
    (step,) = drained.steps()
    assert (step["rows_in"], step["rows_out"]) == (len(FIRST), 23)
    assert step["detail"]["events"] == {"listens": 21, "onboarding": 3, "taste_edits": 2}
    assert step["detail"]["refused"] == 3
    assert not drained.lake.filesystem.exists(f"{drained.lake.uri}/staging/{step['run_id']}")


def test_a_log_without_news_is_left_alone(logged, capsys):
    before = logged.lake.open("listens").version()
    ingest.main(logged.argv)
    assert capsys.readouterr().out == "nothing new in the log\n"
    assert logged.lake.open("listens").version() == before


def test_what_is_new_is_taken_in_and_what_was_known_stays(logged, capsys):
    logged.write(played(20), played(4, minutes=30, ms_played=9), wished("w1", minutes=30))
    ingest.main(logged.argv)
    assert logged.ids() == sorted(f"e{number}" for number in range(21))
    assert {row["ms_played"] for row in logged.rows("listens")} == {1000}
    assert [row["ingested_at"] for row in logged.rows("taste_edits")] == [NOON]
    assert len(logged.rows("quarantine")) == 3
    assert "listens: 2 events: 2 taken in, 0 repeated" in capsys.readouterr().out


def test_a_drain_that_died_before_it_remembered_is_repeated_and_adds_nothing(
    logged, spark, monkeypatch
):
    logged.write(played(20), refused(3))
    span = DrainedLog(logged.lake, logged.log).begin(ends(logged.log))
    drain_span(spark, logged.lake, logged.log, span)  # and dies here
    logged.write(played(21), refused(4))
    monkeypatch.setattr(drain_module, "finished_steps", lambda *_: {})  # or before its record
    ingest.main(logged.argv)
    assert logged.ids() == sorted(f"e{number}" for number in range(22))
    keys = sorted(str(row["event_id"]) for row in logged.rows("quarantine"))
    assert keys == ["None", "r1", "r2", "r3", "r4"]
    assert len({row["run_id"] for row in logged.steps()}) == 3


def test_a_lakehouse_that_forgot_how_far_it_was_takes_no_event_twice(logged):
    logged.lake.filesystem.rm(f"{logged.lake.uri}/drains", recursive=True)
    before = {table: logged.rows(table) for table in ("taste_edits", "onboarding")}
    logged.write(played(20))
    ingest.main(logged.argv)
    assert {table: logged.rows(table) for table in before} == before
    assert logged.ids() == sorted(f"e{number}" for number in range(21))


def test_events_that_name_people_who_were_erased_are_left_out(logged, capsys):
    forget(logged.lake, ["u1"])
    logged.write(played(31), played(32), picked("u1", completed=True), refused(5, device="u1"))
    ingest.main(logged.argv)
    assert "u1" not in json.dumps([logged.rows(t) for t in ("listens", "onboarding")], default=str)
    assert "e32" in logged.ids()
    assert "r5" not in {row["event_id"] for row in logged.rows("quarantine")}
    said = capsys.readouterr().out
    assert "listens: 2 events: 1 taken in, 0 repeated, 1 of erased people" in said
    assert DrainedLog(logged.lake, logged.log).begin(ends(logged.log)) is None


def test_events_that_the_gate_refuses_wait_until_somebody_overrules_it(logged, capsys):
    logged.write(played(40), played(41, item_id="t9"))
    with pytest.raises(GateError, match=r"item_id is not in items: 1"):
        drain(logged.lake, logged.log, KEEP_DAYS)
    assert "e40" not in logged.ids()
    logged.write(played(42))
    run_id = DrainedLog(logged.lake, logged.log).begin({**ends(logged.log)}).run_id
    override(logged.lake, run_id, "delivery", "listens.refused", "Mira", "the item was withdrawn")
    drain(logged.lake, logged.log, KEEP_DAYS)
    assert {"e40", "e42"} <= {*logged.ids()}
    (row,) = [row for row in logged.rows("quarantine") if row["event_id"] == "e41"]
    assert (row["ingest_id"], row["reasons"]) == (run_id, ["item_id is not in items (t9)"])
    assert "  1 rows: item_id is not in items" in capsys.readouterr().out
    assert run_id in finished_steps(logged.lake, run_id)["drain"]["run_id"]


def test_drained_segments_go_when_they_are_old_and_no_others(logged):
    drain(logged.lake, logged.log, KEEP_DAYS)
    assert list(logged.log.glob("*/*.log"))
    drain(logged.lake, logged.log, keep_days=0)
    assert not list(logged.log.glob("*/*.log"))
    logged.write(played(50))
    drain(logged.lake, logged.log, KEEP_DAYS)
    assert "e50" in logged.ids()


@pytest.mark.parametrize(
    "argv",
    [
        ["--from-log", "f", "--source", "s"],
        ["--from-log", "f", "--source", "s", "--data", "d"],
        ["--source", "s"],
        [],
    ],
)
def test_files_and_a_log_are_not_taken_in_at_once(argv, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        ingest.main([*argv, "--lakehouse", str(tmp_path)])
    assert end.value.code == 2
    assert "give --source and --data, or --from-log alone" in capsys.readouterr().err


def test_a_folder_without_a_log_ends_before_anything_is_made(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        ingest.main(["--from-log", str(tmp_path / "no"), "--lakehouse", str(tmp_path / "lake")])
    assert end.value.code == 2
    assert "there is no event log in" in capsys.readouterr().err
    assert not (tmp_path / "lake").exists()


def test_drained_segments_stay_for_two_weeks_unless_said_otherwise():
    assert Ingest.parse(["--from-log", "f", "--lakehouse", "l"]).keep_days == KEEP_DAYS


@pytest.mark.whole
def test_killed_at_the_worst_moments_it_ends_with_every_event_once(
    tmp_path, new_runs, shared_session
):
    shared_session("drain")
    logged, runs = Logged(tmp_path), new_runs()
    logged.write(*(played(number) for number in range(500)), *(refused(n) for n in range(9)))
    for pattern in (
        "staging/*/incoming/listens.jsonl",
        "tables/quarantine/_delta_log/00000000000000000001.json",
        "tables/listens/_delta_log/00000000000000000001.json",
    ):
        place = Path(logged.lake.uri)
        runs.kill_when(partial(_any_file, place, pattern), "jobs/ingest.py", *logged.argv)
        assert len(logged.ids()) in (0, 500)
        logged.write(played(len(logged.ids()) + 500))  # what comes meanwhile
    ingest.main(logged.argv)
    assert len(logged.ids()) == len(set(logged.ids())) == 502
    assert len(logged.rows("quarantine")) == 9
    assert [row["rows_in"] for row in logged.steps()] == [509, 3]
    assert not list(place.glob("staging/*"))


def _any_file(folder: Path, pattern: str) -> bool:
    return any(folder.glob(pattern))
