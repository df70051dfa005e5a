import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from lakehouse.live_checks import live_checks
from schemas.arrow import list_column
from schemas.contract import contract

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MORE, FEWER = 400, 120
WORDS = ("DE", "SE", "other")


def layout(words=WORDS, **more) -> str:
    widths = {"taste": ("vector", tuple("abcd")), "amounts": ("amounts", ("plays", "days"))}
    groups, start = [], 0
    for name, (kind, columns) in {**widths, "country": ("category", words), **more}.items():
        groups.append({"name": name, "kind": kind, "start": start, "columns": columns})
        start += len(columns)
    return json.dumps({"groups": groups})


USUAL = layout()


class Listeners:
    """The same people at every moment; rows of the three tables as some batch has them."""

    def __init__(self, count: int = MORE, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.count = count
        self.taste = rng.standard_normal((count, 4))
        self.taste /= np.linalg.norm(self.taste, axis=1, keepdims=True)
        self.amounts = rng.gamma(3, 1, (count, 2))
        self.home = rng.choice(3, count, p=[0.5, 0.3, 0.2])
        self.ids = [f"u{number:04d}" for number in range(count)]

    def features(self, words=WORDS, *, where=None, more: int = 0, as_of=NOON) -> pa.Table:
        """Rows of ``user_features``; ``more`` columns of one more group, known of everybody."""
        place = self.home if where is None else where
        country = np.eye(len(words))[place]
        values = np.hstack([self.taste, self.amounts, country, np.ones((self.count, more))])
        bits = np.ones((self.count, 3 + (more > 0)))
        since = {"played_between": [[]] * self.count, "decayed_plays": [[]] * self.count}
        since["fingerprint"] = [0] * self.count
        rows = {"features": list_column(values), "present": list_column(bits), **since}
        return self._table("user_features", as_of, **rows)

    def embeddings(self, vectors=None, as_of=NOON) -> pa.Table:
        """Rows of ``user_embeddings``: the tastes in 128 dimensions, turned."""
        turn = np.linalg.qr(np.random.default_rng(1).standard_normal((128, 128)))[0]
        chosen = self.taste @ turn[:4] if vectors is None else vectors
        return self._table(
            "user_embeddings",
            as_of,
            embedding=list_column(chosen),
            source=["batch"] * self.count,
            status=["established"] * self.count,
            fingerprint=[0] * self.count,
        )

    def _table(self, name: str, as_of: datetime, **columns) -> pa.Table:
        shared = {"batch_id": ["?"] * self.count, "user_id": self.ids, "bucket": [0] * self.count}
        rows = pa.table({**shared, "as_of": [as_of] * self.count, **columns})
        return rows.select(contract(name).column_names).cast(contract(name).arrow_schema)


PEOPLE = Listeners()


@pytest.fixture
def publish(lake, batches):
    """A function that publishes tables in a new batch, which has a state and a layout."""

    def made(*tables, state="building", layout=USUAL, of=None):
        batch_id = batches.open(NOON, {}, "s", "v").batch_id
        for name, rows in tables:
            own = rows.set_column(0, "batch_id", pa.array([batch_id] * len(rows)))
            lake.append(name, own)
            batches.record(batch_id, tables={name: lake.open(name).version()})
        recipe = {"rebuild": {"of": of}} if of else {}
        batches.record(batch_id, layout=layout, recipe=recipe)
        if state in ("candidate", "live"):
            batches.record(batch_id, state="candidate")
        return batches.promote(batch_id) if state == "live" else batches.get(batch_id)

    return made


def found(lake, table, batch, rows):
    return {check.check: check for check in live_checks(lake, table, batch, ds.dataset(rows))}


def broken(checks):
    return {name: check.level for name, check in checks.items() if not check.success}


def test_a_table_without_live_checks_is_not_even_read(lake, publish):
    assert live_checks(lake, "listens", publish(), None) == []


def test_of_the_first_batch_only_what_needs_no_other_is_said(lake, publish):
    batch = publish(("user_features", PEOPLE.features()))
    assert set(found(lake, "user_features", batch, PEOPLE.features())) == {"live.lengths"}
    checks = found(lake, "user_embeddings", batch, PEOPLE.embeddings())
    assert set(checks) == {"live.references", "live.collapse"}
    assert broken(checks) == {}


def test_the_same_again_holds_in_every_way(lake, publish):
    publish(("user_features", PEOPLE.features()), state="live")
    checks = found(lake, "user_features", publish(), PEOPLE.features())
    kinds = [f"{kind}.{group}" for kind in ("psi", "ks", "kept") for group in ("taste", "amounts")]
    assert {f"live.{name}" for name in kinds} < set(checks)
    assert broken(checks) == {}


def test_a_table_without_rows_lost_all_of_them(lake, publish):
    publish(("user_features", PEOPLE.features()), state="live")
    checks = found(lake, "user_features", publish(), PEOPLE.features()[:0])
    assert broken(checks) == {"live.row_count": "fail", "live.coverage": "fail"}
    assert checks["live.row_count"].observed == f"0 rows, {MORE} in the live batch"


def test_beside_a_live_table_without_rows_anything_is_more(lake, publish):
    publish(("user_features", PEOPLE.features()[:0]), state="live")
    checks = found(lake, "user_features", publish(), PEOPLE.features())
    assert broken(checks) == {}


def test_who_is_gone_is_named(lake, publish):
    publish(("user_features", PEOPLE.features()), state="live")
    check = found(lake, "user_features", publish(), PEOPLE.features()[60:])["live.coverage"]
    assert (check.level, check.success) == ("fail", False)
    assert check.observed == "85.00% of the live batch's user_ids are here"
    assert check.worst[0] == "u0000 is gone"
    assert check.expected == "at least 0.9 to pass, at least 0.98 without a warning"


def test_far_more_users_are_a_warning_and_no_reason_to_stop(lake, publish):
    few = Listeners(FEWER)
    publish(("user_features", few.features()), state="live")
    crowd = Listeners(10 * FEWER)
    crowd.taste[:FEWER], crowd.amounts[:FEWER] = few.taste, few.amounts
    crowd.home[:FEWER] = few.home
    checks = found(lake, "user_features", publish(), crowd.features())
    assert broken(checks) == {"live.growth": "warn"}


def test_a_word_that_gets_a_column_of_its_own_was_other_before(lake, publish):
    publish(("user_features", PEOPLE.features()), state="live")
    words = ("DE", "NO", "SE", "other")
    where = np.array([0, 2, 1])[PEOPLE.home]  # whoever was other is from Norway
    batch = publish(layout=layout(words))
    checks = found(lake, "user_features", batch, PEOPLE.features(words, where=where))
    assert broken(checks) == {}
    assert "live.psi.country" in checks


def test_a_group_that_the_live_batch_does_not_know_is_new_and_said_so(lake, publish):
    publish(("user_features", PEOPLE.features()), state="live")
    batch = publish(layout=layout(mood=("distribution", ("good", "bad"))))
    checks = found(lake, "user_features", batch, PEOPLE.features(more=2))
    assert broken(checks) == {"live.presence": "fail"}
    said = checks["live.presence"].observed
    assert said == "mood: 100.0% of users have it, 0.0% in the live batch"


def test_rows_that_do_not_fit_their_layout_are_not_compared_group_by_group(lake, publish):
    publish(("user_features", PEOPLE.features()), state="live")
    checks = found(lake, "user_features", publish(), PEOPLE.features(more=1))
    assert broken(checks) == {"live.lengths": "fail"}
    assert checks["live.lengths"].observed == (
        f"features: {MORE} of {MORE}, present: {MORE} of {MORE} rows have another length"
    )
    assert not any(name.startswith("live.psi") for name in checks)


def test_what_has_drifted_shows_how_both_are_distributed(lake, publish):
    publish(("user_features", PEOPLE.features()), state="live")
    many = Listeners()
    many.amounts[:, 1] += 3
    checks = found(lake, "user_features", publish(), many.features())
    assert broken(checks) == {"live.psi.amounts": "fail", "live.ks.amounts": "fail"}
    plot = json.loads(checks["live.ks.amounts"].plot)
    assert plot["name"] == "amounts, days"
    assert len(plot["edges"]) == len(plot["now"]) + 1 == len(plot["live"]) + 1
    assert "'days'" in checks["live.psi.amounts"].observed
    assert checks["live.psi.country"].plot is None


def test_what_has_moved_no_further_than_the_contract_lets_it_has_not_drifted(lake, publish):
    publish(("user_features", PEOPLE.features()), state="live")
    within = {item.check: item for item in contract("user_features").live_checks}["ks"].options
    older = Listeners()
    older.amounts += 0.9 * within["within"]["amounts"]
    assert broken(found(lake, "user_features", publish(), older.features())) == {}


def test_a_space_that_was_turned_is_the_same_to_every_check(lake, publish):
    publish(("user_features", PEOPLE.features()), state="live")
    turned = Listeners()
    turned.taste = turned.taste @ np.linalg.qr(np.random.default_rng(2).random((4, 4)))[0]
    checks = found(lake, "user_features", publish(), turned.features())
    assert broken(checks) == {}
    assert "live.kept.taste" in checks


def test_values_of_other_users_are_seen_though_every_column_is_distributed_as_before(lake, publish):
    publish(("user_features", PEOPLE.features()), state="live")
    mixed = Listeners()
    mixed.amounts = np.random.default_rng(3).permutation(mixed.amounts)
    checks = found(lake, "user_features", publish(), mixed.features())
    assert broken(checks) == {"live.kept.amounts": "fail"}


def test_readers_are_not_taken_back_in_time(lake, publish):
    publish(("user_features", PEOPLE.features()), state="live")
    for hours, expected in ((12, "warn"), (48, "fail"), (-48, None)):
        rows = PEOPLE.features(as_of=NOON - timedelta(hours=hours))
        level = broken(found(lake, "user_features", publish(), rows)).get("live.freshness")
        assert level == expected


def test_users_who_are_nobody_are_named(lake, publish):
    known = PEOPLE.features()[:-3]
    check = found(lake, "user_embeddings", publish(("user_features", known)), PEOPLE.embeddings())
    assert broken(check) == {"live.references": "fail"}
    assert check["live.references"].worst == [f"u0{n} is unknown" for n in (397, 398, 399)]


def test_embeddings_are_compared_by_who_is_near_whom(lake, publish):
    publish(
        ("user_features", PEOPLE.features()), ("user_embeddings", PEOPLE.embeddings()), state="live"
    )
    batch = publish(("user_features", PEOPLE.features()))
    vectors = np.random.default_rng(4).permutation(PEOPLE.taste) @ np.eye(4, 128)
    checks = found(lake, "user_embeddings", batch, PEOPLE.embeddings(vectors))
    assert broken(checks) == {"live.neighbours": "fail"}


def test_few_rows_are_not_compared_as_samples(lake, publish):
    few = Listeners(30)
    publish(("user_features", few.features()), state="live")
    other = Listeners(30, seed=5)
    checks = found(lake, "user_features", publish(), other.features())
    assert not any(name.startswith(("live.psi", "live.ks", "live.kept")) for name in checks)


def test_a_rebuild_is_compared_with_its_original(lake, publish):
    original = publish(("user_features", PEOPLE.features()[:200]), state="candidate")
    publish(("user_features", PEOPLE.features()), state="live")
    again = publish(of=original.batch_id)
    check = found(lake, "user_features", again, PEOPLE.features()[:200])["live.row_count"]
    assert check.observed == "200 rows, 200 in the live batch"


def test_a_refresh_is_compared_with_what_it_replaces(lake, batches, publish):
    old = publish(("user_features", PEOPLE.features()[:200]), state="live")
    publish(("user_features", PEOPLE.features()), state="live")
    batches.begin_refresh(old.batch_id, NOON + timedelta(days=7), {})
    refreshed = batches.get(old.batch_id).refreshed()
    check = found(lake, "user_features", refreshed, PEOPLE.features()[:200])["live.row_count"]
    assert check.observed == "200 rows, 200 in the live batch"
