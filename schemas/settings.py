"""The base of every entry point's settings: frozen, typed, from flags or environment."""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any, Self

from pydantic import ValidationError
from pydantic_settings import BaseSettings, CliApp, SettingsConfigDict

if TYPE_CHECKING:
    from collections.abc import Sequence

USAGE = 2  # exit status of a wrong argument, as argparse has it


class Settings(BaseSettings):
    """Settings of one entry point: each field is a flag and a ``TASTEPRINT_…`` variable.

    A flag wins over the variable, the variable over the default; an unknown flag is an error.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix="TASTEPRINT_",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
        use_attribute_docstrings=True,
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **_kwargs: Any) -> None:
        """Let --help show the class docstring without its indentation."""
        cls.__doc__ = inspect.cleandoc(cls.__doc__ or "")

    @classmethod
    def parse(cls, argv: Sequence[str] | None = None) -> Self:
        """Read the command line; a bad value ends the process with status 2 and a sentence.

        Args:
            argv: the arguments after the program's name; ``sys.argv`` if None.
        """
        try:
            return CliApp.run(cls, cli_args=list(sys.argv[1:] if argv is None else argv))
        except ValidationError as error:
            for line in complaints(error):
                sys.stderr.write(f"{line}\n")
            sys.stderr.write("See --help.\n")
            raise SystemExit(USAGE) from None

    def recipe(self) -> dict[str, Any]:
        """What has to be given again for the same result: all but where and what for."""
        return self.model_dump(mode="json", exclude={"lakehouse", "batch_id"})


def complaints(error: ValidationError) -> list[str]:
    """Say each of pydantic's findings as ``where: what``, without its addresses and types."""
    return [
        f"{'.'.join(str(part) for part in item['loc']) or 'input'}: {item['msg']}"
        for item in error.errors()
    ]
