"""Where bytes lie: the filesystem of a URI, and what each engine is told of an object store.

A URI is a folder of this machine, ``s3://BUCKET/PREFIX``, or another that fsspec knows. Where an S3
store is stands in the environment, as AWS's own tools read it: ``AWS_REGION``, and for other stores
than AWS's ``AWS_ENDPOINT_URL``. Credentials are in no argument and no option: each engine looks for
them by itself, in the environment, in AWS's own files, or by the role of the machine.
"""

from __future__ import annotations

import os
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import fsspec
from fsspec.implementations.local import LocalFileSystem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fsspec import AbstractFileSystem

S3 = ("s3://", "s3a://")
DELTA_PACKAGE = "io.delta:delta-spark_4.1_2.13:4.4.0"  # as spark.conf names it
HADOOP_AWS = "org.apache.hadoop:hadoop-aws:3.4.2"  # of the Hadoop that Spark 4.1 carries
S3A = "org.apache.hadoop.fs.s3a.S3AFileSystem"
PARTIAL = ".partial"  # of names of files that are not whole yet


@dataclass(frozen=True)
class Endpoint:
    """Where the S3 store is.

    Attributes:
        url: of its server; None for AWS's own.
        region: None leaves it to AWS's own files.
    """

    url: str | None
    region: str | None

    @property
    def encrypted(self) -> bool:
        """Whether what goes to it is encrypted."""
        return self.url is None or urlsplit(self.url).scheme != "http"


def endpoint() -> Endpoint:
    """The S3 store of the environment."""
    told = os.environ.get
    return Endpoint(
        url=told("AWS_ENDPOINT_URL_S3") or told("AWS_ENDPOINT_URL") or None,
        region=told("AWS_REGION") or told("AWS_DEFAULT_REGION") or None,
    )


def is_s3(uri: str) -> bool:
    """Whether a URI lies in an S3 store."""
    return uri.startswith(S3)


def filesystem_of(uri: str | os.PathLike[str]) -> tuple[AbstractFileSystem, str]:
    """The filesystem of a URI, and its path there."""
    uri = os.fspath(uri)
    if is_s3(uri):
        from schemas.s3 import S3FileSystem  # and with it Arrow's, which a local folder can spare

        return S3FileSystem(), S3FileSystem._strip_protocol(uri)  # noqa: SLF001 - fsspec's own way
    filesystem, path = fsspec.core.url_to_fs(uri)
    if isinstance(filesystem, LocalFileSystem):
        path = os.path.normpath(path)  # paths below it are compared as text
    return filesystem, path


@contextmanager
def whole_file(uri: str) -> Iterator[Any]:
    """Open a file for writing that is there as a whole afterwards, or not at all.

    Several processes may write the same file: the last one that ends wins. A local file is
    written under another name, which a crash leaves behind, and renamed; an object store shows
    nothing before an upload is complete.
    """
    filesystem, path = filesystem_of(uri)
    filesystem.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
    if isinstance(filesystem, LocalFileSystem):
        aside = Path(f"{path}.{uuid.uuid4().hex}{PARTIAL}")
        try:
            with aside.open("wb") as local:
                yield local
            aside.replace(path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        return
    remote = filesystem.open(path, "wb", autocommit=False)
    try:
        yield remote
        remote.close()
        remote.commit()
    except BaseException:
        remote.discard()
        raise


def delta_options(uri: str) -> dict[str, str]:
    """What delta-rs is told of the store: of an S3 store, that two cannot make one commit."""
    if not is_s3(uri):
        return {}
    where = endpoint()
    options = {"aws_conditional_put": "etag"}
    if where.url is not None:
        options["aws_endpoint"] = where.url
    if not where.encrypted:
        options["aws_allow_http"] = "true"
    if where.region is not None:
        options["aws_region"] = where.region
    return options


def spark_settings() -> dict[str, str]:
    """What Spark is told of the store, by name of the setting; without effect on folders.

    ``s3://`` is taken by the class of ``s3a://``, so a URI is the same for every engine.
    """
    where = endpoint()
    settings = {"fs.s3.impl": S3A}
    if where.url is not None:
        settings["fs.s3a.endpoint"] = where.url
        settings["fs.s3a.path.style.access"] = "true"
        settings["fs.s3a.connection.ssl.enabled"] = str(where.encrypted).lower()
    if where.region is not None:
        settings["fs.s3a.endpoint.region"] = where.region
    return {f"spark.hadoop.{name}": value for name, value in settings.items()}
