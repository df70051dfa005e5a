import json

from lakehouse.checks import Check, Verdict
from lakehouse.gate import settled
from lakehouse.report import render, write_report
from lakehouse.steps import StepClock


def check(success, expectation="the sky is blue", examples=(), **more):
    return Check(
        check="sky.blue",
        expectation=expectation,
        column="sky",
        level="fail",
        success=success,
        expected="blue",
        observed="1 of 6 rows break it",
        unexpected_count=0 if success else 1,
        examples=list(examples),
        **more,
    )


def verdict(*checks, table="track_vectors"):
    return Verdict(run_id="r", table=table, rows=6, checks=list(checks))


def page(lake):
    with lake.filesystem.open(write_report(lake, "r"), "r") as file:
        return file.read()


def test_the_page_lies_where_the_gate_says_and_names_the_run(lake):
    settled(lake, verdict(check(success=True)))
    assert write_report(lake, "r") == lake.report_uri("r")
    assert "r" in page(lake)


def test_what_failed_stands_before_what_held(lake):
    settled(lake, verdict(check(success=True, expectation="water is wet"), table="items"))
    settled(lake, verdict(check(success=True, expectation="grass is green"), check(success=False)))
    said = page(lake)
    assert said.index("the sky is blue") < said.index("grass is green") < said.index("water is wet")


def test_only_the_newest_audit_of_a_table_counts(lake):
    settled(lake, verdict(check(success=False, expectation="the sky is red")))
    settled(lake, verdict(check(success=True)))
    said = page(lake)
    assert "the sky is red" not in said
    assert "the sky is blue" in said


def test_steps_stand_beside_the_checks(lake):
    settled(lake, verdict(check(success=True)))
    StepClock(lake, "brew_coffee").finish("r", rows_in=123_456, rows_out=5)
    assert "brew_coffee" in page(lake)


def test_how_training_went_is_drawn(lake):
    settled(lake, verdict(check(success=True)))
    assert "How training went" not in page(lake)
    history = [{"epoch": 1, "loss": 3.0, "auc": 0.6}, {"epoch": 2, "loss": 2.0, "auc": 0.7}]
    StepClock(lake, "train").finish("r", rows_in=9, rows_out=1, history=history)
    said = page(lake)
    assert "How training went" in said
    assert said.count("<polyline") == 2


def test_what_users_go_on_to_play_is_shown_when_it_has_been_measured(lake, batches, batch):
    settled(lake, verdict(check(success=True)).model_copy(update={"run_id": batch.batch_id}))
    rows = [
        {"name": "popularity", "auc": 0.5, "difference": 0.125, "interval": [0.1, 0.15]},
        {"name": "this batch", "auc": 0.625, "difference": None, "interval": None},
    ]
    measured = {"users": 12, "positives": 34, "as_of": "2026-03-01", "rows": rows}
    measured |= {"horizon_days": 7.0, "drawn": "after"}
    batches.record(batch.batch_id, metrics=json.dumps({"future_listening": measured}))
    with lake.filesystem.open(write_report(lake, batch.batch_id), "r") as file:
        said = file.read()
    assert "this batch" in said
    assert "+0.1250" in said
    assert "+0.1000 … +0.1500" in said


def test_values_from_outside_are_text_and_never_code(lake):
    settled(lake, verdict(check(success=False, examples=["<script>alert(1)</script>"])))
    said = page(lake)
    assert "<script>alert" not in said
    assert "&lt;script&gt;alert(1)" in said


def test_a_run_without_checks_has_a_page_too():
    assert "empty-run" in render("empty-run", [], [], None)
