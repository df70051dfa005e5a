from lakehouse.steps import StepClock, finished_steps


def test_a_lakehouse_where_nothing_ran_has_no_steps(lake):
    assert finished_steps(lake, "r") == {}


def test_a_finished_step_says_its_rows_its_seconds_and_what_else_is_worth_knowing(lake):
    StepClock(lake, "ingest").finish("r", rows_in=6, rows_out=5, tables={"listens": {"bad": 1}})
    step = finished_steps(lake, "r")["ingest"]
    assert (step["rows_in"], step["rows_out"]) == (6, 5)
    assert step["detail"] == {"tables": {"listens": {"bad": 1}}}
    assert 0 <= step["seconds"] < 60


def test_steps_of_other_runs_are_not_mixed_in(lake):
    StepClock(lake, "ingest").finish("r1", rows_in=1, rows_out=1)
    StepClock(lake, "embed").finish("r2", rows_in=2, rows_out=2)
    assert set(finished_steps(lake, "r1")) == {"ingest"}


def test_the_newest_record_of_a_step_counts(lake):
    for rows in (1, 2):
        StepClock(lake, "ingest").finish("r", rows_in=rows, rows_out=rows)
    assert finished_steps(lake, "r")["ingest"]["rows_in"] == 2
