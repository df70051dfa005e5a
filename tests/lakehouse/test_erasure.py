import copy
import gzip
import html
import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

from lakehouse import erasure
from lakehouse.batches import BatchRegistry
from lakehouse.checks import Check, Verdict
from lakehouse.erasure import forget, require_no_erasure, survey
from lakehouse.export_folders import exports_of
from lakehouse.exporting import export
from lakehouse.exports import Export
from lakehouse.gate import settled
from lakehouse.report import write_report
from lakehouse.side_car import Asked
from lakehouse.storage import Lakehouse
from lakehouse.suppression import suppressed
from lakehouse.versions import Files
from schemas.errors import BatchError, InputError

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
GONE = 'o\'Brien ünïd "42" <gone>'
OTHERS = ("ann", "o'Brien", "böb")
INPUTS = ("users", "listens", "onboarding", "playlists", "taste_edits")
OF_BATCHES = ("user_features", "training_examples", "user_embeddings", "user_sequences")


class World:
    """A lakehouse with every state a batch can be in, and one user wherever a user can be.

    The batches pin the inputs at three versions: before the user came, and twice after.
    """

    def __init__(self, folder: Path, rows_of) -> None:
        self.lake, self.rows_of = Lakehouse(str(folder)), rows_of
        self.registry = BatchRegistry(self.lake)
        self.put_inputs(OTHERS[0])
        self.early = self.batch("candidate")
        self.put_inputs(OTHERS[1], GONE)
        self.legacy, self.retired = self.batch("candidate"), self.batch("candidate")
        self.put_inputs(OTHERS[2])
        self.put_more_listens()
        self.live, self.failed = self.batch("candidate"), self.batch("failed")
        self.building = self.batch("building")
        self.registry.promote(self.legacy)
        self.registry.promote(self.live)
        for batch_id in (self.live, self.retired):
            self.export(batch_id)
        self.registry.retire(self.retired)
        self.quote()
        self.leave_behind()

    def copied(self, folder: Path) -> "World":
        shutil.copytree(self.lake.uri, folder)
        other = copy.copy(self)
        other.lake = Lakehouse(str(folder))
        other.registry = BatchRegistry(other.lake)
        return other

    def put_inputs(self, *users: str) -> None:
        for user in users:
            rows = {
                "users": {"user_id": user},
                "listens": {"user_id": user, "event_id": f"first of {len(user)}"},
                "onboarding": {"user_id": user},
                "playlists": {"user_id": user, "playlist_id": f"of {len(user)}"},
                "taste_edits": {"user_id": user, "edit_id": f"edit of {len(user)}"},
            }
            for table in INPUTS:
                self.lake.append(table, self.rows_of(table, rows[table]))

    def put_more_listens(self) -> None:
        rows = [{"event_id": f"e{n}", "user_id": user} for n, user in enumerate((*OTHERS, GONE))]
        self.lake.append("listens", self.rows_of("listens", *rows))

    def batch(self, state: str) -> str:
        parents = {table: self.lake.open(table).version() for table in INPUTS}
        batch_id = self.registry.open(AS_OF, parents, "s", "v").batch_id
        tables = {table: self.publish(table, batch_id) for table in OF_BATCHES}
        self.registry.record(batch_id, tables=tables)
        if state != "building":
            self.registry.record(batch_id, state=state)
        return batch_id

    def publish(self, table: str, batch_id: str, *users: str) -> int:
        rows = [{"batch_id": batch_id, "user_id": user} for user in users or (*OTHERS, GONE)]
        target, whose = self.lake.ensure(table), f"batch_id = '{batch_id}'"
        write_deltalake(target, self.rows_of(table, *rows), mode="overwrite", predicate=whose)
        return self.lake.open(table).version()

    def quote(self) -> None:
        """Name the user in every text that quotes values."""
        deep = {"plays": [{"who": {"id": GONE}}], "ms": 3}
        refused = [
            {"table": "users", "event_id": GONE, "row": json.dumps({"user": GONE})},
            {"table": "listens", "event_id": "e", "row": json.dumps(deep, ensure_ascii=False)},
            {"table": "listens", "event_id": "f", "row": json.dumps({"user": OTHERS[1]})},
            {"table": "onboarding", "event_id": f"{GONE}/x", "row": "{}", "user_id": GONE},
            {"event_id": None, "row": json.dumps({"_corrupt_record": json.dumps([GONE, 1])})},
        ]
        self.lake.append("quarantine", self.rows_of("quarantine", *refused))
        check = Check(
            check="user_id.known",
            expectation="everybody is known",
            column="user_id",
            level="fail",
            success=False,
            expected="",
            observed="2 of 4 rows break it",
            unexpected_count=2,
            examples=[GONE, OTHERS[0]],
            worst=[f"{self.live} / {GONE}", f"{GONE} is gone"],
        )
        settled(self.lake, Verdict(run_id=self.live, table="users", rows=4, checks=[check]))
        said = {"run_id": self.live, "reason": f"{GONE} is a test user"}
        self.lake.append("overrides", self.rows_of("overrides", said))
        metrics = {"neighbours": [{"user_id": GONE, "plays": "A", "neighbours": []}]}
        self.registry.record(self.legacy, metrics=json.dumps(metrics))
        write_report(self.lake, self.live)

    def export(self, batch_id: str) -> str:
        """Write the vectors of a batch as files; returns where."""
        asked = Asked(formats=("parquet", "npy"))
        return export(self.lake, self.registry.get(batch_id), asked)[0]

    def leave_behind(self) -> None:
        """What processes that died leave: staged rows, checkpoints, files that no commit names."""
        rows = self.rows_of("listens", {"user_id": GONE})
        self.file("staging/ingest-x/listens/part-0.parquet", rows)
        self.file("checkpoints/b/examples.parquet", rows)
        for place in (f"batch_id={self.building}/bucket-0.parquet", "part-1.parquet.partial"):
            self.file(f"tables/user_embeddings/{place}", rows)
        self.file("tables/semantic_ids/batch_id=b/first.parquet", rows)  # no table yet
        self.lake.write_text(f"{self.lake.uri}/reports/{self.live}/index.html.aside", GONE)
        self.lake.write_text(f"{self.lake.uri}/models/{self.retired}/model.json", "{}")

    def file(self, place: str, rows: pa.Table) -> None:
        path = Path(self.lake.uri) / place
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(rows, path)

    def readable(self) -> dict:
        """What every batch that is not retired reads, without the user."""
        return {
            (batch.batch_id, table): sorted(
                str(row)
                for row in self.lake.read(table, batch).to_pylist()
                if row["user_id"] != GONE
            )
            for batch in self.registry.list()
            if batch.state != "retired"
            for table in (*INPUTS, *OF_BATCHES)
        }


