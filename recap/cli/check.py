"""`recap check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recap.cli.application import app
from recap.cli.common import (
    AllowUnusedOption,
    BindingOption,
    FileArgument,
    PluginOption,
    checked,
    fail,
    load,
    print_notes,
    screen,
)
from registry.shipped import located


@app.command(
    epilog="Example:  recap check experiments/paper/hybrid_recap.gin --gpu-memory 80"
    " --accelerate experiments/accelerate/fsdp2_8_gpus.yaml"
)
def check(
    file: FileArgument,
    bind: BindingOption = [],  # noqa: B006
    plugin: PluginOption = [],  # noqa: B006
    accelerate: Annotated[
        Path | None,
        typer.Option(
            help="an Accelerate config that the experiment is to be launched with: can the two work together?"
        ),
    ] = None,
    gpu_memory: Annotated[
        float | None, typer.Option(min=1, help="GiB of each GPU, e.g. 80; default: of those that are here")
    ] = None,
    allow_unused: AllowUnusedOption = False,
    full: Annotated[bool, typer.Option("--full", help="also the whole configuration as it would take effect")] = False,
) -> None:
    """Validates an experiment in seconds, without loading a model, and shows what it would do and the memory it would take."""
    from recap.evaluation.held_out import overlap, probe, shared_tables
    from recap.experiment.describe import experiment_table, memory_lines, summary
    from recap.experiment.layout import Layout, check_layout, layout_of_file, notes
    from recap.experiment.reference_check import reference_notes
    from recap.experiment.warm_up import weights_that_stay

    try:
        config = load(file, bind, plugin, allow_unused)
        missing = checked(config)
        layout = layout_of_file(located(accelerate)) if accelerate else None
        if layout:
            check_layout(config.experiment, layout)
        domains, capabilities = config.experiment.domains, config.experiment.capabilities
        not_held_out = [*shared_tables(domains, capabilities), *overlap(domains, probe(capabilities))]
    except ValueError as error:
        fail(error)
    console = screen()
    console.print(experiment_table(config.experiment))
    console.print(summary(config.experiment))
    if full:
        console.print(f"\n{config.operative}")
    for line in memory_lines(config.experiment, layout or Layout(), gpu_memory):
        console.print(line)
    unused = [*config.doubts, *map(str, config.unused)] if full else config.notes
    absent = [f"not on this machine: {text}" for text in missing]
    too_short, shape = weights_that_stay(config.experiment), notes(config.experiment, layout or Layout())
    found = [*too_short, *not_held_out, *reference_notes(config.experiment), *shape]
    print_notes([*unused, *absent, *found], console)
    console.print(f"{file}: valid" + (f" with {accelerate}" if layout else ""))
