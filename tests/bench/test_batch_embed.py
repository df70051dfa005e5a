import pytest


@pytest.mark.whole
def test_the_app_is_measured_beside_loops_over_the_same_files(bench):
    some = ["--users", "3000", "--distinct", "1000", "--bucket", "500", "--hidden", "16"]
    found = bench("batch_embed.py", *some, "--hidden", "8", "--repeats", "1", "--drop")
    assert [line["peer"] for line in found] == ["threads", "processes", "app defaults", "app"]
    for line in found:
        assert (line["users"], line["hidden"]) == (3000, [16, 8])
        assert line["users_per_second"] > 0
        assert line["core_seconds_per_million"] > 0
        assert line["worker_mb"] > 50


@pytest.mark.whole
def test_parts_are_measured_alone(bench):
    found = bench("batch_embed.py", "--limits", "--users", "1000", "--bucket", "500")
    assert [line["part"] for line in found] == [
        "reading defaults",
        "reading ours",
        "embedding float32",
        "embedding bfloat16",
        "products of matrices by MKL",
        "products of matrices by oneDNN",
        "writing defaults",
        "writing ours",
    ]
    assert all(line["core_seconds_per_million"] > 0 for line in found)
