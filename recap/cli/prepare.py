"""`recap prepare`."""

from __future__ import annotations

from recap.cli.application import app
from recap.cli.common import AllowUnusedOption, BindingOption, FileArgument, PluginOption, fail, load, screen


@app.command(epilog="Example:  recap prepare experiments/paper/hybrid_recap.gin")
def prepare(
    file: FileArgument,
    bind: BindingOption = [],  # noqa: B006
    plugin: PluginOption = [],  # noqa: B006
    allow_unused: AllowUnusedOption = False,
) -> None:
    """Opens every source of an experiment, held-out ones too, as each run does when it starts: downloads what is not here yet,
    reads the first rows, and says what it found and how long it took."""
    from recap.experiment.prepare import open_source, sources_of
    from recap.runs.self_replay import prepare_self_replay

    try:
        config = load(file, bind, plugin, allow_unused)
    except ValueError as error:
        fail(error)
    try:
        config.experiment.check_settings()
    except ValueError as error:
        fail(config.located(error))
    console = screen()
    failures = []
    try:
        prepare_self_replay(config.experiment, lambda line: console.print(line))
    except ValueError as error:
        fail(config.located(error))
    for binding, source in sources_of(config.experiment).items():
        try:
            console.print(str(open_source(binding, source)))
        except ValueError as error:
            console.print(f"{binding}: cannot be used")
            failures.append(str(config.located(error)))
    at_hand = config.experiment.model.at_hand()
    if at_hand is not None:
        where = "on this machine" if at_hand else "not on this machine yet: downloaded when a run starts"
        console.print(f"train.model: {where}")
    if failures:
        fail(ValueError("\n".join(failures)))
    console.print(f"{file}: ready")
