from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from pyspark.sql import functions as F
from pyspark.sql.types import StructField, StructType

from schemas.contract import contract
from schemas.errors import ContractError
from schemas.rules import compile_rule
from schemas.spark import spark_schema

TAKEN_IN = ("listens", "onboarding", "taste_edits", "users", "items")
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
BOUNDARIES = [datetime(1970, 1, 1, tzinfo=UTC), NOW, NOW + timedelta(minutes=5)]
TIMES = [None, *(time + n * MICROSECOND for time in BOUNDARIES for n in (-1, 0, 1))]
TEXTS, NUMBERS, TRUTHS = [None, "", "a", "b"], [None, -1, 0, 1, 2], [None, True, False]

# Over times a and b, numbers m and n, texts s and t, truths p and q.
CONDITIONS = [
    "p AND q",
    "p OR q",
    "NOT (p AND q)",
    "NOT (p OR q)",
    "NOT p AND (q OR a IS NULL)",
    "NOT (a > b)",
    "a IS NOT NULL AND b IS NULL",
    "a = b OR m = n",
    "s <> 'a'",
    "s >= t AND NOT s = t",
    "m + n > 1",
    "m - 0.5 < n",
    "m <= 1 AND n != 2",
    "greatest(a, b) < TIMESTAMP '2026-03-01 14:00:00+02:00'",
    "least(a, b) - INTERVAL 1 HOUR < current_timestamp() - INTERVAL 60 MINUTES",
    "a > b - INTERVAL 2 WEEKS AND a < TIMESTAMP '2026-03-01' + INTERVAL '12' HOURS",
]
TYPES = "a timestamp, b timestamp, m long, n long, s string, t string, p boolean, q boolean"
DRAWN = {"timestamp": TIMES, "string": TEXTS, "bigint": NUMBERS, "boolean": TRUTHS}


def drawn(schema, count=400):
    """Rows of values at random, all of them near to where rules change their mind."""
    rng = np.random.default_rng(0)
    return [
        {field.name: _one_of(DRAWN[field.dataType.simpleString()], rng) for field in schema}
        for _ in range(count)
    ]


def _one_of(values, rng):
    return values[rng.integers(len(values))]


def sparks_answers(spark, conditions, rows, schema):
    """For each row which conditions hold at the moment ``NOW``."""
    moment = f"TIMESTAMP '{NOW.isoformat()}'"
    wheres = [F.expr(one.replace("current_timestamp()", moment)) for one in conditions]
    columns = [F.coalesce(where, F.lit(False)) for where in wheres]
    tuples = [tuple(row.values()) for row in rows]
    return [tuple(row) for row in spark.createDataFrame(tuples, schema).select(*columns).collect()]


def our_answers(conditions, rows):
    predicates = [compile_rule(one) for one in conditions]
    return [tuple(breaks(row, NOW) for breaks in predicates) for row in rows]


@pytest.mark.parametrize("table", TAKEN_IN)
def test_every_rule_of_what_is_taken_in_can_be_judged_without_spark(table):
    for rule in contract(table).row_rules:
        row = dict.fromkeys(contract(table).column_names)
        assert compile_rule(rule.where)(row, NOW) == ("IS NULL" in rule.where)


@pytest.mark.spark
@pytest.mark.parametrize("table", ["listens", "onboarding", "taste_edits"])
def test_spark_says_the_same_of_every_rule(spark, table):
    schema = StructType([StructField(f.name, f.dataType) for f in spark_schema(table)])
    rules = [rule.where for rule in contract(table).row_rules]
    rows = drawn(schema)
    ours = our_answers(rules, rows)
    assert ours == sparks_answers(spark, rules, rows, schema)
    assert all({True, False} == set(answers) for answers in zip(*ours, strict=True))


@pytest.mark.spark
def test_spark_says_the_same_of_every_part_that_a_rule_may_have(spark):
    schema = spark.createDataFrame([], TYPES).schema
    rows = drawn(schema)
    ours = our_answers(CONDITIONS, rows)
    assert ours == sparks_answers(spark, CONDITIONS, rows, schema)
    assert all({True, False} == set(answers) for answers in zip(*ours, strict=True))


def test_a_play_may_be_five_minutes_before_its_time_and_no_more():
    breaks = compile_rule(
        "played_at > least(ingested_at, current_timestamp()) + INTERVAL 5 MINUTES"
    )
    at_the_end = {"played_at": NOW + timedelta(minutes=5), "ingested_at": None}
    assert not breaks(at_the_end, NOW)
    assert breaks(at_the_end, NOW - MICROSECOND)
    assert breaks(at_the_end | {"ingested_at": NOW - MICROSECOND}, NOW)


def test_what_is_compared_with_nothing_breaks_no_rule():
    row = {"played_at": None}
    assert not compile_rule("played_at < current_timestamp()")(row, NOW)
    assert not compile_rule("NOT played_at < current_timestamp()")(row, NOW)


def test_a_time_after_the_last_year_is_null():
    row = {"at": datetime.max.replace(tzinfo=UTC)}
    assert not compile_rule("at + INTERVAL 1 DAY > current_timestamp()")(row, NOW)


def test_text_and_time_have_no_order():
    for sign in ("<", "=", "<>"):
        with pytest.raises(TypeError):
            compile_rule(f"at {sign} '1970-01-01'")({"at": NOW}, NOW)


@pytest.mark.parametrize(
    "where",
    [
        "length(surface) > 5",
        "played_at > now()",
        "played_at > current_timestamp() - INTERVAL 1 MONTH",
        "played_at > current_timestamp() - INTERVAL '1:30' MINUTE TO SECOND",
        "played_at > current_timestamp() - INTERVAL 1e12 DAYS",
        "played_at < TIMESTAMP 'long ago'",
        "played_at < DATE '1970-01-01'",
        "completed IS TRUE",
        "event_id IN (SELECT event_id FROM listens)",
        "played_at >",
        "",
    ],
)
def test_what_only_spark_can_judge_by_is_named(where):
    with pytest.raises(ContractError) as refused:
        compile_rule(where)
    assert f"the row rule {where!r}" in str(refused.value)
