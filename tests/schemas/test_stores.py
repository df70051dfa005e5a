import pytest
from fsspec.implementations.local import LocalFileSystem

from schemas.stores import S3A, delta_options, filesystem_of, is_s3, spark_settings, whole_file


@pytest.fixture
def environment(monkeypatch):
    """Sets the variables that lead to a store, and no others."""

    def set_to(**values: str) -> None:
        for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION"):
            monkeypatch.delenv(name, raising=False)
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return set_to


def test_a_folder_has_the_filesystem_of_this_machine_and_needs_no_options(tmp_path):
    filesystem, path = filesystem_of(f"file://{tmp_path}/lake")
    assert isinstance(filesystem, LocalFileSystem)
    assert path == f"{tmp_path}/lake"
    assert delta_options(str(tmp_path)) == {}


@pytest.mark.parametrize("way", ["{}/other/../lake", "file://{}/./lake/", "{}//lake"])
def test_a_folder_has_one_name_whichever_way_leads_to_it(tmp_path, way):
    assert filesystem_of(way.format(tmp_path))[1] == f"{tmp_path}/lake"


@pytest.mark.parametrize("uri", ["s3://lakes/demo", "s3a://lakes/demo/"])
def test_both_ways_to_name_an_s3_store_are_one_place(uri):
    assert is_s3(uri)
    assert filesystem_of(uri)[1] == "lakes/demo"


def test_on_aws_only_the_region_is_told_and_that_commits_are_conditional(environment):
    environment(AWS_DEFAULT_REGION="eu-north-1")
    assert delta_options("s3://lakes/demo") == {
        "aws_conditional_put": "etag",
        "aws_region": "eu-north-1",
    }
    assert spark_settings() == {
        "spark.hadoop.fs.s3.impl": S3A,
        "spark.hadoop.fs.s3a.endpoint.region": "eu-north-1",
    }


def test_another_store_is_reached_at_its_address(environment):
    environment(AWS_ENDPOINT_URL="https://store.example:9000")
    assert delta_options("s3://lakes/demo") == {
        "aws_conditional_put": "etag",
        "aws_endpoint": "https://store.example:9000",
    }
    assert spark_settings()["spark.hadoop.fs.s3a.connection.ssl.enabled"] == "true"
    assert spark_settings()["spark.hadoop.fs.s3a.path.style.access"] == "true"


def test_only_where_the_address_says_so_is_nothing_encrypted(environment):
    environment(AWS_ENDPOINT_URL="https://elsewhere", AWS_ENDPOINT_URL_S3="http://127.0.0.1:9000")
    assert delta_options("s3://lakes/demo")["aws_allow_http"] == "true"
    assert spark_settings()["spark.hadoop.fs.s3a.connection.ssl.enabled"] == "false"


def test_credentials_are_in_no_option_and_no_setting(environment):
    environment(AWS_ACCESS_KEY_ID="who", AWS_SECRET_ACCESS_KEY="hush", AWS_SESSION_TOKEN="once")  # noqa: S106
    told = {**delta_options("s3://lakes/demo"), **spark_settings()}
    assert not {"who", "hush", "once"} & set(told.values())


def test_a_file_that_breaks_off_leaves_what_was_there(tmp_path):
    place = tmp_path / "deep" / "file"

    def write(content: bytes, *, broken: bool = False) -> None:
        with whole_file(str(place)) as file:
            file.write(content)
            if broken:
                raise RuntimeError

    write(b"whole")
    with pytest.raises(RuntimeError):
        write(b"half", broken=True)
    assert [(one.name, one.read_bytes()) for one in place.parent.iterdir()] == [("file", b"whole")]
