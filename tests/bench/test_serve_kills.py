"""One kill of the whole service; docs/benchmarks.md has more."""

import pytest


@pytest.mark.whole
def test_what_was_accepted_is_once_in_state_and_lakehouse_after_a_kill(bench):
    flags = ["--kinds", "service", "--kills", "1", "--users", "30", "--apart", "0.5"]
    (line,) = bench("serve_kills.py", *flags)
    assert (line["kind"], line["kills"], line["lost"], line["twice"]) == ("service", 1, 0, 0)
    assert line["accepted"] > 0
    assert line["statuses"]["events"]["no answer"] > 0
    assert line["exactly_once"]