def spellings(user: str) -> set[str]:
    """How an id may be written in a file of text."""
    found = {user, quote(user), html.escape(user), html.escape(user).replace("&#x27;", "&#39;")}
    for ascii_only in (True, False):
        for written in list(found):
            once = json.dumps(written, ensure_ascii=ascii_only)[1:-1]
            found |= {once, json.dumps(once)[1:-1]}
    return found


def traces(lake: Lakehouse, user: str) -> list[str]:
    """Every file under the lakehouse that holds the id, Parquet decoded, in whatever spelling."""
    return [
        str(path)
        for path in Path(lake.uri).rglob("*")
        if any(spelt in str(path) for spelt in spellings(user))
        or (path.is_file() and _holds(path, spellings(user)))
    ]


def _holds(path: Path, texts: set[str]) -> bool:
    data = path.read_bytes()
    if data[:4] == b"PAR1":
        statistics = str(pq.read_metadata(path).to_dict())
        rows = pq.ParquetFile(path).read().to_pylist()
        return any(text in said for said in (_told(rows), statistics) for text in texts)
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    codes = ("utf-8", "utf-16-le", "utf-16-be")
    return any(text.encode(code) in data for code in codes for text in texts)


def _told(value) -> str:
    """Every text within a value, at any depth."""
    match value:
        case dict():
            return "\n".join(map(_told, (*value.keys(), *value.values())))
        case list() | tuple():
            return "\n".join(map(_told, value))
        case bytes():
            return value.decode(errors="replace")
    return str(value)


