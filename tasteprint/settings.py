"""What several commands are told: which lakehouse, and where Spark and Ray run."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator

from lakehouse.storage import Lakehouse
from schemas.errors import InputError
from schemas.settings import Settings

DEFAULT_LAKEHOUSE = "var/lakehouse"
QUICK_START = "--driver-java-options -XX:TieredStopAtLevel=1"


def in_utc(moment: datetime) -> datetime:
    """A moment that names no time zone is one of UTC."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


Moment = Annotated[datetime, AfterValidator(in_utc)]


class OnLakehouse(Settings):
    """A command about one lakehouse."""

    lakehouse: str = DEFAULT_LAKEHOUSE
    """Folder or URI of the lakehouse."""

    @property
    def lake(self) -> Lakehouse:
        """That lakehouse, which must be there already.

        Raises:
            InputError: it is not.
        """
        lake = Lakehouse(self.lakehouse)
        if not lake.filesystem.exists(f"{lake.uri}/tables"):
            raise InputError(f"there is no lakehouse at {lake.uri}: `tasteprint run` makes one")
        return lake


class OnEngines(Settings):
    """A command that starts steps on Spark and Ray."""

    lakehouse: str = DEFAULT_LAKEHOUSE
    """Folder or URI of the lakehouse."""
    ray_address: str | None = None
    """Address of a Ray cluster's job server; without it Ray starts on this machine."""
    spark_submit: str = QUICK_START
    """More arguments for spark-submit; these start quickly, for up to a few million events."""
