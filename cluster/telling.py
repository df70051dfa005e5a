"""What a drill says while it goes on."""

from __future__ import annotations

import time

BEGAN = time.monotonic()


def say(sentence: str) -> None:
    """Print a sentence with the seconds since the start."""
    print(f"{time.monotonic() - BEGAN:6.0f} s  {sentence}", flush=True)  # noqa: T201
