import pytest


@pytest.fixture
def evaluated(lake, tmp_path):
    """The arguments that let a protocol look at the lakehouse, its report below ``tmp_path``."""

    def made(protocol: str, *more: str) -> list[str]:
        out = str(tmp_path / "report")
        return ["evaluate", protocol, "--lakehouse", lake.uri, "--out", out, *more]

    return made
