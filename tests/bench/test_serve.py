import pytest

SMALL = ["--users", "100", "--seconds", "1", "--repeats", "1", "--connections", "4"]
PARTS = ["events", "reads", "latency", "soak"]


@pytest.mark.whole
def test_the_service_is_measured_beside_bare_servers_and_nothing_fails(bench):
    parts = [word for part in PARTS for word in ("--parts", part)]
    found = bench("serve.py", *SMALL, *parts, "--soak", "5")
    by_part = {part: [line for line in found if line["part"] == part] for part in PARTS}
    assert [line["what"] for line in by_part["events"]] == [
        "service",
        "uvicorn",
        "uvicorn, two processes",
    ]
    assert [line["what"] for line in by_part["reads"]] == ["uvicorn", "front", "direct"] * 2
    assert [line["what"] for line in by_part["latency"]] == [
        "event to vector",
        "read, front",
        "read, direct",
    ]
    assert all(line["p99_ms"] >= line["p50_ms"] > 0 for line in by_part["latency"])
    assert all(line["ours_to_it"] > 0 for line in found if "ours_to_it" in line)
    assert all(line["errors"] == 0 for line in found if "errors" in line)
    assert by_part["soak"][-1]["answers"]["front"] > 0
