"""Functions of a user's own, named in a gin file as ``path/to/file.py:function``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from registry.core import load_plugin, near_matches


def function_of(value: str | Callable[..., Any], binding: str) -> Callable[..., Any]:
    """The function that a binding names; a function is itself.

    Args:
        value: ``file.py:function``, the file relative to the working directory; or a function (`@configurable` in gin).
        binding: names the setting in messages.

    Raises:
        ValueError: no such file or function, or a file that cannot be run.
    """
    if not isinstance(value, str):
        if not callable(value):
            raise ValueError(f"{binding} must be a function or 'file.py:function', not {value!r}")
        return value
    file, colon, name = value.rpartition(":")
    if not colon or not file.endswith(".py") or not name.isidentifier():
        raise ValueError(f"{binding} is {value!r}: write 'path/to/file.py:function'")
    path = Path(file).expanduser()
    try:
        load_plugin(path)
    except (ValueError, FileNotFoundError) as error:
        raise ValueError(f"{binding} is {value!r}: {error}") from error
    module = sys.modules[f"recap_plugin_{path.resolve().stem}"]
    found = getattr(module, name, None)
    if not callable(found):
        known = [key for key, item in vars(module).items() if callable(item) and not key.startswith("_")]
        near = near_matches(name, known)
        hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(known) or 'none'}"
        raise ValueError(f"{binding} is {value!r}: no function {name!r} in {file}; {hint}")
    return found  # type: ignore[no-any-return]
