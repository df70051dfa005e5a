"""The layout of a feature row: named groups, where each lies, what its columns mean, their units.

The layout is data. A batch carries it, so that whoever reads a row knows its groups, and a model
refuses rows of another layout.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

VECTOR_SIZE = 80  # of item vectors
CODE_SIZE = 46  # of what models.codebook adds to them
HALF_LIVES = {"taste_7d": 7.0, "taste_30d": 30.0, "taste_180d": 180.0}  # days
INTERESTS = "interests"
LONGEST = 180.0  # days; half-life of whatever describes habits
OTHER = "other"
UNTOLD = ""
AGE_BANDS = (18, 25, 35, 45, 55, 65)  # first year of each band but the youngest
AMOUNTS = {  # what each column says, and its unit
    "log plays at 7 days": "log(1 + plays)",
    "log plays at 30 days": "log(1 + plays)",
    "log plays at 180 days": "log(1 + plays)",
    "log distinct items": "log(1 + items)",
    "distinct items per play": "items per play",
    "evenness over creators": "share of the largest entropy",
    "log days since the last play": "log(1 + days)",
    "log days since the first play": "log(1 + days)",
}
ACCOUNT_AGE = {"log days since registration": "log(1 + days)"}

Kind = Literal["vector", "amounts", "distribution", "category"]
UNITS: dict[Kind, str] = {
    "vector": "dimensionless",
    "distribution": "share of plays",
    "category": "one of",
}


class Group(BaseModel):
    """Some neighbouring columns of a feature row that are known or missing together."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Kind
    """How the columns are read: a unit vector, amounts, shares that add up to 1, or one of many."""
    start: int
    columns: Annotated[tuple[str, ...], Field(min_length=1)]
    units: tuple[str, ...] = ()
    """One for all columns or one for each; none in layouts that are older than this field."""

    @model_validator(mode="after")
    def _one_unit_or_one_each(self) -> Self:
        if len(self.units) not in (0, 1, self.width):
            raise ValueError(f"group {self.name} has {len(self.units)} units, {self.width} columns")
        return self

    def unit(self, column: str) -> str | None:
        """The unit of a column; None where the layout does not say."""
        if len(self.units) <= 1:
            return next(iter(self.units), None)
        return self.units[self.columns.index(column)]

    def fits(self, other: Group) -> bool:
        """Whether both lie in the same place and mean the same, as far as both say."""
        said = self.units and other.units
        return self == (other if said else other.model_copy(update={"units": self.units}))

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.columns)

    @property
    def slice(self) -> slice:
        """Where the group lies in a row."""
        return slice(self.start, self.start + self.width)

    def index(self, values: Sequence[str | None]) -> np.ndarray:
        """Column of each value within the group, (N,) int64; the last one for values unknown."""
        known = {name: position for position, name in enumerate(self.columns)}
        return np.array([known.get(value or UNTOLD, self.width - 1) for value in values], np.int64)


class FeatureLayout(BaseModel):
    """The groups of a feature row, in order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    groups: tuple[Group, ...]

    def __getitem__(self, name: str) -> Group:
        """The group of that name."""
        return next(group for group in self.groups if group.name == name)

    @property
    def width(self) -> int:
        """Columns of a row."""
        return sum(group.width for group in self.groups)

    @property
    def names(self) -> list[str]:
        """Names of the groups, in order: also the order of the presence bits."""
        return [group.name for group in self.groups]

    def differences(self, other: FeatureLayout) -> list[str]:
        """Say how another layout differs; an empty list if a row of one is a row of the other."""
        ours, theirs = ({group.name: group for group in side.groups} for side in (self, other))
        found = [f"group {name} is missing" for name in ours if name not in theirs]
        found += [f"group {name} is unknown" for name in theirs if name not in ours]
        found += [
            f"group {name} differs: {group.width} columns at {group.start}, "
            f"not {theirs[name].width} at {theirs[name].start}, or other meanings"
            for name, group in ours.items()
            if name in theirs and not group.fits(theirs[name])
        ]
        return found


def build_layout(vocabularies: Mapping[str, Sequence[str]]) -> FeatureLayout:
    """Lay out the groups.

    Args:
        vocabularies: values worth a column of their own, for each of surface, device, country,
            language and subscription; every group ends with one column for all other values.
    """
    vector = tuple(f"v{position}" for position in range(VECTOR_SIZE))

    def words(name: str) -> tuple[str, ...]:
        return (*sorted(set(vocabularies.get(name, ())) - {OTHER, UNTOLD}), OTHER)

    described: list[tuple[str, Kind, Iterable[str]]] = [
        *((name, "vector", vector) for name in HALF_LIVES),
        ("creators", "vector", vector),
        ("onboarding", "vector", vector),
        (INTERESTS, "vector", tuple(f"c{position}" for position in range(CODE_SIZE))),
        ("amounts", "amounts", AMOUNTS),
        ("hour", "distribution", tuple(str(hour) for hour in range(24))),
        ("weekday", "distribution", ("mon", "tue", "wed", "thu", "fri", "sat", "sun")),
        ("kind", "distribution", ("track", "episode")),
        ("surface", "distribution", words("surface")),
        ("device", "distribution", words("device")),
        ("country", "category", words("country")),
        ("language", "category", words("language")),
        ("age", "category", tuple(f"from {year}" for year in (0, *AGE_BANDS))),
        ("subscription", "category", words("subscription")),
        ("account_age", "amounts", ACCOUNT_AGE),
    ]
    amounts = {**AMOUNTS, **ACCOUNT_AGE}
    groups, start = [], 0
    for name, kind, columns in described:
        names = tuple(columns)
        units = (UNITS[kind],) if kind in UNITS else tuple(amounts[column] for column in names)
        groups.append(Group(name=name, kind=kind, start=start, columns=names, units=units))
        start += len(names)
    return FeatureLayout(groups=tuple(groups))
