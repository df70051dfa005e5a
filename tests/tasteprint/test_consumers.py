import pytest

from tasteprint.cli import main


@pytest.fixture
def consumers(lake, capsys):
    """Runs a subcommand of ``consumers``; returns what it said."""

    def run(*argv: str) -> str:
        main(["consumers", *argv, "--lakehouse", lake.uri])
        return capsys.readouterr().out

    return run


def test_a_consumer_moves_when_the_batch_it_is_ready_for_is_promoted(
    lake, batch_of, consumers, capsys
):
    old, new = batch_of(lake, state="live"), batch_of(lake, state="candidate")
    said = consumers("register", "ranker", "--contact", "ranking@example.com")
    assert said == f"ranker is trained on {old.batch_id}\n"
    assert consumers("ready", "ranker", new.batch_id) == f"ranker is ready for {new.batch_id}\n"
    main(["batches", "promote", new.batch_id, "--lakehouse", lake.uri])
    capsys.readouterr()
    shown = consumers("list")
    assert "(live)" in shown
    assert "ranking@" in shown


def test_who_moves_late_moves_at_once(lake, batch_of, consumers):
    batch_of(lake, state="live")
    consumers("register", "ranker")
    new = batch_of(lake, state="candidate")
    lake.batches.promote(new.batch_id, legacy_until=new.as_of)
    assert consumers("ready", "ranker", "live") == f"ranker is trained on {new.batch_id}\n"


def test_a_consumer_that_is_no_more_holds_no_batch(lake, batch_of, consumers):
    batch_of(lake, state="live")
    consumers("register", "ranker")
    consumers("remove", "ranker")
    assert lake.batches.get("live").consumers == ()


def test_an_unknown_consumer_is_an_error(lake, batch_of, capsys):
    batch_of(lake, state="live")
    with pytest.raises(SystemExit) as ended:
        main(["consumers", "ready", "nobody", "live", "--lakehouse", lake.uri])
    assert ended.value.code == 2
    assert "no consumer 'nobody'" in capsys.readouterr().err
