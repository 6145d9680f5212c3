"""The `recap` command."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer
from rich.console import Console

from registry import FAMILIES, RegistryError, load_entry_points, load_plugin
from registry.core import Entry, Registry, near_matches

if TYPE_CHECKING:
    from recap.experiment.config import LoadedConfig

app = typer.Typer(
    help="RL post-training that keeps what the model could do before.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

FileArgument = Annotated[Path, typer.Argument(help="experiment file, e.g. experiments/quickstart.gin")]
BindingOption = Annotated[
    list[str],
    typer.Option("-b", "--bind", help="a binding that wins over the file's, e.g. 'train.steps = 5'; repeatable"),
]
PluginOption = Annotated[
    list[str], typer.Option("--plugin", help="a Python file that registers parts of your own; repeatable")
]
AllowUnusedOption = Annotated[
    bool, typer.Option("--allow-unused", help="let FILE and -b bind what nothing asks for: a note, no error")
]


@app.command(
    epilog="Examples:  recap train experiments/quickstart.gin -b 'train.reweighting = @reweighting.uniform'"
    "    recap train --resume runs/quickstart-recap-20260101-120000"
)
def train(
    file: Annotated[
        Path | None, typer.Argument(help="experiment file, e.g. experiments/quickstart.gin; not needed with --resume")
    ] = None,
    bind: BindingOption = [],  # noqa: B006  typer reads the default
    plugin: PluginOption = [],  # noqa: B006
    output: Annotated[
        Path | None, typer.Option(help="run directory for checkpoints and model; default runs/NAME-TIME")
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(help="run directory or checkpoint to go on from, as the run was started; more -b bindings win"),
    ] = None,
    allow_unused: AllowUnusedOption = False,
) -> None:
    """Trains an experiment, or goes on with a run that was stopped or killed. On several GPUs: `accelerate launch -m recap
    train FILE`; on several CPU processes: `ACCELERATE_USE_CPU=true torchrun --nproc_per_node 2 -m recap train FILE`."""
    from recap.runs.launch import check_launch, free_run_directory, run_name, shared_run_directory
    from recap.runs.run_directory import started_with

    try:
        check_launch()
        new = bind if resume is not None else None
        if resume is not None:
            file, bind, plugin = started_with(resume, file, bind, plugin)
        elif output is not None:
            free_run_directory(output)
        if file is None:
            raise ValueError("name an experiment file, e.g. experiments/quickstart.gin, or a run to --resume")
        config = _load(file, bind, plugin, allow_unused, new)
        missing = config.experiment.check()
    except ValueError as error:
        _fail(error)
    if missing:
        _fail(ValueError("\n".join(missing)))
    _print_notes(config.notes, Console(stderr=True, soft_wrap=True))
    from recap.runs.run import Run, TrainingStopped

    name = run_name(config.experiment, file)
    directory = output or shared_run_directory(Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}")
    try:
        Run(
            config.experiment,
            directory,
            name=name,
            operative_config=config.operative,
            command=config.command,
            resume=resume,
        ).execute()
    except KeyboardInterrupt:
        print(f"stopped; go on with: recap train --resume {resume or directory}", file=sys.stderr)
        raise typer.Exit(130) from None
    except (ValueError, TrainingStopped) as error:
        _fail(error)


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
    from recap.experiment.describe import experiment_table, memory_lines, summary
    from recap.experiment.layout import Layout, check_layout, layout_of_file, notes

    try:
        config = _load(file, bind, plugin, allow_unused)
        missing = config.experiment.check()
        layout = layout_of_file(accelerate) if accelerate else None
        if layout:
            check_layout(config.experiment, layout)
    except ValueError as error:
        _fail(error)
    console = Console(soft_wrap=True)
    console.print(experiment_table(config.experiment))
    console.print(summary(config.experiment))
    if full:
        console.print(f"\n{config.operative}", highlight=False, markup=False)
    for line in memory_lines(config.experiment, layout or Layout(), gpu_memory):
        console.print(line, highlight=False, markup=False)
    unused = [*config.doubts, *map(str, config.unused)] if full else config.notes
    absent = [f"not on this machine: {text}" for text in missing]
    _print_notes([*unused, *absent, *notes(config.experiment, layout or Layout())], console)
    console.print(f"{file}: valid" + (f" with {accelerate}" if layout else ""), highlight=False)


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
    from recap.runs.run_directory import started_with

    try:
        config = _load(*started_with(run, None, bind, plugin), allow_unused, bind)
        from recap.runs.export import export_checkpoint

        export_checkpoint(config.experiment, run, output, adapter_alone=adapter)
    except ValueError as error:
        _fail(error)
    print(f"wrote {output}")


@app.command(epilog="Example:  recap sync runs/quickstart-recap-20260101-120000")
def sync(run: Annotated[Path, typer.Argument(help="run directory, or one of its checkpoints")]) -> None:
    """Delivers to MLflow what a run logged while MLflow was away, from the run's directory."""
    from recap.runs.sync import sync_run

    try:
        print(sync_run(run))
    except ValueError as error:
        _fail(error)