@pytest.fixture(scope="module")
def built(tmp_path_factory, rows_of):
    return World(tmp_path_factory.mktemp("built") / "lake", rows_of)


@pytest.fixture
def world(built, tmp_path):
    """The world for one test alone."""
    return built.copied(tmp_path / "copy")


@pytest.fixture(scope="module")
def forgotten(built, tmp_path_factory):
    """The world after the user was forgotten, only to be read, and the receipt."""
    world = built.copied(tmp_path_factory.mktemp("forgotten") / "lake")
    world.receipt = forget(world.lake, [GONE])[GONE]
    return world


def test_a_user_is_nowhere_and_everybody_else_is_as_before(built, forgotten):
    assert len(traces(built.lake, GONE)) > 20
    assert traces(forgotten.lake, GONE) == []
    assert forgotten.readable() == built.readable()


def test_a_user_leaves_a_receipt_without_their_id(forgotten):
    (receipt,) = forgotten.lake.open("erasures").to_pyarrow_table().to_pylist()
    assert receipt["erasure_id"] == forgotten.receipt.erasure_id
    assert receipt["completed_at"] > receipt["requested_at"]
    assert "listens:2" in receipt["removed"]
    assert "user_embeddings:6" in receipt["removed"]
    assert "quarantine:4" in receipt["removed"]
    assert suppressed(forgotten.lake).holds(GONE)
    assert not suppressed(forgotten.lake).holds(OTHERS[0])


def test_rows_of_others_stay_in_quarantine_and_texts_keep_the_rest(forgotten):
    (kept,) = forgotten.lake.open("quarantine").to_pyarrow_table().to_pylist()
    assert kept["event_id"] == "f"
    (check,) = forgotten.lake.open("validations").to_pyarrow_table().to_pylist()
    assert check["examples"] == ["(erased)", OTHERS[0]]
    assert check["worst"] == [f"{forgotten.live} / (erased)", "(erased) is gone"]
    (reason,) = forgotten.lake.open("overrides").to_pyarrow_table()["reason"].to_pylist()
    assert reason == "(erased) is a test user"


def test_exports_that_held_the_user_are_removed_and_can_be_made_again_without(world):
    said = []
    assert GONE in Export.open(world.export(world.live)).users.ids.to_pylist()
    forget(world.lake, [GONE], said.append)
    assert exports_of(world.lake) == {}
    told = [line for line in said if f"`tasteprint export {world.live}` makes it again" in line]
    assert len(told) == 1
    assert not any(f"export {world.retired}" in line for line in said)  # nobody can
    again = Export.open(world.export(world.live))
    assert sorted(again.users.ids.to_pylist()) == sorted(OTHERS)


def test_exports_of_batches_that_never_held_the_user_stay(lake, two_spaces):
    old, live = two_spaces()
    rows = lake.read("user_embeddings", live)
    lake.open("user_embeddings").delete(f"batch_id = '{live.batch_id}'")
    lake.append("user_embeddings", rows.slice(1))
    version = lake.open("user_embeddings").version()
    live = lake.batches.record(live.batch_id, tables={"user_embeddings": version})
    asked = Asked(formats=("npy",))
    places = [export(lake, batch, asked)[0] for batch in (old, live)]
    forget(lake, [rows["user_id"][0].as_py()])
    assert list(exports_of(lake)) == [places[1]]
    assert lake.batches.get("live").tables["user_embeddings"] > version
    assert export(lake, lake.batches.get("live"), asked)[2] is False


def test_versions_that_never_held_the_user_stay_pinned(built, forgotten):
    pinned = built.registry.get(built.early).parents
    assert forgotten.registry.get(forgotten.early).parents == pinned


def test_the_newest_version_is_the_newest_again(forgotten):
    users = forgotten.lake.open("listens").to_pyarrow_table()["user_id"].to_pylist()
    assert sorted(users) == sorted([*OTHERS, *OTHERS])


def test_many_are_forgotten_in_one_pass_and_have_a_receipt_each(world):
    receipts = forget(world.lake, [GONE, OTHERS[0], GONE])
    assert traces(world.lake, GONE) == []
    assert receipts.keys() == {GONE, OTHERS[0]}
    assert len({one.erasure_id for one in receipts.values()}) == 2
    assert receipts[OTHERS[0]].removed["listens"] == 2
    users = world.lake.read("user_features", world.live)["user_id"].to_pylist()
    assert sorted(users) == sorted(OTHERS[1:])


