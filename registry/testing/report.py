"""Runs the checks of a family, all of them, and says of each that fails what was promised, what was found and what to do."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Check = tuple[Callable[..., None], str]
"""A property, whose docstring says what is promised, and what to do where it does not hold."""


def run_checks(part: str, contract: str, checks: Sequence[Check], *arguments: Any) -> None:
    """Runs every check, whatever became of those before it.

    Args:
        part: what is checked, for the message.
        contract: e.g. ``reweighting policy``.
        checks: in the order in which an author should mend them.
        arguments: of each check.

    Raises:
        AssertionError: some failed; the message has all of them.
    """
    failed: list[str] = []
    first: Exception | None = None
    for check, advice in checks:
        try:
            check(*arguments)
        except Exception as error:
            first = first or error
            promise = inspect.cleandoc(check.__doc__ or "").partition("\n\n")[0].replace("\n", " ")
            found = str(error) if isinstance(error, AssertionError) else f"{_raised(error)}"
            failed.append(f"{check.__name__}: {promise}\n    found: {found}\n    do: {advice}")
    if failed:
        raise AssertionError(
            f"{part} breaks {len(failed)} of the {len(checks)} promises of a {contract}:\n\n  " + "\n\n  ".join(failed)
        ) from first


def _raised(error: Exception) -> str:
    """What was raised, and the last line outside of this package that had a part in it."""
    here = Path(__file__).parent
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).parent != here]
    where = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return f"it raised {type(error).__name__}: {error}{where}"