@app.command("list", epilog="Example:  recap list reweighting")
def list_parts(
    family: Annotated[
        str | None, typer.Argument(help="verifiers, replay, reweighting or backends; default all")
    ] = None,
    plugin: PluginOption = [],  # noqa: B006
) -> None:
    """Lists the registered parts with what they do and their parameters."""
    _load_plugins(plugin)
    console = Console(soft_wrap=True)
    for registry in [_family(family)] if family else FAMILIES:
        console.print(f"[bold]{registry.gin_module}[/bold]", highlight=False)
        for entry in registry.entries():
            parameters = ", ".join(_parameters(entry))
            console.print(f"  {entry.name}({parameters})", highlight=False, markup=False)
            console.print(f"      {entry.summary}", highlight=False, markup=False)


@app.command(epilog="Example:  recap describe reweighting recap")
def describe(
    family: Annotated[str, typer.Argument(help="verifiers, replay, reweighting or backends")],
    name: Annotated[str, typer.Argument(help="a name from `recap list`")],
    plugin: PluginOption = [],  # noqa: B006
) -> None:
    """Shows one part: documentation, parameters with defaults, where it is defined; of a source also three examples."""
    from recap.experiment.describe import describe_part

    _load_plugins(plugin)
    registry = _family(family)
    try:
        entry = registry.get(name)
    except RegistryError as error:
        _fail(error)
    Console(soft_wrap=True).print(describe_part(registry, entry), highlight=False, markup=False)


study_app = typer.Typer(help="Studies of the method itself, small enough for a laptop.", no_args_is_help=True)
app.add_typer(study_app, name="study")


@study_app.command("two-task", epilog="Example:  recap study two-task --workers 2 --output runs/two-task")
def two_task(
    output: Annotated[Path, typer.Option(help="directory for tables and figures")] = Path("runs/two-task"),
    steps: Annotated[int, typer.Option(help="Adam steps; far fewer than the default is a trial, no result")] = 10_000,
    seeds: Annotated[int, typer.Option(help="seeds of the noise on L1")] = 10,
    workers: Annotated[int, typer.Option(min=1, help="processes, one thread each")] = 2,
    functions: Annotated[
        Literal["printed", "cagrad"],
        typer.Option(help="the losses as the paper prints them, or as CAGrad's public code has them"),
    ] = "printed",
    plugin: PluginOption = [],  # noqa: B006
) -> None:
    """Compares all reweighting policies and gradient methods on two conflicting losses of two variables:
    distance to the Pareto front, steps to reach it, oscillation, time per step."""
    _load_plugins(plugin)
    from recap.studies.two_task.command import run_command
    from recap.studies.two_task.study import Settings

    try:
        settings = Settings(functions=functions, steps=steps, seeds=seeds)
    except ValueError as error:
        _fail(error)
    run_command(settings, output, workers, plugin, Console(soft_wrap=True))


def main() -> None:
    """Entry point of the `recap` command."""
    app()


def _load(
    file: Path, bindings: list[str], plugins: list[str], allow_unused: bool, new: list[str] | None = None
) -> LoadedConfig:
    """The experiment; of a run that is there already only the `new` bindings are asked whether anything uses them."""
    from recap.experiment.config import load_config, refuse_unused

    config = load_config(file, bindings, plugins, allow_unused=True)
    if not allow_unused:
        refuse_unused(config, new)
    return config


def _print_notes(notes: list[str], console: Console) -> None:
    for text in notes if os.environ.get("RANK", "0") == "0" else ():
        console.print(f"note: {text}", highlight=False, markup=False)


def _load_plugins(plugins: list[str]) -> None:
    try:
        load_entry_points()
        for plugin in plugins:
            load_plugin(plugin)
    except (RegistryError, FileNotFoundError) as error:
        _fail(error)


def _family(name: str) -> Registry:
    families = {registry.gin_module: registry for registry in FAMILIES}
    if name not in families:
        near = near_matches(name, families)
        hint = f"; did you mean {near[0]}?" if near else ""
        _fail(ValueError(f"no family {name!r}{hint} (families: {', '.join(families)})"))
    return families[name]


def _parameters(entry: Entry) -> list[str]:
    return [
        str(parameter).split(":")[0] if parameter.default is parameter.empty else f"{name}={parameter.default!r}"
        for name, parameter in entry.parameters.items()
    ]


def _fail(error: Exception) -> NoReturn:
    Console(stderr=True, soft_wrap=True).print(f"error: {error}", style="red", highlight=False, markup=False)
    raise typer.Exit(2)
