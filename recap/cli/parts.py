"""`recap list` and `recap describe`: the registered parts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recap.cli import completion
from recap.cli.application import app
from recap.cli.common import BindingOption, PluginOption, fail, load, load_plugins, screen
from registry import FAILED_PLUGINS, FAMILIES, RegistryError
from registry.core import Entry, Registry, near_matches


@app.command("list", epilog="Example:  recap list reweighting")
def list_parts(
    family: Annotated[
        str | None,
        typer.Argument(
            help="verifiers, replay, reweighting or backends; default all", autocompletion=completion.families
        ),
    ] = None,
    plugin: PluginOption = [],  # noqa: B006
) -> None:
    """Lists the registered parts with what they do, their parameters, and where each comes from unless it is built in."""
    load_plugins(plugin)
    console = screen()
    for registry in [_family(family)] if family else FAMILIES:
        console.print(registry.gin_module, style="bold")
        for entry in registry.entries():
            parameters = ", ".join(_parameters(entry))
            console.print(f"  {entry.name}({parameters})")
            console.print(f"      {entry.summary}")
            if entry.origin != "built in":
                console.print(f"      from {entry.origin}")
    for failure in FAILED_PLUGINS.values():
        console.print(f"note: {failure}")


@app.command(
    epilog="Examples:  recap describe reweighting recap    recap describe rollout    recap describe mixtures quotas"
    "    recap describe replay jsonl --file mine.gin"
)
def describe(
    family: Annotated[
        str,
        typer.Argument(
            help="verifiers, replay, reweighting, backends or mixtures; or settings, e.g. train, Domain",
            autocompletion=completion.families,
        ),
    ],
    name: Annotated[
        str | None,
        typer.Argument(help="a name from `recap list`; of settings none", autocompletion=completion.parts),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            help="an experiment, or its name: examples of the source as it is made there",
            autocompletion=completion.experiments,
        ),
    ] = None,
    bind: BindingOption = [],  # noqa: B006
    plugin: PluginOption = [],  # noqa: B006
) -> None:
    """Shows one part, or settings: documentation, parameters with defaults, place; of a source also three examples."""
    from recap.experiment.bindable import describe_bindable
    from recap.experiment.describe import describe_part

    load_plugins(plugin)
    console = screen()
    family, name = _as_in_gin(family, name)
    if file is not None and family != "replay":
        fail(ValueError(f"--file shows examples of replay sources; {family} has none"))
    try:
        if name is None or family not in _families():
            console.print(describe_bindable(family if name is None else f"{family}.{name}"))
            return
        entry = _families()[family].get(name)
        config = None if file is None else load(file, bind, plugin, allow_unused=True)
    except (ValueError, RegistryError) as error:
        fail(error)
    try:
        console.print(describe_part(_families()[family], entry, None if config is None else config.experiment))
    except ValueError as error:
        fail(error if config is None else config.located(error))


def _as_in_gin(family: str, name: str | None) -> tuple[str, str | None]:
    """Also ``@reweighting.recap()``, as a file has it; a family alone is an error that says how to see its parts."""
    found = family.removeprefix("@").removesuffix("()")
    if name is None and found.partition(".")[0] in _families():
        family, _, rest = found.partition(".")
        if not rest:
            fail(ValueError(f"{family} is a family: recap list {family}, then recap describe {family} NAME"))
        return family, rest
    if name is None:
        holding = [one.gin_module for one in FAMILIES if found in one.names()]
        if holding:
            fail(ValueError(f"which one? {' or '.join(f'recap describe {one} {found}' for one in holding)}"))
    return found, name


def _families() -> dict[str, Registry]:
    return {registry.gin_module: registry for registry in FAMILIES}


def _family(name: str) -> Registry:
    families = _families()
    if name not in families:
        near = near_matches(name, families)
        hint = f"; did you mean {near[0]}?" if near else ""
        fail(ValueError(f"no family {name!r}{hint} (families: {', '.join(families)})"))
    return families[name]


def _parameters(entry: Entry) -> list[str]:
    return [
        str(parameter).split(":")[0] if parameter.default is parameter.empty else f"{name}={parameter.default!r}"
        for name, parameter in entry.parameters.items()
    ]
