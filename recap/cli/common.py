"""What the commands share: the arguments that several of them take, and how they load, note and fail."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console

from recap.cli import completion
from registry import RegistryError, load_entry_points, load_plugin

if TYPE_CHECKING:
    from recap.experiment.config import LoadedConfig

FileArgument = Annotated[
    Path,
    typer.Argument(
        help="experiment file, or a name of `recap experiments`, e.g. quickstart", autocompletion=completion.experiments
    ),
]
BindingOption = Annotated[
    list[str],
    typer.Option("-b", "--bind", help="a binding that wins over the file's, e.g. 'train.steps = 5'; repeatable"),
]
PluginOption = Annotated[
    list[str], typer.Option("--plugin", help="a Python file that registers parts of your own; repeatable")
]
ExperimentOrResume = Annotated[
    Path | None,
    typer.Argument(
        help="experiment file, or a name of `recap experiments`; not needed with --resume",
        autocompletion=completion.experiments,
    ),
]
BaselineOption = Annotated[
    str | None,
    typer.Option(help="the group, or policy of a single one, that is compared with; default: that of the first run"),
]
FilterOption = Annotated[str | None, typer.Option("--filter", help="runs of MLflow, by its own filter")]
MLflowExperimentOption = Annotated[str | None, typer.Option(help="of MLflow, where --filter looks; default: all")]
StoreOption = Annotated[str | None, typer.Option(help="of MLflow; default: MLFLOW_TRACKING_URI, or the local database")]
AllowUnusedOption = Annotated[
    bool, typer.Option("--allow-unused", help="let FILE and -b bind what nothing asks for: a note, no error")
]


def check_alone(what: str) -> None:
    """Of what one process does whole: several would each do it, and write over one another's files.

    Args:
        what: is the case, for the message.

    Raises:
        ValueError: a launcher has started several.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError(f"{what}: run it without a launcher")


def load(
    file: Path, bindings: list[str], plugins: list[str], allow_unused: bool, new: list[str] | None = None
) -> LoadedConfig:
    """The experiment; of a run that is there already only the `new` bindings are asked whether anything uses them."""
    from recap.experiment.config import load_config, refuse_unused

    config = load_config(file, bindings, plugins, allow_unused=True)
    if not allow_unused:
        refuse_unused(config, new)
    return config


def checked(config: LoadedConfig) -> list[str]:
    """What the experiment asks for and is not on this machine.

    Raises:
        ValueError: what cannot work anywhere, and where it was bound.
    """
    try:
        return config.experiment.check()
    except ValueError as error:
        raise config.located(error) from error


def screen(*, stderr: bool = False, quiet: bool = False) -> Console:
    """Where a command prints: words as they are, for `[1]` is no markup and `:END:` no emoji; tables as wide as the terminal.

    Where there is none, as in a file, nothing is to be squeezed into 80 columns: `COLUMNS` says how wide, or it is 200.
    """
    console = Console(stderr=stderr, quiet=quiet, soft_wrap=True, markup=False, emoji=False, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = 200
    return console


def print_notes(notes: list[str], console: Console) -> None:
    for text in notes if os.environ.get("RANK", "0") == "0" else ():
        console.print(f"note: {text}")


def load_plugins(plugins: list[str]) -> None:
    try:
        load_entry_points()
        for plugin in plugins:
            load_plugin(plugin)
    except (RegistryError, FileNotFoundError) as error:
        fail(error)


def cannot_write(option: str, path: Path, error: OSError) -> ValueError:
    """What to say of a place that was named and cannot be written."""
    return ValueError(f"{option} {path} cannot be written ({error.strerror or error}); choose another")


def fail(error: Exception) -> NoReturn:
    screen(stderr=True).print(f"error: {error}", style="red")
    raise typer.Exit(2)
