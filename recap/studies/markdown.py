"""A table as Markdown."""

from __future__ import annotations

from collections.abc import Sequence


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], rule: Sequence[str]) -> list[str]:
    """Its lines.

    Args:
        rule: of each column ``---``, or ``---:`` where numbers are to stand right.
    """
    return [f"| {' | '.join(header)} |", f"|{'|'.join(rule)}|", *(f"| {' | '.join(row)} |" for row in rows)]
