import threading

import pytest

from ray_apps.nrt_metrics import AGES, Metrics


@pytest.fixture
def metrics(tmp_path):
    return Metrics(str(tmp_path / "metrics"))


def said(metrics: Metrics, name: str) -> dict[str, float]:
    """By labels what is told of a name."""
    lines = [line for line in metrics.text()[0].decode().splitlines() if line.startswith(name)]
    return {line.rpartition(" ")[0].removeprefix(name): float(line.split()[-1]) for line in lines}


def test_a_value_is_counted_in_its_bucket_and_all_above(metrics):
    for age in (0.25, 0.3, 5.0, 10**9):
        metrics.read("nrt", age)
    found = said(metrics, "tasteprint_vector_age_seconds_bucket")
    counts = [found[f'{{le="{bound}",source="nrt"}}'] for bound in (*AGES, "+Inf")]
    assert counts == [1, 2, 3, 3, 3, 3, 3, 3, 4]
    assert said(metrics, "tasteprint_vector_age_seconds_sum") == {'{source="nrt"}': 10**9 + 5.55}


def test_what_many_threads_count_while_it_is_written_is_all_there(metrics):
    def count():
        for _ in range(5_000):
            metrics.request("GET", "/healthz", 200, 0.002)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        metrics.write()
    found = said(metrics, "tasteprint_request_seconds_count")
    assert found == {'{method="GET",path="/healthz",status="200"}': 20_000}


def test_methods_that_nobody_serves_are_one(metrics):
    for method in ("BREW", "WHEN", "BREW"):
        metrics.request(method, "other", 405, 0.001)
    found = said(metrics, "tasteprint_request_seconds_count")
    assert found == {'{method="other",path="other",status="405"}': 3}
