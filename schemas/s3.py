"""An S3 store as fsspec's filesystem: Arrow reads and lists, boto3 writes and deletes.

Arrow ends an upload where its writer is given up, half a file and all, and puts objects where
others have folders; so what is written lies aside until it is whole, and then goes up at once.
"""

from __future__ import annotations

import io
import os
import tempfile
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from fsspec.implementations.arrow import ArrowFSWrapper
from pyarrow import fs

from schemas.errors import InputError
from schemas.stores import S3, endpoint

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from schemas.stores import Endpoint

IN_MEMORY = 64 * 2**20  # bytes of a file that is written; a larger one waits on the disk
AT_ONCE = 1000  # keys that a request may delete
# What a store answers where a condition does not hold, or two requests met.
FASTER = {"PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey", "412", "409", "404"}


class Seen(NamedTuple):
    """A small file as somebody saw it."""

    value: bytes
    etag: str
    age: float
    """Seconds since it was written, by the store's own clock, which shows whole seconds."""


class S3FileSystem(ArrowFSWrapper):
    """The store of the environment; paths are ``BUCKET/KEY``, with ``s3://`` or without.

    May be pickled: it holds no credentials, and finds its store anew where it arrives.
    """

    protocol = "s3"
    cachable = False  # another environment may be another store

    def __init__(self, **kwargs: Any) -> None:
        if find_spec("boto3") is None:
            raise InputError("s3:// needs boto3: pip install 'tasteprint[s3]'")
        where = endpoint()
        server = urlsplit(where.url) if where.url else None
        store = fs.S3FileSystem(
            region=where.region,
            scheme=server.scheme if server else None,
            endpoint_override=server.netloc if server else None,
        )
        super().__init__(store, **kwargs)

    def __reduce__(self) -> tuple[type[S3FileSystem], tuple[()]]:
        return type(self), ()

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(one) for one in path]
        for prefix in S3:
            path = str(path).removeprefix(prefix)
        return path.strip("/")

    @property
    def client(self) -> Any:
        """boto3's client of the store."""
        return _client(endpoint(), os.getpid())

    def place(self, path: str) -> dict[str, str]:
        """Bucket and key of a path, as boto3 names them."""
        bucket, _, key = self._strip_protocol(path).partition("/")
        return {"Bucket": bucket, "Key": key}

    def makedirs(self, path: str, exist_ok: bool = False) -> None:  # noqa: FBT001, FBT002 - fsspec's
        """Nothing: a store has no folders."""

    def find(
        self,
        path: str,
        maxdepth: int | None = None,
        withdirs: bool = False,  # noqa: FBT001, FBT002 - fsspec's
        detail: bool = False,  # noqa: FBT001, FBT002
        **kwargs: Any,
    ) -> Any:
        """All files below a path; those at any depth come by one listing."""
        if maxdepth is not None or withdirs or kwargs:
            return super().find(path, maxdepth, withdirs, detail, **kwargs)
        below = fs.FileSelector(self._strip_protocol(path), recursive=True, allow_not_found=True)
        found = [one for one in self.fs.get_file_info(below) if one.type is fs.FileType.File]
        entries = {one.path: self._make_entry(one) for one in sorted(found, key=lambda o: o.path)}
        return entries if detail else list(entries)

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:  # noqa: FBT001, FBT002, ARG002
        """Delete files, and with ``recursive`` all that lies below them."""
        paths = [path] if isinstance(path, str) else list(path)
        by_bucket: dict[str, list[str]] = {}
        with _as_os_errors():
            for one in paths:
                where = self.place(one)
                keys = by_bucket.setdefault(where["Bucket"], [])
                keys.append(where["Key"])
                if recursive:
                    keys += self._below(where["Bucket"], where["Key"])
            for bucket, keys in by_bucket.items():
                self._delete(bucket, keys)

    def rm_file(self, path: str) -> None:
        """Delete one file."""
        self.rm(path)

    def _below(self, bucket: str, key: str) -> list[str]:
        pages = self.client.get_paginator("list_objects_v2")
        found = pages.paginate(Bucket=bucket, Prefix=f"{key}/")
        return [one["Key"] for page in found for one in page.get("Contents", ())]

    def _delete(self, bucket: str, keys: Sequence[str]) -> None:
        for begin in range(0, len(keys), AT_ONCE):
            some = [{"Key": key} for key in keys[begin : begin + AT_ONCE]]
            answer = self.client.delete_objects(Bucket=bucket, Delete={"Objects": some})
            for error in answer.get("Errors", ()):
                raise PermissionError(f"{bucket}/{error['Key']}: {error.get('Message')}")

    def _open(self, path: str, mode: str = "rb", *args: Any, **kwargs: Any) -> Any:
        if mode == "wb":
            return Upload(self, path, whole_at_end=kwargs.get("autocommit", True))
        kwargs.pop("autocommit", None)
        kwargs.pop("cache_options", None)
        return super()._open(path, mode, *args, **kwargs)

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
        """Write a small file by one request."""
        if mode != "overwrite":
            raise NotImplementedError(f"a file of a store is written with mode {mode!r} by no one")
        with _as_os_errors():
            self.client.put_object(**self.place(path), Body=value)

    def look(self, path: str) -> Seen | None:
        """A small file as it is now; None if there is none."""
        with _as_os_errors():
            try:
                answer = self.client.get_object(**self.place(path))
            except self.client.exceptions.NoSuchKey:
                return None
            now = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
            age = (now - answer["LastModified"]).total_seconds()
            return Seen(answer["Body"].read(), answer["ETag"], age)

    def exchange(self, path: str, value: bytes, etag: str | None) -> str | None:
        """Write a small file if it is still the one that was seen, or if there still is none.

        Args:
            path: of the file.
            value: its bytes, other ones than ever before.
            etag: of the one that was seen; None where there was none.

        Returns:
            the new etag; None if somebody else was faster.
        """
        from botocore.exceptions import ClientError

        still = {"IfNoneMatch": "*"} if etag is None else {"IfMatch": etag}
        with _as_os_errors():
            try:
                written = self.client.put_object(**self.place(path), Body=value, **still)
            except ClientError as error:
                if error.response["Error"]["Code"] not in FASTER:
                    raise
            else:
                tag: str = written["ETag"]
                return tag
        # An answer that is lost is asked for again, and then our own write was in the way.
        seen = self.look(path)
        return seen.etag if seen is not None and seen.value == value else None


