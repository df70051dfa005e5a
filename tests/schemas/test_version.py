from importlib import metadata

from schemas.version import code_version


def test_the_version_is_the_packages_with_the_commit_where_there_is_one():
    version, _, commit = code_version().partition("+")
    assert version == metadata.version("tasteprint")
    assert commit.isalnum() or not commit
