from importlib import metadata

from schemas.version import code_version


def test_the_version_is_the_packages_with_the_commit_where_there_is_one():
    version, _, commit = code_version().partition("+")
    assert version == metadata.version("tasteprint")
    assert commit.isalnum() or not commit


def test_where_git_is_not_installed_the_version_is_the_packages(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert code_version() == metadata.version("tasteprint")
