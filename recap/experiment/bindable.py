"""What gin can bind beside the registered parts: settings (`train`, `rollout`, `Domain`, ...) and mixtures."""

from __future__ import annotations

import inspect

from gin import config as gin_config

import recap.experiment.load  # noqa: F401  everything that an experiment file can name is imported with it
from registry.core import near_matches

MODULES = ("recap", "mixtures")


def describe_bindable(name: str) -> str:
    """Documentation, parameters and place.

    Raises:
        ValueError: gin knows nothing of that name; the message has what it knows.
    """
    known = _found()
    if name not in known:
        near = [one for one in known if name in (one.partition(".")[0], one.removeprefix("mixtures."))]
        near = near or near_matches(name, known)[:1]
        near = near or [name.partition(".")[0]] * (name.partition(".")[0] in known)  # a parameter of settings
        hint = f"; did you mean {' or '.join(one.replace('.', ' ') for one in near)}?" if near else ""
        raise ValueError(f"nothing to bind is called {name!r}{hint} (there are: {', '.join(sorted(known))})")
    original = known[name].wrapped
    place = inspect.getsourcefile(original)
    parameters = [
        f"  {name}.{key}" + ("" if p.default is p.empty else f" = {_shown(p.default)}")
        for key, p in inspect.signature(original).parameters.items()
    ]
    heading = "parameters:" if parameters else "no parameters"
    line = inspect.getsourcelines(original)[1]
    return "\n".join([f"@{name}()    {place}:{line}", "", inspect.getdoc(original) or "", "", heading, *parameters])


def _found() -> dict[str, gin_config.Configurable]:
    all_known = gin_config._REGISTRY._selector_map.values()  # gin has no public list
    return {
        found.name if found.module == "recap" else found.selector: found
        for found in all_known
        if found.module in MODULES
    }


def _shown(default: object) -> str:
    return "(made anew)" if "factory" in repr(default) else repr(default)
