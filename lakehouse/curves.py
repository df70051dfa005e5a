"""The learning curves of a training, as small pictures side by side for the report."""

from __future__ import annotations

from typing import Any

WIDTH, HEIGHT = 240, 96  # of a picture, in units of its own
PICTURES = {
    "loss": {"in training": "loss", "of held-out users": "validation_loss"},
    "AUC of held-out users": {"AUC": "auc"},
    "effective dimension of held-out users": {"dimensions": "effective_dimension"},
    "uniformity of held-out users": {"log potential": "uniformity"},
    "gradient norm": {"mean": "gradient_norm", "highest": "highest_gradient_norm"},
    "learning rate": {"rate": "learning_rate"},
    "users per second": {"users": "users_per_second"},
    "share of time waiting for examples": {"share": "waiting"},
}
# Where a line of nothing but chance would fill the picture otherwise.
FROM_ZERO = ("users per second", "share of time waiting for examples")


def pictures(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the template draws.

    Args:
        history: one entry per epoch, as ``model.json`` and the step's detail have it.

    Returns:
        for each picture its name, its range, its epochs, and its lines: name, last value, points.
    """
    found = [_picture(name, lines, history) for name, lines in PICTURES.items()]
    return [picture for picture in found if picture["lines"]]


def _picture(name: str, lines: dict[str, str], history: list[dict[str, Any]]) -> dict[str, Any]:
    values = {
        line: [(entry["epoch"], entry[key]) for entry in history if entry.get(key) is not None]
        for line, key in lines.items()
    }
    known = [value for line in values.values() for _, value in line]
    low, high = min(known, default=0.0), max(known, default=0.0)
    if name in FROM_ZERO:
        low = 0.0
    last = history[-1]["epoch"] if history else 1
    return {
        "name": name,
        "low": low,
        "high": high,
        "epochs": last,
        "lines": [
            {"name": line, "last": points[-1][1], "points": _points(points, last, low, high)}
            for line, points in values.items()
            if points
        ],
    }


def _points(
    values: list[tuple[int, float]], last: int, low: float, high: float
) -> list[tuple[float, float]]:
    """Places in the picture, (x, y) each; a line that does not change lies on the floor."""
    across, up = max(last - 1, 1), max(high - low, 1e-12)
    return [
        (round(WIDTH * (epoch - 1) / across, 1), round(HEIGHT * (1 - (value - low) / up), 1))
        for epoch, value in values
    ]
