"""The application that the commands register with."""

from typing import Annotated

import typer

app = typer.Typer(
    help="RL post-training that keeps what the model could do before.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"recap {version('recap-rlvr')}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="the version, and nothing else")
    ] = False,
) -> None:
    """RL post-training that keeps what the model could do before."""
