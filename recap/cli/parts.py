"""`recap list` and `recap describe`: the registered parts."""

from __future__ import annotations

from typing import Annotated

import typer

from recap.cli.application import app
from recap.cli.common import PluginOption, fail, load_plugins, screen
from registry import FAILED_PLUGINS, FAMILIES, RegistryError
from registry.core import Entry, Registry, near_matches


@app.command("list", epilog="Example:  recap list reweighting")
def list_parts(
    family: Annotated[
        str | None, typer.Argument(help="verifiers, replay, reweighting or backends; default all")
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
)
def describe(
    family: Annotated[
        str,
        typer.Argument(help="verifiers, replay, reweighting, backends or mixtures; or settings, e.g. train, Domain"),
    ],
    name: Annotated[str | None, typer.Argument(help="a name from `recap list`; of settings none")] = None,
    plugin: PluginOption = [],  # noqa: B006
) -> None:
    """Shows one part, or settings: documentation, parameters with defaults, place; of a source also three examples."""
    from recap.experiment.bindable import describe_bindable
    from recap.experiment.describe import describe_part

    load_plugins(plugin)
    console = screen()
    if name is None or family == "mixtures":
        try:
            text = describe_bindable(family if name is None else f"{family}.{name}")
        except ValueError as error:
            fail(error)
        console.print(text)
        return
    registry = _family(family)
    try:
        entry = registry.get(name)
    except RegistryError as error:
        fail(error)
    console.print(describe_part(registry, entry))


def _family(name: str) -> Registry:
    families = {registry.gin_module: registry for registry in FAMILIES}
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
