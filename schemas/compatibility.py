"""What changed between two versions of contracts, and whether the version number says so.

``datacontract-cli`` finds every difference (its changelog). Its own grading asks which data would
newly pass or fail a test, so that to it each new column and each wider type is breaking. We ask
whether readers and writers of the old version can go on, and whether old rows stay readable.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from schemas.arrow import widens
from schemas.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from schemas.contract import Column, Contract

Level = Literal["breaking", "additive", "wording"]
Bounds: TypeAlias = "tuple[float | None, float | None]"
PARTS: dict[Level, int] = {"breaking": 1, "additive": 2, "wording": 3}  # of a version number
NAMES = ("major", "minor", "patch")
WORDS = ("description", "purpose", "usage", "limitations", "dataGranularityDescription")
JUDGED_OF_COLUMN = (
    *("logicalType", "physicalType", "items", "required"),
    *("primaryKey", "primaryKeyPosition", "classification"),
)
JUDGED_OPTIONS = ("minimum", "maximum", "minLength", "minItems", "maxItems", "unit", "enum")
MAY_GO = ("deprecated", "retired")


@dataclass(frozen=True)
class Change:
    """One difference between two versions of a table's contract.

    Attributes:
        table: whose contract.
        level: ``breaking`` for readers or writers, ``additive``, or ``wording`` alone.
        sentence: what changed.
    """

    table: str
    level: Level
    sentence: str

    @property
    def breaking(self) -> bool:
        """Whether readers or writers of the old version cannot go on."""
        return self.level == "breaking"


def changes(old: Contract, new: Contract) -> list[Change]:
    """Every difference between two versions of the contract of one table."""
    found = [*_table_changes(old, new), *_other_changes(old, new)]
    return [Change(new.name, level, sentence) for level, sentence in found]


def compare(old: Iterable[Contract], new: Iterable[Contract]) -> list[Change]:
    """Every difference between two sets of contracts.

    Raises:
        ContractError: a table is gone that was not deprecated, or a version number does not say
            what changed; everything that is wrong is listed.
    """
    before, after = ({agreed.name: agreed for agreed in group} for group in (old, new))
    found = [
        Change(name, "additive", f"table {name} is new") for name in sorted(after.keys() - before)
    ]
    wrong = []
    for name, agreed in before.items():
        if name not in after:
            found.append(Change(name, "breaking", f"table {name} is gone"))
            if agreed.document.status not in MAY_GO:
                wrong.append(f"table {name} is gone: set its status to deprecated first")
            continue
        changed = changes(agreed, after[name])
        found += changed
        wrong += _refusal(agreed, after[name], changed)
    if wrong:
        raise ContractError("the versions do not say what changed:\n" + "\n".join(wrong))
    return found


def _refusal(old: Contract, new: Contract, changed: Sequence[Change]) -> list[str]:
    """Why a version number may not stand, with the changes that call for another."""
    before, after = (tuple(map(int, agreed.version.split("."))) for agreed in (old, new))
    if after < before:
        return [f"{new.name} goes back from {old.version} to {new.version}"]
    if not changed:
        return []
    parts = min(PARTS[change.level] for change in changed)
    if after[:parts] > before[:parts]:
        return []
    told = [change.sentence for change in changed if PARTS[change.level] == parts]
    step = NAMES[parts - 1]
    return [
        f"{new.name} {old.version} -> {new.version} needs a new {step} version:",
        *(f"  - {sentence}" for sentence in told),
    ]


def _table_changes(old: Contract, new: Contract) -> Iterator[tuple[Level, str]]:
    if old.key != new.key:
        yield "breaking", f"the key was {_listed(old.key)}, and is {_listed(new.key)}"
    for column in old.columns:
        if column.name in new.column_names:
            for level, sentence in _column_changes(column, new[column.name]):
                yield level, f"column {column.name} {sentence}"
        else:
            yield "breaking", f"column {column.name} is gone"
    for column in new.columns:
        if column.name not in old.column_names:
            filled = " and must be filled" if column.required else ""
            yield _graded(column.required), f"column {column.name} is new{filled}"


def _column_changes(old: Column, new: Column) -> Iterator[tuple[Level, str]]:
    yield from _type_changes(old, new)
    if old.required != new.required:
        yield _graded(new.required), "must be filled" if new.required else "may be null"
    if old.unit != new.unit:
        yield (
            _graded(old.unit is not None),
            f"had the unit {old.unit or 'none'}, and has {new.unit or 'none'}",
        )
    if old.classification != new.classification:
        yield (
            _graded(old.personal),
            f"was {old.classification}, and is {new.classification}",
        )
    yield from _value_changes(old, new)


def _type_changes(old: Column, new: Column) -> Iterator[tuple[Level, str]]:
    if old.type_name != new.type_name:
        wider = widens(old.arrow.type, new.arrow.type)
        yield _graded(not wider), f"was {old.type_name}, and is {new.type_name}"


def _value_changes(old: Column, new: Column) -> Iterator[tuple[Level, str]]:
    """Allowed values, ranges and lengths: less room is breaking, more is additive."""
    if set(old.allowed) != set(new.allowed):
        less = bool(new.allowed) and not set(old.allowed) <= set(new.allowed)
        yield (
            _graded(less or not old.allowed),
            f"allowed {_listed(old.allowed)}, and allows {_listed(new.allowed)}",
        )
    for what, before, after in (
        ("range", (old.minimum, old.maximum), (new.minimum, new.maximum)),
        ("text length", (old.min_length, None), (new.min_length, None)),
        ("length", old.length, new.length),
    ):
        if before != after:
            # A vector of another length is another thing, though the new one may allow the old.
            fixed = what == "length" and old.is_vector
            yield (
                _graded(fixed or _narrower(before, after)),
                f"had the {what} {_bounds(*before)}, and has {_bounds(*after)}",
            )


def _narrower(old: Bounds, new: Bounds) -> bool:
    raised = new[0] is not None and (old[0] is None or new[0] > old[0])
    lowered = new[1] is not None and (old[1] is None or new[1] < old[1])
    return raised or lowered


def _other_changes(old: Contract, new: Contract) -> Iterator[tuple[Level, str]]:
    """Whatever else differs, by the name the standard has for it: rules, service level, words."""
    from datacontract.changelog.changelog import build_changelog

    found: dict[str, Level] = {}
    log = build_changelog(old.document, None, new.document, None)
    for change in log["detail"]["changes"]:
        path = change["path"].removeprefix(f"schema.{old.name}.").split(".")
        of_column = path[0] == "properties"
        if path[0] == "version" or (of_column and _is_judged(path[1:], old, new)):
            continue
        what = f"column {path[1]}: {path[2]}" if of_column else path[0]
        levels = (_level(path), found.get(what, "wording"))
        found[what] = min(levels, key=PARTS.__getitem__)
    yield from ((level, f"{what} differs") for what, level in found.items())


def _is_judged(path: Sequence[str], old: Contract, new: Contract) -> bool:
    """Whether the rules about columns have had their say on a difference."""
    name, *place = path
    if name not in old.column_names or name not in new.column_names:
        return True
    if place[0] in ("logicalTypeOptions", "customProperties"):
        return len(place) == 1 or place[1] in JUDGED_OPTIONS
    return place[0] in JUDGED_OF_COLUMN


def _level(path: Sequence[str]) -> Level:
    """Limits that we know nothing of count as breaking."""
    if "logicalTypeOptions" in path:
        return "breaking"
    return "wording" if path[-1] in WORDS else "additive"


def _graded(breaking: bool) -> Level:  # noqa: FBT001
    return "breaking" if breaking else "additive"


def _listed(values: Iterable[str]) -> str:
    return ", ".join(values) or "nothing in particular"


def _bounds(lowest: float | None, highest: float | None) -> str:
    if lowest is None and highest is None:
        return "none"
    if lowest == highest:
        return f"{lowest}"
    return f"{'…' if lowest is None else lowest} to {'…' if highest is None else highest}"
