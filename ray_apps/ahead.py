"""An iterator that a thread runs ahead of whoever takes from it."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Thing = TypeVar("Thing")
END = object()


def ahead(things: Iterable[Thing], count: int) -> Iterator[Thing]:
    """Yield what an iterable yields, in its order, while a thread already makes the next ones.

    What the iterable raises is raised here, after all that it had yielded. Closed before its end,
    the thread finishes what it is making, and stops.

    Args:
        things: taken from by one thread alone.
        count: how many are made ahead, at least one.
    """
    iterator = iter(things)
    thread = ThreadPoolExecutor(1, "ahead")
    try:
        made = deque(thread.submit(next, iterator, END) for _ in range(count))
        while (thing := made.popleft().result()) is not END:
            made.append(thread.submit(next, iterator, END))
            yield thing  # type: ignore[misc]  # not END
    finally:
        thread.shutdown(wait=False, cancel_futures=True)
