"""What ``export.json`` says of an export: its batch, its files, and what its indexes find."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import TYPE_CHECKING, Literal, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from lakehouse.ann import IndexConfig, Parameters
from lakehouse.recall import Measured

if TYPE_CHECKING:
    from pathlib import Path

    from lakehouse.storage import Lakehouse

Format = Literal["parquet", "npy", "faiss"]
Dtype = Literal["float32", "float16"]
SIDE_CAR = "export.json"
METRIC = "inner product of unit vectors"


class Frozen(BaseModel):
    """A part of a side-car."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Asked(Frozen):
    """What an export was asked to be."""

    formats: tuple[Format, ...]
    dtype: Dtype = "float32"
    """Of the memory map."""
    recall: float = 0.95
    """Of the nearest, that an index shall find."""
    recall_at: int = 10
    """Of how many nearest."""
    index: IndexConfig = IndexConfig()

    @field_validator("formats")
    @classmethod
    def _in_order(cls, formats: tuple[Format, ...]) -> tuple[Format, ...]:
        return tuple(one for one in get_args(Format) if one in formats)

    def beside(self, made: Asked) -> Asked:
        """All that was made of the other, and what is asked for here."""
        both = made.model_copy(update={"formats": self._in_order((*made.formats, *self.formats))})
        if set(self.formats) - {"parquet"}:
            both = both.model_copy(update={"dtype": self.dtype})
        if "faiss" in self.formats:
            mine = {name: getattr(self, name) for name in ("recall", "recall_at", "index")}
            both = both.model_copy(update=mine)
        return both

    def met_by(self, made: Asked) -> bool:
        """Whether what was made of the other has all that is asked for here, in whatever time."""
        as_fast = self.index.model_copy(update={"threads": made.index.threads})
        return self.model_copy(update={"index": as_fast}).beside(made) == made


class File(Frozen):
    """One file of an export."""

    name: str
    size: int
    """Bytes."""
    sha256: str


class Index(Frozen):
    """An index, and what was measured of it."""

    parameters: Parameters
    build_seconds: float
    measured: Measured


class Side(Frozen):
    """The vectors of the users, or those of the items."""

    rows: int
    size: int
    """Numbers of a vector."""
    files: tuple[File, ...]
    index: Index | None = None


class SideCar(Frozen):
    """What ``export.json`` says."""

    batch_id: str
    version: int
    """Of ``user_embeddings``."""
    rows_sha256: str
    """Of the names of the files that hold the batch's rows of it."""
    as_of: datetime
    made_at: datetime
    code_version: str
    model_sha256: str | None
    metric: str = METRIC
    asked: Asked
    users: Side
    items: Side | None = None

    @property
    def sides(self) -> dict[str, Side]:
        """Users, and items where there are any."""
        return {"users": self.users} | ({"items": self.items} if self.items else {})


def file_of(path: Path) -> File:
    """A file as a side-car speaks of it."""
    with path.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return File(name=path.name, size=path.stat().st_size, sha256=digest)


def read_side_car(lake: Lakehouse, folder: str) -> SideCar | None:
    """What the side-car of a folder says; None where there is none that this code understands."""
    try:
        return SideCar.model_validate_json(lake.filesystem.cat_file(f"{folder}/{SIDE_CAR}"))
    except (FileNotFoundError, ValidationError):
        return None
