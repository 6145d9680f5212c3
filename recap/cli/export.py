"""`recap export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recap.cli.application import app
from recap.cli.common import AllowUnusedOption, BindingOption, PluginOption, cannot_write, fail, load


@app.command(epilog="Example:  recap export runs/NAME/checkpoint-best --output my-model")
def export(
    run: Annotated[Path, typer.Argument(help="run directory, whose newest checkpoint is taken, or a checkpoint")],
    output: Annotated[Path, typer.Option(help="directory to write")],
    adapter: Annotated[bool, typer.Option("--adapter", help="the adapter alone, in peft's format")] = False,
    bind: BindingOption = [],  # noqa: B006
    plugin: PluginOption = [],  # noqa: B006
    allow_unused: AllowUnusedOption = False,
) -> None:
    """Writes the model of a checkpoint as a plain directory that `from_pretrained` loads, an adapter merged."""
    from recap.runs.run_directory import go_where_it_was_started, started_with

    try:
        run, output = run.absolute(), output.absolute()
        if output.exists() and not output.is_dir():
            raise ValueError(f"--output {output} is a file: name a directory")
        started = started_with(run, None, bind, [str(Path(path).absolute()) for path in plugin])
        go_where_it_was_started(run)
        config = load(*started, allow_unused, bind)
        from recap.runs.export import export_checkpoint

        export_checkpoint(config.experiment, run, output, adapter_alone=adapter)
    except ValueError as error:
        fail(error)
    except OSError as error:
        # What has no number is no disk's: transformers raises it for a model that is not there.
        fail(error if error.errno is None else cannot_write("--output", output, error))
    print(f"wrote {output}")
