import pickle
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from schemas.s3 import S3FileSystem
from schemas.stores import filesystem_of, whole_file


@pytest.fixture
def store(s3_store) -> S3FileSystem:
    return s3_store


def test_what_is_written_is_read_and_listed_without_folders(store, s3_uri):
    store.makedirs(f"{s3_uri}/a")
    for name in ("a/b/one.txt", "a/two.txt", "three.txt"):
        store.pipe_file(f"{s3_uri}/{name}", name.encode())
    root = store._strip_protocol(s3_uri)
    assert store.find(s3_uri) == [f"{root}/a/b/one.txt", f"{root}/a/two.txt", f"{root}/three.txt"]
    assert store.find(f"{s3_uri}/a", detail=True)[f"{root}/a/two.txt"]["size"] == len("a/two.txt")
    assert store.glob(f"{s3_uri}/a/*.txt") == [f"{root}/a/two.txt"]
    assert store.cat_file(f"{s3_uri}/a/b/one.txt") == b"a/b/one.txt"
    assert store.exists(f"{s3_uri}/a")
    assert not store.exists(f"{s3_uri}/b")
    assert store.find(f"{s3_uri}/b") == []


def test_what_is_deleted_is_all_that_was_named(store, s3_uri):
    for name in ("a/b/one.txt", "a/two.txt", "ab.txt", "c.txt"):
        store.pipe_file(f"{s3_uri}/{name}", b"")
    store.rm(f"{s3_uri}/a", recursive=True)
    store.rm([f"{s3_uri}/c.txt", f"{s3_uri}/was-never-there.txt"])
    assert [path.rsplit("/", 1)[1] for path in store.find(s3_uri)] == ["ab.txt"]


def test_nothing_is_there_before_a_file_is_whole(store, s3_uri):
    place = f"{s3_uri}/file"
    with whole_file(place) as file:
        file.write(b"x" * 20_000_000)  # in parts
        assert not store.exists(place)
    assert store.size(place) == 20_000_000


def test_a_file_that_breaks_off_leaves_what_was_there(store, s3_uri):
    place = f"{s3_uri}/file"

    def write(content: bytes, opened) -> None:
        with opened as file:
            file.write(content)
            raise RuntimeError

    store.pipe_file(place, b"whole")
    for opened in (whole_file(place), store.open(place, "wb")):
        with pytest.raises(RuntimeError):
            write(b"half", opened)
    given_up = store.open(place, "wb")
    given_up.write(b"half")
    del given_up
    assert store.cat_file(place) == b"whole"
    assert "Uploads" not in store.client.list_multipart_uploads(Bucket="lakes")


def test_of_many_who_exchange_a_file_at_once_one_is_first(store, s3_uri):
    place = f"{s3_uri}/file"

    def race(etag: str | None) -> list[str]:
        with ThreadPoolExecutor(8) as pool:
            values = [uuid.uuid4().bytes for _ in range(8)]
            tried = pool.map(lambda value: store.exchange(place, value, etag), values)
            return [tag for tag in tried if tag is not None]

    (first,) = race(None)
    (second,) = race(first)
    assert race(None) == race(first) == []
    seen = store.look(place)
    assert seen.etag == second
    assert 0 <= seen.age < 60


def test_a_file_that_is_gone_is_exchanged_by_nobody(store, s3_uri):
    place = f"{s3_uri}/file"
    etag = store.exchange(place, b"one", None)
    store.rm(place)
    assert store.look(place) is None
    assert store.exchange(place, b"two", etag) is None


def test_it_travels_without_credentials(store, s3_uri, monkeypatch):
    monkeypatch.setenv("AWS_SESSION_TOKEN", "hush")
    sent = pickle.dumps(S3FileSystem())
    assert len(sent) < 100
    store.pipe_file(f"{s3_uri}/file", b"here")
    assert pickle.loads(sent).cat_file(f"{s3_uri}/file") == b"here"  # noqa: S301 - our own


def test_a_store_that_says_no_sounds_like_a_disk_that_does(store):
    with pytest.raises(OSError, match="NoSuchBucket"):
        store.pipe_file("s3://nobodys-bucket/file", b"")
    filesystem, path = filesystem_of("s3://lakes/nobodys/file")
    with pytest.raises(FileNotFoundError):
        filesystem.cat_file(path)
