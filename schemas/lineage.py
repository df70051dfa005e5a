"""A drawing of which table is made from which, from left to right.

Tables stand in layers, each one layer after the last of its inputs. A line that crosses layers
gets a point of its own in each, and all lines of one table share these points: lines that end in
many tables then run together for as long as they can. Layers are put in order by the mean place
of their neighbours, back and forth (Sugiyama, Tagawa and Toda, 1981).
"""

from __future__ import annotations

from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import combinations
from typing import TYPE_CHECKING

from schemas.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# All in units of the drawing, which are pixels where it is shown at its own size.
BOX_WIDTH, BOX_HEIGHT = 132, 28
COLUMN, ROW, PASSING = 190, 44, 18  # from layer to layer, from box to box, from line to line
MARGIN = 8
SWEEPS = 12

Point = tuple[str, int]  # a table and a layer: its box in its own, its line in later ones


@dataclass(frozen=True)
class Box:
    """A table; x and y of its upper left corner."""

    name: str
    x: float
    y: float


@dataclass(frozen=True)
class Line:
    """A piece of the way from a table to others, as an SVG path."""

    source: str
    path: str


@dataclass(frozen=True)
class Drawing:
    """Boxes and lines, and the size of the whole."""

    width: float
    height: float
    boxes: list[Box]
    lines: list[Line]


def draw(inputs: Mapping[str, Sequence[str]]) -> Drawing:
    """Lay tables out by what each is made from.

    Args:
        inputs: of each table; names that are no tables themselves stand at the left.

    Raises:
        ContractError: a table is made from itself, by whatever way.
    """
    depth = _depths(inputs)
    pieces = _pieces(inputs, depth)
    layers = _ordered(_layers(depth, pieces), pieces)
    places = _places(layers, depth)
    boxes = [Box(name, *places[name, layer]) for name, layer in depth.items()]
    lines = [Line(start[0], _curve(start, end, places, depth)) for start, end in sorted(pieces)]
    return Drawing(
        width=max(box.x for box in boxes) + BOX_WIDTH + MARGIN,
        height=max(y for _, y in places.values()) + BOX_HEIGHT + MARGIN,
        boxes=boxes,
        lines=lines,
    )


def _depths(inputs: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """The layer of each name: one more than that of its last input."""
    depth: dict[str, int] = {}
    try:
        for name in TopologicalSorter(inputs).static_order():
            depth[name] = max((depth[given] + 1 for given in inputs.get(name, ())), default=0)
    except CycleError as error:
        way = " -> ".join(error.args[1])
        raise ContractError(f"tables are made from one another in a circle: {way}") from error
    return depth


def _pieces(inputs: Mapping[str, Sequence[str]], depth: dict[str, int]) -> set[tuple[Point, Point]]:
    """The lines, cut where they cross layers; what two lines share is there once."""
    found: set[tuple[Point, Point]] = set()
    for target, sources in inputs.items():
        for source in sources:
            way = [(source, layer) for layer in range(depth[source], depth[target])]
            found |= set(zip(way, [*way[1:], (target, depth[target])], strict=True))
    return found


def _layers(depth: dict[str, int], pieces: set[tuple[Point, Point]]) -> list[list[Point]]:
    points = {point for piece in pieces for point in piece} | set(depth.items())
    return [
        sorted(point for point in points if point[1] == layer)
        for layer in range(max(depth.values()) + 1)
    ]


def _ordered(layers: list[list[Point]], pieces: set[tuple[Point, Point]]) -> list[list[Point]]:
    """The order with the fewest crossings that sweeping back and forth comes to."""
    before = {end: [a for a, b in pieces if b == end] for _, end in pieces}
    after = {start: [b for a, b in pieces if a == start] for start, _ in pieces}
    best = layers
    for sweep in range(SWEEPS):
        neighbours = (after, before)[sweep % 2]
        layers = _sweep(layers, neighbours, backwards=neighbours is after)
        best = min(best, layers, key=lambda order: _crossings(order, pieces))
    return best


def _sweep(
    layers: list[list[Point]], neighbours: dict[Point, list[Point]], *, backwards: bool
) -> list[list[Point]]:
    place: dict[Point, float] = {
        point: row / len(layer) for layer in layers for row, point in enumerate(layer)
    }

    def middle(point: Point) -> float:
        near = [place[other] for other in neighbours.get(point, [])]
        return sum(near) / len(near) if near else place[point]

    found = []
    for layer in reversed(layers) if backwards else layers:
        found.append(sorted(layer, key=middle))
        place |= {point: row / len(layer) for row, point in enumerate(found[-1])}
    return found[::-1] if backwards else found


def _crossings(layers: list[list[Point]], pieces: set[tuple[Point, Point]]) -> int:
    place = {point: row for layer in layers for row, point in enumerate(layer)}
    return sum(
        (place[a] - place[c]) * (place[b] - place[d]) < 0
        for (a, b), (c, d) in combinations(pieces, 2)
        if a[1] == c[1]
    )


def _places(layers: list[list[Point]], depth: dict[str, int]) -> dict[Point, tuple[float, float]]:
    """Where each point is, x and y: layers side by side, each in the middle of the height."""
    heights = [[ROW if depth[name] == at else PASSING for name, at in layer] for layer in layers]
    tallest = max(sum(layer) for layer in heights)
    found = {}
    for column, (layer, rows) in enumerate(zip(layers, heights, strict=True)):
        y = MARGIN + (tallest - sum(rows)) / 2
        for point, height in zip(layer, rows, strict=True):
            found[point] = (float(MARGIN + column * COLUMN), y)
            y += height
    return found


def _curve(
    start: Point, end: Point, places: dict[Point, tuple[float, float]], depth: dict[str, int]
) -> str:
    """From the right edge of a box, or of the room of one, to the left edge of the next."""

    def middle(point: Point) -> float:
        return places[point][1] + (BOX_HEIGHT / 2 if depth[point[0]] == point[1] else 0)

    x, y = places[start][0] + BOX_WIDTH, middle(start)
    to_x, to_y = places[end][0], middle(end)
    bend = (x + to_x) / 2
    through = "" if depth[end[0]] == end[1] else f" h {BOX_WIDTH}"
    return f"M {x:g} {y:g} C {bend:g} {y:g} {bend:g} {to_y:g} {to_x:g} {to_y:g}{through}"
