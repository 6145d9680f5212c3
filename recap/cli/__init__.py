"""The `recap` command: a file for each of its commands, which register in the order of `recap --help`."""

from recap.cli.application import app

from recap.cli import train, check, prepare, export, sync, compare, report, interpolate, eval, sweep, search  # isort: skip
from recap.cli import ui, experiments, parts, new, study  # isort: skip

__all__ = [
    "app",
    "check",
    "compare",
    "eval",
    "experiments",
    "export",
    "interpolate",
    "main",
    "new",
    "parts",
    "prepare",
    "report",
    "search",
    "study",
    "sweep",
    "sync",
    "train",
    "ui",
]


def main() -> None:
    """Entry point of the `recap` command."""
    app()
