"""`recap search`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from recap.cli.application import app
from recap.cli.common import AllowUnusedOption, BindingOption, FileArgument, PluginOption, fail, screen
from recap.cli.sweep import JobsOption, SeedsOption, plan_of

BEST = 5  # trials that are shown


@app.command(
    epilog="Example:  recap search quickstart -s 'adamw.learning_rate = log(1e-5, 1e-3)'"
    " -s 'reweighting.recap.temperature = log(0.1, 10)' --metric capability/reading --trials 20 --jobs 2"
)
def search(
    file: FileArgument,
    axes: Annotated[
        list[str], typer.Option("-s", "--search", help="a binding: log(low, high), uniform, integer, or choice(a, b)")
    ],
    metric: Annotated[str, typer.Option(help="of a run in MLflow, its last value; the mean over seeds counts")],
    trials: Annotated[int, typer.Option(min=1, help="points to try, those of an earlier call included")] = 20,
    minimise: Annotated[bool, typer.Option("--minimise", help="less of the metric is better")] = False,
    seeds: SeedsOption = None,
    jobs: JobsOption = 1,
    bind: BindingOption = [],  # noqa: B006
    plugin: PluginOption = [],  # noqa: B006
    output: Annotated[Path | None, typer.Option(help="directory; default runs/NAME-search")] = None,
    allow_unused: AllowUnusedOption = False,
) -> None:
    """Searches bindings by optuna, from what came of the trials before, and shows the best.

    The directory is a sweep of all trials: recap compare and recap report read it. The same command goes on where it stopped.
    The best of many trials is better than it is: judge it by seeds that the search has not seen.
    """
    from recap.sweeps.plan import refuse_what_the_sweep_binds
    from recap.sweeps.search import Search, run_search

    console = screen()

    def say(line: str) -> None:
        console.print(line)

    try:
        names = [text.partition("=")[0].strip() for text in axes]
        refuse_what_the_sweep_binds(axes, bind, seeds)
        plan = plan_of(file, [], seeds, bind, plugin)
        directory = (output or Path("runs") / f"{Path(plan.file).stem}-search").absolute()
        say(f"search in {directory}; the same command with --output {directory} goes on with it")
        wanted = Search(tuple(axes), metric, minimise)
        study, failures = run_search(wanted, plan, directory, trials, jobs=jobs, allow_unused=allow_unused, say=say)
    except ValueError as error:
        fail(error)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    table = Table("trial", metric, *names)
    ended = [trial for trial in study.trials if trial.value is not None]
    for trial in sorted(ended, key=lambda trial: (1 if minimise else -1) * float(trial.value or 0))[:BEST]:
        table.add_row(str(trial.number), f"{trial.value:.6g}", *(f"{trial.params[name]}" for name in names))
    console.print(table)
    for failure in failures:
        say(str(failure))
    if not ended:
        raise typer.Exit(1)
