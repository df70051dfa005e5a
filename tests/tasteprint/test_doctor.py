import pytest

from tasteprint import doctor
from tasteprint.doctor import examine, java_version


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('openjdk version "21" 2023-09-19', 21),
        ('java version "1.8.0_292"', 8),
        ("command not found", None),
    ],
)
def test_the_java_version_is_read_from_what_java_says(said, version):
    assert java_version(said) == version


def found(lakehouse) -> dict[str, doctor.Finding]:
    return {finding.what: finding for finding in examine(str(lakehouse))}


def test_this_machine_runs_python_and_packages_that_fit(tmp_path):
    findings = found(tmp_path / "lake")
    assert findings["Python"].remedy is None
    assert findings["Python packages"].remedy is None, findings["Python packages"].seen


def test_an_old_java_is_found_and_a_remedy_named(tmp_path, monkeypatch):
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    finding = found(tmp_path / "lake")["Java"]
    assert finding.seen.startswith("11")
    assert "openjdk-17" in finding.remedy


def test_a_missing_java_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "nowhere"))
    assert "not found" in found(tmp_path / "lake")["Java"].seen


def test_a_version_that_does_not_fit_is_named(tmp_path, monkeypatch):
    real = doctor.metadata.version
    monkeypatch.setattr(
        doctor.metadata, "version", lambda name: "3.5.1" if name == "pyspark" else real(name)
    )
    finding = found(tmp_path / "lake")["Python packages"]
    assert finding.seen == "pyspark is 3.5.1, and should be ==4.1.4"
    assert finding.remedy == "make install"


def test_a_lakehouse_that_cannot_be_written_is_found(tmp_path):
    (tmp_path / "file").write_text("")
    finding = found(tmp_path / "file" / "lake")["Lakehouse"]
    assert "cannot be written" in finding.seen
    assert finding.remedy is not None


def test_a_delta_jar_that_is_not_there_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "IVY", (str(tmp_path),))
    assert "jobs/session.py" in found(tmp_path / "lake")["Delta JAR"].remedy
