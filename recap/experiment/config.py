"""gin: finds, parses and validates the files of an experiment, and says what is wrong with them in one readable error."""

from __future__ import annotations

import contextlib
import inspect
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import gin

import recap.data.prompts  # noqa: F401  registers the constants %prompts.*
from recap.experiment.experiment import Experiment
from registry import FAMILIES, load_entry_points, load_plugin
from registry.core import near_matches


class ConfigError(ValueError):
    """An experiment file, binding or plugin that cannot be used; the message says where and what to do."""


@dataclass(frozen=True)
class Command:
    """What an experiment was loaded from; paths are absolute, so that a run can be resumed from any directory."""

    file: str
    bindings: tuple[str, ...]
    plugins: tuple[str, ...]


@dataclass(frozen=True)
class LoadedConfig:
    """A validated experiment.

    Attributes:
        experiment: ready to run; no model or data set has been loaded.
        operative: the gin configuration that took effect, as text.
        unused: bindings that nothing asked for, with near matches where their scope looks mistyped.
        files: every gin file that was read.
        command: what was asked for, to load the same again.
    """

    experiment: Experiment
    operative: str
    unused: list[str]
    files: list[Path]
    command: Command


def load_config(file: str | Path, bindings: Sequence[str] = (), plugins: Sequence[str | Path] = ()) -> LoadedConfig:
    """Parses an experiment file and builds the experiment; cheap, as nothing is loaded.

    Args:
        file: a gin file. Includes are looked up from the working directory, then from the file's own folder and the
            folders above it.
        bindings: more bindings, which win over the file's, e.g. ``train.steps = 5``.
        plugins: Python files to run first; their parts are then known by name.

    Raises:
        ConfigError: anything wrong with it.
    """
    file = Path(file)
    if not file.is_file():
        near = (
            near_matches(file.name, [path.name for path in file.parent.glob("*.gin")]) if file.parent.is_dir() else []
        )
        hint = f"; did you mean {file.parent / near[0]}?" if near else ""
        raise ConfigError(f"no experiment file {str(file)!r}{hint}")
    gin.clear_config()
    files = [file]
    try:
        load_entry_points()
        for plugin in plugins:
            load_plugin(plugin)
        for family in FAMILIES:
            family.load_builtins()
        with _includes_from(["", *map(str, file.resolve().parents)]):
            parsed, _ = gin.parse_config_file(str(file)), gin.parse_config(list(bindings))
        files = [file, *_included(parsed.includes)]
        gin.finalize()
        experiment = gin.get_configurable(Experiment)()
    except Exception as error:
        raise ConfigError(explain(error, files)) from error
    operative = f"# {file}\n" + "".join(f"# -b {binding}\n" for binding in bindings) + gin.operative_config_str()
    command = Command(str(file.resolve()), tuple(bindings), tuple(str(Path(plugin).resolve()) for plugin in plugins))
    return LoadedConfig(experiment, operative, unused_bindings(), files, command)


def explain(error: Exception, files: Sequence[Path]) -> str:
    """An error of gin, or of a part that gin built, with file, binding and near matches."""
    message = re.sub(r"^'|'$", "", str(error)) if isinstance(error, KeyError) else str(error)
    message = re.sub(r'In file "([^"]*)", line (\d+)', r"\1:\2", message)
    message = re.sub(r"\n  In bindings? string.*", "", message)
    hint = ""
    if found := re.search(r"No configurable matching (?:reference )?'@?([^']*)'", message):
        hint = _hint_for_name(found[1].removesuffix("()").split("/")[-1])
    elif found := re.search(r"Configurable '([^']*)' doesn't have a parameter named '([^']*)'", message):
        hint = _hint_for_parameter(found[1], found[2])
    elif found := re.search(r"No bindings specified for '([^']*)/?gin\.macro'", message):
        return f"the macro %{found[1].rstrip('/')} is used but never given a value, in {files[0]}"
    elif isinstance(error, TypeError) and re.search(r"missing \d+ required .*argument", message):
        hint = "\n  bind what is missing, in the file or with -b"
    elif isinstance(error, OSError) and "Unable to open" in message:
        hint = "\n  includes are looked up from the working directory and from the folders above the file"
    if location := _locate(message, files):
        hint = f"\n  bound at {location}" + hint
    kind = "" if isinstance(error, (ValueError, OSError)) else f"{type(error).__name__}: "
    return f"{kind}{message.strip()}{hint}"


def unused_bindings() -> list[str]:
    """Bindings that no part asked for, each with what it may have been meant for."""
    operative: dict[str, list[tuple[str, set[str]]]] = {}
    for (scope, selector), parameters in gin.config._OPERATIVE_CONFIG.items():
        operative.setdefault(selector, []).append((scope, set(parameters)))
    unused = []
    for (scope, selector), parameters in gin.config._CONFIG.items():
        if selector == "gin.macro":
            continue
        for parameter in parameters:
            asked = [place for place, names in operative.get(selector, []) if parameter in names]
            if any(f"/{place}/".endswith(f"/{scope}/") or not scope for place in asked):
                continue
            name = f"{scope}/{selector}.{parameter}" if scope else f"{selector}.{parameter}"
            near = near_matches(scope, [place.split("/")[-1] for place in asked if place]) if scope else []
            unused.append(name + (f" (did you mean {near[0]}/?)" if near else ""))
    return unused


@contextlib.contextmanager
def _includes_from(folders: list[str]) -> Iterator[None]:
    """Includes are files below these folders, the first that has one.

    gin would go on to look inside Python packages, and fails where a folder on the import path is called like the first
    part of an include (`experiments/`).
    """
    before = gin.config._LOCATION_PREFIXES, gin.config._FILE_READERS
    gin.config._LOCATION_PREFIXES, gin.config._FILE_READERS = folders, [(open, os.path.isfile)]
    try:
        yield
    finally:
        gin.config._LOCATION_PREFIXES, gin.config._FILE_READERS = before


def _included(includes: Iterable[object]) -> list[Path]:
    files: list[Path] = []
    for include in includes:
        files += [Path(include.filename), *_included(include.includes)]  # type: ignore[attr-defined]
    return files


def _hint_for_name(name: str) -> str:
    for family in FAMILIES:
        prefix = f"{family.gin_module}."
        if name.startswith(prefix):
            return "\n  " + family.unknown(name.removeprefix(prefix)).replace("\n", "\n  ")
    known = [selector for selector, _ in gin.config._REGISTRY.items()]
    short = {selector.removeprefix("recap."): selector for selector in known if not selector.startswith("gin.")}
    near = near_matches(name, short)
    return f"\n  did you mean: {', '.join(near)}?" if near else ""


def _hint_for_parameter(configurable: str, parameter: str) -> str:
    try:
        target = gin.get_configurable(configurable)
    except ValueError:
        return ""
    names = [name for name in inspect.signature(target).parameters if name != "self"]
    near = near_matches(parameter, names)
    return (f"\n  did you mean: {', '.join(near)}?" if near else "") + f"\n  its parameters: {', '.join(names)}"


def _locate(message: str, files: Sequence[Path]) -> str:
    """file:line of the binding that a message names, where one of the files holds it; later files are included ones."""
    for file in files:
        if not file.is_file():
            continue
        for number, line in enumerate(file.read_text().splitlines(), 1):
            name = line.split("=")[0].strip()
            if "." in name and "=" in line and re.search(rf"(?<![\w/]){re.escape(name)}(?!\w)", message):
                location = f"{file}:{number}"
                return "" if location in message else location
    return ""
