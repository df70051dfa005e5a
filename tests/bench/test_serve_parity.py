import pytest

from tests.tasteprint.conftest import in_process, served  # noqa: F401 - fixtures


@pytest.mark.spark
@pytest.mark.ray
def test_every_user_is_the_same_by_both_ways(bench, served):  # noqa: F811 - the fixture
    (line,) = bench("serve_parity.py", "--lakehouse", served.uri, "--days", "120")
    assert 70 < line["users"] <= 80
    assert line["events"] > 0
    assert line["features"] <= 1e-5
    assert line["vectors"] <= 1e-4
    assert line["presence_differs"] == 0
