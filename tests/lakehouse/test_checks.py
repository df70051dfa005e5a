import math

import pytest

from lakehouse.checks import Check, Verdict, level_of
from schemas.errors import GateError


def check(name="sky.blue", level="fail", *, success=False, **more):
    return Check(
        check=name,
        expectation="the sky is blue",
        column="sky",
        level=level,
        success=success,
        expected="blue",
        observed="1 of 6 rows break it",
        unexpected_count=0 if success else 1,
        examples=[],
        **more,
    )


def verdict(*checks):
    return Verdict(run_id="r", table="weather", rows=6, checks=list(checks))


HELD, WARNED, BROKEN = check(success=True), check(level="warn"), check()
OVERRIDDEN = check(overridden="Ada: it is evening")


@pytest.mark.parametrize(
    ("checks", "outcome"),
    [
        ([], "passed"),
        ([HELD], "passed"),
        ([HELD, WARNED], "warned"),
        ([OVERRIDDEN, WARNED], "overridden"),
        ([WARNED, OVERRIDDEN, BROKEN], "failed"),
    ],
)
def test_a_verdict_is_the_worst_that_was_found(checks, outcome):
    assert verdict(*checks).outcome == outcome
    assert verdict(*checks).passed == (outcome != "failed")


def test_what_passed_its_gate_is_let_through():
    let_through = verdict(HELD, WARNED, OVERRIDDEN)
    let_through.require("the report")
    assert let_through.passed


def test_what_is_stopped_says_by_which_checks_and_how_to_go_on():
    evening = check("sky.evening", worst=["row 3 (red)", "row 5 (grey)"])
    with pytest.raises(GateError) as error:
        verdict(HELD, WARNED, OVERRIDDEN, evening).require("reports/r")
    said = str(error.value)
    assert "nothing of it was published" in said
    assert said.count("[sky.") == 1
    assert "1 of 6 rows break it, for example row 3 (red), row 5 (grey) [sky.evening]" in said
    assert "reports/r" in said
    assert "tasteprint gates override r weather CHECK --by NAME --reason WHY" in said


@pytest.mark.parametrize(
    ("measured", "found"),
    [
        (0.05, ("fail", True)),
        (0.1, ("fail", True)),
        (0.15, ("warn", False)),
        (0.25, ("warn", False)),
        (0.3, ("fail", False)),
        (math.nan, ("fail", False)),
    ],
)
def test_a_measure_may_rise_to_its_bounds_and_no_number_is_within_none(measured, found):
    assert level_of(measured, 0.1, 0.25, below=False) == found


@pytest.mark.parametrize(
    ("measured", "found"),
    [(0.9, ("fail", True)), (0.7, ("warn", False)), (0.4, ("fail", False))],
)
def test_of_some_measures_too_small_is_what_is_wrong(measured, found):
    assert level_of(measured, 0.9, 0.5, below=True) == found


def test_a_check_that_may_only_warn_never_fails():
    assert level_of(9.0, 0.1, None, below=False) == ("warn", False)
    assert level_of(0.0, 0.1, None, below=False) == ("warn", True)
