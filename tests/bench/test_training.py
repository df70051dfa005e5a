import pytest


@pytest.mark.whole
@pytest.mark.timeout(600)
def test_speed_and_memory_of_training_are_measured_beside_a_plain_loop(bench):
    flags = ["--users", "600", "--items", "50", "--repeats", "1", "--epochs", "2"]
    app, plain = bench("training.py", *flags)
    assert (app["loop"], plain["loop"]) == ("app", "plain")
    for line in (app, plain):
        assert line["users"] == 600
        assert line["users_per_second"] > 0
        assert line["worker_mb"] > 50
        assert line["threads"] == 1
    assert 0 <= app["waiting"] < 1
