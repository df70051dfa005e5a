import pytest


@pytest.mark.whole
def test_indexes_are_measured_beside_exact_search(bench):
    flags = ["--rows", "3000", "--kinds", "flat,ivf_flat,ivf_pq,hnsw", "--queries", "100"]
    looks, *lines = bench("export.py", *flags)
    assert looks["looked_at"] == 3_000
    assert looks["cosine"]["1"] > looks["cosine"]["10"] > looks["cosine"]["100"]
    assert [line["kind"] for line in lines] == ["flat", "ivf_flat", "ivf_pq", "hnsw"]
    assert lines[0]["recall"] == {"10": 1.0, "100": 1.0}
    for line in lines:
        assert line["recall"]["10"] > 0.85
        assert line["exact_per_second"] > 0
        assert line["index_mb"] > 0
        assert line["threads"] == 1
