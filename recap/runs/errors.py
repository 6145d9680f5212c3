"""Errors of other libraries as a person is told of them."""

from __future__ import annotations


def first_line(error: Exception) -> str:
    """An error in one line: its kind and the first line of what it says, shortened."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:300]}"
