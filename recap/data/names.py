"""Names of domains, capabilities and objectives: they become names of metrics, which MLflow restricts."""

from __future__ import annotations

import posixpath
import re

MAX_LENGTH = 100  # MLflow takes 250 characters, of which a metric may need two names and what it measures


def check_name(name: object, binding: str) -> None:
    """Refuses a name that MLflow would refuse in the first step: `mlflow.utils.validation`, on every system.

    Raises:
        ValueError: with the binding and what is allowed.
    """
    allowed = (
        f"a text of at most {MAX_LENGTH} characters that are letters, digits, '_', '-', '.', ' ' or '/', and no path such"
        " as '/a', 'a/' or '..': MLflow's charts carry it"
    )
    fits = (
        isinstance(name, str)
        and 0 < len(name) <= MAX_LENGTH
        and re.fullmatch(r"[/\w.\- ]*", name) is not None
        and posixpath.normpath(name) == name
        and not name.startswith(("..", "/"))
        and name != "."
    )
    if not fits:
        raise ValueError(f"{binding} is the name {name!r}; a name is {allowed}")