def test_a_user_who_is_nowhere_is_kept_out_from_now_on(world):
    version = world.lake.open("listens").version()
    assert forget(world.lake, ["nobody"])["nobody"].removed == {}
    assert suppressed(world.lake).holds("nobody")
    assert world.lake.open("listens").version() == version


def test_a_lakehouse_where_nothing_was_ingested_forgets_too(lake):
    forget(lake, [GONE])
    assert traces(lake, GONE) == []


@pytest.mark.parametrize("user", ["u 1", "ünï", "a'b", 'a"b', "a\\b", "a/b", "17", "x%20y", "日本"])
def test_ids_may_be_spelt_in_any_way(lake, rows_of, user):
    others = [f"{user}{user}", f"{user}x", "x"]
    rows = [{"user_id": name} for name in (user, *others)]
    lake.append("users", rows_of("users", *rows))
    refused = {"row": json.dumps({"user": user}, ensure_ascii=False), "event_id": f"{user}/p"}
    lake.append("quarantine", rows_of("quarantine", refused))
    assert forget(lake, [user])[user].removed == {"users": 1, "quarantine": 1}
    assert sorted(lake.open("users").to_pyarrow_table()["user_id"].to_pylist()) == sorted(others)
    assert lake.open("quarantine").count() == 0


@pytest.mark.parametrize("users", [[], [""]])
def test_an_empty_id_is_refused(lake, users):
    with pytest.raises(InputError, match="whom to forget"):
        forget(lake, users)


def test_where_a_user_is_can_be_seen_without_changing_anything(world):
    before = sorted(Path(world.lake.uri).rglob("*"))
    found = survey(world.lake, [GONE])
    assert sorted(Path(world.lake.uri).rglob("*")) == before
    assert set(found) == {*INPUTS, *OF_BATCHES, "quarantine"}
    assert found["listens"].rows == {GONE: 2}
    assert len(found["listens"].versions) == 2


def test_a_refresh_under_way_is_dropped_and_the_served_rows_stay(world):
    served = world.lake.read("user_features", world.live).to_pylist()
    world.registry.begin_refresh(world.live, AS_OF, {})
    version = world.publish("user_features", world.live, "new", GONE)
    world.registry.record(world.live, tables={"user_features": version})
    forget(world.lake, [GONE])
    now = world.registry.get(world.live)
    assert now.refresh is None
    rows = world.lake.read("user_features", now).to_pylist()
    assert sorted(map(str, rows)) == sorted(str(r) for r in served if r["user_id"] != GONE)
    assert traces(world.lake, GONE) == []


def test_a_table_whose_log_may_name_the_user_is_not_touched(lake, rows_of):
    write_deltalake(lake.table_uri("users"), rows_of("users", {"user_id": GONE}))
    with pytest.raises(InputError, match=r"users of .* was made before ranges"):
        forget(lake, [GONE])
    assert lake.open("users").count() == 1
    require_no_erasure(lake)


class CrashedError(BaseException):
    """A process that ends in the middle."""


POINTS = (
    (Files, "put"),
    (Files, "rewrite"),
    (erasure, "_note"),
    (erasure, "_keep_receipts"),
    (erasure, "erase_traces"),
    (erasure, "vacuum"),
    (BatchRegistry, "repin"),
)


def crash_after(calls: int, monkeypatch) -> None:
    """Let the process die when it has made so many of the changes that ``POINTS`` names."""
    left = [calls]

    def until(change):
        def changed(*args, **kwargs):
            if left[0] == 0:
                raise CrashedError
            left[0] -= 1
            return change(*args, **kwargs)

        return changed

    for owner, name in POINTS:
        monkeypatch.setattr(owner, name, until(getattr(owner, name)))


