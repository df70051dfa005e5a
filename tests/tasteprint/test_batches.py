import pytest

from lakehouse.consumers import ConsumerRegistry
from tasteprint.cli import main


@pytest.fixture
def batches(lake, capsys):
    """Runs a subcommand of ``batches``; returns the exit status and what it said."""

    def run(*argv: str) -> tuple[int, str]:
        try:
            main(["batches", *argv, "--lakehouse", lake.uri])
        except SystemExit as ended:
            return ended.code, capsys.readouterr().err
        return 0, capsys.readouterr().out

    return run


def test_batches_are_listed_with_their_states_and_readers(lake, batch_of, batches):
    batch = batch_of(lake, state="live")
    ConsumerRegistry(lake).register("ranker")
    shown = batches("list")[1]
    assert all(word in shown for word in (batch.batch_id, "live", "ranker"))


def test_a_candidate_is_promoted_and_shown_as_live(lake, batch_of, batches):
    batch = batch_of(lake, state="candidate")
    assert batches("promote", batch.batch_id) == (0, f"{batch.batch_id} is live\n")
    shown = batches("show", "live")[1]
    assert batch.batch_id in shown
    assert "listens at 0" in shown


def test_a_batch_that_is_building_is_not_promoted(lake, batch_of, batches):
    batch = batch_of(lake)
    status, said = batches("promote", batch.batch_id)
    assert status == 4
    assert "only a candidate" in said
    assert lake.batches.get(batch.batch_id).state == "building"


def test_promotion_waits_for_consumers_or_promises_them_the_legacy_batch(lake, batch_of, batches):
    old, new = batch_of(lake, state="live"), batch_of(lake, state="candidate")
    ConsumerRegistry(lake).register("search")
    status, said = batches("promote", new.batch_id)
    assert status == 4
    assert "search is not ready" in said
    status, said = batches("promote", new.batch_id, "--legacy-until", "2027-01-31")
    assert status == 0
    assert f"{old.batch_id} is legacy for search" in said
    assert "2027-01-31" in batches("list")[1]
    assert batches("retire", old.batch_id)[0] == 4


def test_rollback_makes_the_batch_before_live_again(lake, batch_of, batches):
    old, new = batch_of(lake, state="live"), batch_of(lake, state="candidate")
    batches("promote", new.batch_id)
    assert batches("rollback") == (0, f"{old.batch_id} is live again\n")
    assert lake.batches.get("live").batch_id == old.batch_id


def test_a_difference_between_two_batches_is_a_line(lake, batch_of, batches):
    one, other = batch_of(lake, state="live"), batch_of(lake)
    lake.batches.record(other.batch_id, recipe={"train": {"seed": 7}}, parents={"listens": 4})
    shown = batches("diff", "live", other.batch_id)[1]
    assert "input listens" in shown
    assert "train seed" in shown
    assert "as of" not in shown
    assert one.batch_id in shown


def test_a_retired_batch_says_so(lake, batch_of, batches):
    batch = batch_of(lake, state="candidate")
    assert batches("retire", batch.batch_id) == (0, f"{batch.batch_id} is retired\n")


def test_no_lakehouse_is_an_error_not_an_empty_table(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["batches", "list", "--lakehouse", str(tmp_path / "nothing")])
    assert ended.value.code == 2
    assert "there is no lakehouse at" in capsys.readouterr().err
    assert not (tmp_path / "nothing").exists()
