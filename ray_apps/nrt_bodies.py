"""What comes in and goes out over HTTP, as OpenAPI describes it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from lakehouse.event_codec import FILLED, LISTENS, ONBOARDING, TASTE_EDITS
from schemas.contract import Column, contract

MOST_EVENTS = 1_000  # of one request
MOST_USERS = 1_000
LONGEST_ID = 1_024
JSON_TYPES = {"long": "integer", "int": "integer", "float": "number", "boolean": "boolean"}

Status = Literal["fresh", "stale", "missing"]
Source = Literal["nrt", "batch", "cold_start"]
Id = Annotated[str, Field(min_length=1, max_length=LONGEST_ID)]


def row_schema(table: str) -> dict[str, Any]:
    """The JSON schema of a row of a contract, without what the service itself fills."""
    columns = [column for column in contract(table).columns if column.name not in FILLED]
    return {
        "type": "object",
        "title": table,
        "properties": {column.name: _column_schema(column) for column in columns},
        "required": [column.name for column in columns if column.required],
        "additionalProperties": False,
    }


def _column_schema(column: Column) -> dict[str, Any]:
    kind: dict[str, Any] = {"type": JSON_TYPES.get(column.type_name, "string")}
    if column.type_name == "timestamp":
        kind["format"] = "date-time"
    elif kind["type"] == "string":
        kind |= {"minLength": column.min_length or 0, "maxLength": LONGEST_ID}
    if column.allowed:
        kind["enum"] = list(column.allowed)
    for name, bound in (("minimum", column.minimum), ("maximum", column.maximum)):
        if bound is not None:
            kind[name] = bound
    found = kind if column.required else {"anyOf": [kind, {"type": "null"}]}
    return {**found, "description": column.description}


# Rows are judged by contract, not by pydantic: each fault is to be named, and good rows are kept.
Listen = Annotated[dict[str, Any], WithJsonSchema(row_schema(LISTENS))]
Pick = Annotated[dict[str, Any], WithJsonSchema(row_schema(ONBOARDING))]
Edit = Annotated[dict[str, Any], WithJsonSchema(row_schema(TASTE_EDITS))]
Rows: Any = Field(max_length=MOST_EVENTS)


class Body(BaseModel):
    """The base of what comes in: unknown keys are faults."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Events(Body):
    """Events of users, by the table of their contract."""

    listens: Annotated[list[Listen], Rows] = []
    """Plays. The same event_id counts once, however often it comes."""
    onboarding: Annotated[list[Pick], Rows] = []
    """What new users picked."""
    taste_edits: Annotated[list[Edit], Rows] = []
    """What users asked to see more or less of, or to forget."""

    def rows(self) -> list[tuple[str, int, dict[str, Any]]]:
        """Every row with its table and its place in it."""
        return [
            (table, index, row)
            for table in (LISTENS, ONBOARDING, TASTE_EDITS)
            for index, row in enumerate(getattr(self, table))
        ]


class Refused(BaseModel):
    """A row that does not fit its contract."""

    table: str
    index: int
    reasons: list[str]


class Accepted(BaseModel):
    """What became of events: those that were accepted are durable."""

    accepted: int
    refused: list[Refused] = []


class BatchGet(Body):
    """Whose vectors, and of which batch."""

    user_ids: Annotated[list[Id], Field(min_length=1, max_length=MOST_USERS)]
    batch: str = Field(default="live", max_length=64)


class Embedding(BaseModel):
    """The vector of a user, and what space it belongs to."""

    user_id: str
    batch_id: str
    status: Status
    """stale: nothing newer than the service's limit; missing: nobody of that id in the batch."""
    source: Source | None = None
    as_of: str | None = None
    embedding: list[float] | None = None


class Embeddings(BaseModel):
    """Vectors in the order of the ids."""

    embeddings: list[Embedding]


class Told(Body):
    """What somebody without an account has told."""

    country: str | None = Field(default=None, max_length=64)
    language: str | None = Field(default=None, max_length=64)
    subscription: str | None = Field(default=None, max_length=64)
    birth_year: int | None = Field(default=None, ge=1900, le=2100)
    registered_at: None = None


class Anonymous(Body):
    """Somebody without an account: nothing of this is stored. Ids of users are not asked for."""

    listens: list[Annotated[dict[str, Any], Field()]] = Field(default=[], max_length=MOST_EVENTS)
    onboarding: list[Annotated[dict[str, Any], Field()]] = Field(default=[], max_length=MOST_EVENTS)
    user: Told = Told()
    batch: str = Field(default="live", max_length=64)


class Near(BaseModel):
    """One of the nearest."""

    id: str
    cosine: float


class Nearest(BaseModel):
    """The nearest, nearest first, in the space of that batch."""

    batch_id: str
    as_of: str
    nearest: list[Near]


class Fault(BaseModel):
    """Why a request was not answered."""

    detail: str
