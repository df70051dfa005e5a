import pytest

from lakehouse.checks import Check, Verdict
from lakehouse.gate import settled
from tasteprint.cli import main


def check(name: str, *, success: bool, level: str = "fail") -> Check:
    return Check(
        check=name,
        expectation="the sky is blue",
        column=None,
        level=level,
        success=success,
        expected="blue",
        observed="it is grey",
        unexpected_count=1,
        examples=[],
    )


@pytest.fixture
def stopped(lake, batch_of):
    """A batch whose gate said no."""
    batch = batch_of(lake, state="failed")
    checks = [check("sky.blue", success=False), check("grass.green", success=True)]
    settled(lake, Verdict(run_id=batch.batch_id, table="items", rows=1, checks=checks))
    return batch


def test_what_is_broken_is_shown_with_what_was_seen(lake, stopped, capsys):
    main(["gates", "show", stopped.batch_id, "--lakehouse", lake.uri])
    shown = capsys.readouterr().out
    assert "1 of 2 held" in shown
    assert "sky.blue" in shown
    assert "grass.green" not in shown


def test_an_override_lets_the_batch_be_built_further(lake, stopped, capsys):
    answer = ["--by", "Mira", "--reason", "the sky was replaced"]
    where = ["--lakehouse", lake.uri]
    main(["gates", "override", stopped.batch_id, "items", "sky.blue", *answer, *where])
    assert lake.batches.get(stopped.batch_id).state == "building"
    again = settled(
        lake,
        Verdict(
            run_id=stopped.batch_id,
            table="items",
            rows=1,
            checks=[check("sky.blue", success=False)],
        ),
    )
    assert again.outcome == "overridden"
    main(["gates", "show", stopped.batch_id, *where])
    assert "overridden" in capsys.readouterr().out


def test_an_override_needs_a_name_and_a_reason(lake, stopped, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["gates", "override", stopped.batch_id, "items", "sky.blue", "--lakehouse", lake.uri])
    assert ended.value.code == 2
    assert "reason" in capsys.readouterr().err


@pytest.mark.usefixtures("stopped")
def test_a_run_that_no_gate_has_seen_is_an_error(lake, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["gates", "show", "b9", "--lakehouse", lake.uri])
    assert ended.value.code == 2
    assert "no gate has seen" in capsys.readouterr().err