def test_an_erasure_may_die_after_any_step_and_be_repeated(world, monkeypatch):
    before, steps = world.readable(), 0
    while True:
        with monkeypatch.context() as patch:
            crash_after(steps, patch)
            try:
                forget(world.lake, [GONE])
                break
            except CrashedError:
                steps += 1
        assert world.readable() == before
    assert steps > 15
    assert world.readable() == before
    assert traces(world.lake, GONE) == []
    (receipt,) = world.lake.open("erasures").to_pyarrow_table().to_pylist()
    assert "listens:2" in receipt["removed"]


@pytest.mark.parametrize("point", ["repin", "_note", "vacuum"])
def test_an_erasure_that_is_killed_is_ended_by_the_same_command(world, point):
    before = world.readable()
    script = f"""
import os, sys
from lakehouse import erasure
from lakehouse.batches import BatchRegistry
from lakehouse.storage import Lakehouse
owner = BatchRegistry if "{point}" == "repin" else erasure
change = owner.{point}
def killed(*args, **kwargs):
    change(*args, **kwargs)
    os._exit(9)
owner.{point} = killed
erasure.forget(Lakehouse(sys.argv[1]), [sys.argv[2]])
"""
    argv = [sys.executable, "-c", script, world.lake.uri, GONE]
    assert subprocess.run(argv, check=False, env={**os.environ}).returncode == 9
    with pytest.raises(BatchError, match="somebody is being erased"):
        require_no_erasure(world.lake)
    with pytest.raises(BatchError, match="the erasure of somebody else"):
        forget(world.lake, ["somebody else"])
    assert world.readable() == before
    forget(world.lake, [GONE])
    require_no_erasure(world.lake)
    assert world.readable() == before
    assert traces(world.lake, GONE) == []


def test_an_erasure_may_be_asked_for_twice(world):
    forget(world.lake, [GONE])
    before = world.readable()
    assert forget(world.lake, [GONE])[GONE].removed == {}
    assert world.readable() == before


def test_a_batch_whose_inputs_changed_is_not_written_from_what_was_read(world):
    from lakehouse.publish import require_writable

    stale = world.registry.get(world.building)
    forget(world.lake, [GONE])
    with pytest.raises(BatchError, match="a person was erased"):
        require_writable(world.lake, stale)


@pytest.mark.spark
def test_spark_reads_every_pinned_version_and_its_checkpoints_name_nobody(world, spark):
    for table in (*INPUTS, *OF_BATCHES):
        world.lake.open(table).create_checkpoint()
    before = world.readable()
    forget(world.lake, [GONE])
    for batch in world.registry.list():
        if batch.state == "retired":
            continue
        for table in (*INPUTS, *OF_BATCHES):
            reader = spark.read.format("delta").option("versionAsOf", batch.version_of(table))
            frame = reader.load(world.lake.table_uri(table))
            if table in OF_BATCHES:
                frame = frame.where(frame.batch_id == batch.batch_id)
            assert frame.count() == len(before[batch.batch_id, table])
            assert frame.where(frame.user_id == GONE).count() == 0
        world.lake.open(table).create_checkpoint()
    assert traces(world.lake, GONE) == []


@pytest.mark.spark
def test_the_log_of_what_spark_writes_names_nobody(lake, rows_of, spark):
    """MERGE as ingest does it, a batch's partition as features are published, and checkpoints."""
    from delta.tables import DeltaTable

    for table, key in (("users", "user_id"), ("user_features", "batch_id")):
        lake.ensure(table).alter.set_table_properties({"delta.checkpointInterval": "2"})
        place = lake.table_uri(table)
        for _ in range(4):
            rows = rows_of(table, {"user_id": GONE, "batch_id": "b"})
            pq.write_table(rows, f"{place}.parquet")
            frame = spark.read.parquet(f"{place}.parquet")
            if key == "user_id":
                target = DeltaTable.forPath(spark, place).alias("old")
                change = target.merge(frame.alias("new"), "old.user_id = new.user_id")
                change.whenMatchedUpdateAll().whenNotMatchedInsertAll().execute()
            else:
                writer = frame.write.format("delta").mode("overwrite")
                writer.option("replaceWhere", "batch_id = 'b'").save(place)
        log = Path(place) / "_delta_log"
        assert list(log.glob("*.checkpoint*.parquet"))
        assert [p for p in log.iterdir() if _holds(p, spellings(GONE))] == []
