from tasteprint.replay_tally import Tally, kind_of, percentiles


def test_events_are_counted_by_what_was_said_of_them():
    tally = Tally()
    tally.count([[], ["item_id is not in items (x)", "ms_played is below 0 (-1)"], []])
    tally.count([["item_id is not in items (y)"]])
    assert (tally.sent, tally.accepted, tally.refused) == (4, 2, 2)
    assert tally.reasons.most_common(1) == [("item_id is not in items", 2)]


def test_a_kind_of_fault_does_not_quote_the_value():
    assert kind_of("user_id is no string (a\n(b))") == "user_id is no string"
    assert kind_of("user_id is missing") == "user_id is missing"


def test_percentiles_are_in_milliseconds_and_there_are_none_of_nothing():
    assert percentiles([0.1, 0.2, 0.3]) == {"p50": 200.0, "p99": 298.0}
    assert percentiles([]) is None


def test_time_stands_still_before_the_start_and_after_the_stop():
    tally = Tally()
    assert (tally.elapsed, tally.rate) == (0, 0)
    tally.start(3)
    tally.stop()
    stopped = tally.elapsed
    tally.stop()
    assert tally.elapsed == stopped
    assert tally.figures()["events"] == 3
