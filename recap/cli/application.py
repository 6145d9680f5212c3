"""The application that the commands register with."""

import typer

app = typer.Typer(
    help="RL post-training that keeps what the model could do before.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
