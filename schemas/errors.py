"""Errors that speak to a person, and the exit status that goes with each."""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, ClassVar, ParamSpec

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
INTERRUPTED = 130  # exit status after Ctrl-C, as shells have it


class TasteprintError(Exception):
    """Something a person has to act on; the message says what, where, and what to do."""

    exit_status: ClassVar[int] = 1


class InputError(TasteprintError):
    """The arguments, the source file or the data cannot be used as they are."""

    exit_status = 2


class ContractError(InputError):
    """A table or a file does not fit its contract; the message lists every discrepancy."""


class GateError(TasteprintError):
    """A gate said no, and nothing was published."""

    exit_status = 3


class BatchError(TasteprintError):
    """A batch is not in the state that was asked for, or does not exist."""

    exit_status = 4


class LeaseError(TasteprintError):
    """Somebody else may commit to a table now, or did while we thought that we might."""

    exit_status = 5


class MixedBatchesError(BatchError):
    """Vectors of two batches, which are two spaces, were about to meet; the message names both."""


def entry_point(main: Callable[P, None]) -> Callable[P, None]:
    """Let a ``main`` end on our own errors with their message and exit status, not a traceback."""

    @functools.wraps(main)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            main(*args, **kwargs)
        except TasteprintError as error:
            sys.stderr.write(f"error: {error}\n")
            raise SystemExit(error.exit_status) from None
        except KeyboardInterrupt:
            sys.stderr.write("stopped; the same command goes on where this one was\n")
            raise SystemExit(INTERRUPTED) from None

    return guarded
