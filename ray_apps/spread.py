"""A function over parts, each in a task of its own, wherever the cluster has room."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Part = TypeVar("Part")
Result = TypeVar("Result")


def spread(work: Callable[[Part], Result], parts: Sequence[Part]) -> Iterator[Result]:
    """Yield what a function makes of each part, in their order, as ``map`` does.

    A task whose worker dies is run again by Ray; what the function raises is raised here.

    Args:
        work: may be run twice.
        parts: small, as lists of files are; results travel to this process, too.
    """
    import ray

    run = ray.remote(_run)
    for running in [run.remote(work, part) for part in parts]:
        yield ray.get(running)


def _run(work: Callable[[Part], Result], part: Part) -> Result:
    return work(part)