class Upload(io.BufferedIOBase):
    """A file that is written; the store has it when it is committed, whole or not at all.

    Args:
        store: where to.
        path: of the file.
        whole_at_end: whether closing it commits it.
    """

    def __init__(self, store: S3FileSystem, path: str, *, whole_at_end: bool) -> None:
        self._store, self._path, self._commits = store, path, whole_at_end
        self._held = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 - closed below

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Any) -> int:
        """Add bytes; returns how many."""
        return self._held.write(data)

    def tell(self) -> int:
        """Bytes so far."""
        return self._held.tell()

    def commit(self) -> None:
        """Let the store have it."""
        self._held.seek(0)
        with _as_os_errors():
            self._store.client.upload_fileobj(self._held, **self._store.place(self._path))
        self.discard()

    def discard(self) -> None:
        """Let go of what the store does not have yet."""
        self._commits = False
        self._held.close()
        self.close()

    def close(self) -> None:
        """End writing."""
        if self._commits:
            self._commits = False
            self.commit()
        super().close()

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def __del__(self) -> None:
        self._commits = False  # whoever gave it up did not end it
        super().close()


@cache
def _client(where: Endpoint, _process: int) -> Any:
    """One for each process: making one takes a tenth of a second, and forks share no sockets."""
    import boto3
    from botocore.config import Config

    style = {"addressing_style": "path"} if where.url else {}
    return boto3.session.Session().client(
        "s3", endpoint_url=where.url, region_name=where.region, config=Config(s3=style)
    )


@contextmanager
def _as_os_errors() -> Iterator[None]:
    """Let what goes wrong in a store look like what goes wrong on a disk."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (Boto3Error, BotoCoreError, ClientError) as error:
        raise OSError(str(error)) from error
