"""The kills themselves: a worker, a node and a driver, each once; docs/benchmarks.md has more."""

import pytest

SMALL = ["--kills", "1", "--users", "8000", "--bucket", "500", "--apart", "0.5"]


@pytest.mark.whole
@pytest.mark.ray
@pytest.mark.parametrize("kind", ["worker", "node", "driver"])
def test_after_a_kill_everyone_has_one_vector_and_little_was_wasted(kind, bench):
    (line,) = bench("embed_kills.py", "--kinds", kind, *SMALL)
    assert (line["kind"], line["kills"], line["vectors"]) == (kind, 1, 8000)
    assert line["exactly_once"]
    assert line["wasted_buckets_per_kill"] <= 2
    assert line["begun"] - line["in_vain"] == 16 + line["ended_twice"]
