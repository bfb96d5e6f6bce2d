"""How commands speak: results to stdout, progress to stderr, errors in a line with an exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer


def say(text: str) -> None:
    typer.echo(text, err=True)


def out(value: Any, as_json: bool) -> None:
    typer.echo(json.dumps(value, indent=1) if as_json else value)


def me() -> str:
    return f"{Path(sys.executable)} -m study"


@contextmanager
def clear_errors() -> Iterator[None]:
    """Errors that a user can mend as one line and an exit code; all others with their traceback."""
    try:
        yield
    except KeyboardInterrupt:
        say("Interrupted.")
        raise typer.Exit(130) from None
    except Exception as error:
        code = _code(error)
        if code is None:
            raise
        say(f"Error: {error}")
        raise typer.Exit(code) from None


def _code(error: Exception) -> int | None:
    from analysis.events import LedgerError
    from analysis.export import NotAStudyError
    from search_spaces.methods import MethodError
    from search_spaces.ranges import RangeError
    from study.ledger import StudyLockedError, StudyStorageError
    from trainables.core.errors import MissingDataError, SettingError
    from trainables.storage import StorageError

    if isinstance(error, MissingDataError | StudyStorageError | StorageError):
        return 3
    wrong = (
        SettingError,
        RangeError,
        MethodError,
        LedgerError,
        NotAStudyError,
        StudyLockedError,
    )
    return 2 if isinstance(error, wrong) else None
