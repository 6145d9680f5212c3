"""gin: finds, parses and validates the files of an experiment, and says what is wrong with them in one readable error."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import gin

import recap.data.prompts  # noqa: F401  registers the constants %prompts.*
from recap.experiment.experiment import Experiment
from recap.experiment.gin_files import BadStatement, Binding, ConfigError, Statements, read_statements
from recap.experiment.unused import (
    Key,
    UnusedBinding,
    measured_in_training,
    shared_sources,
    unused_bindings,
    unused_keys,
)
from recap.experiment.values import bindable, value_faults
from registry import FAMILIES, load_entry_points, load_plugin
from registry.core import near_matches
from registry.shipped import located, shipped_experiments

__all__ = ["Command", "ConfigError", "LoadedConfig", "explain", "load_config", "refuse_unused"]


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
        unused: bindings that nothing asked for, with what they may have been meant for.
        doubts: what works, but perhaps not as meant.
        files: every gin file that was read.
        command: what was asked for, to load the same again.
    """

    experiment: Experiment
    operative: str
    unused: list[UnusedBinding]
    doubts: list[str]
    files: list[Path]
    command: Command

    @property
    def notes(self) -> list[str]:
        """Doubts, and what is bound and not asked for: own bindings one by one, those of included files by their number."""
        own = [str(unused) for unused in self.unused if unused.binding.file in (None, self.files[0])]
        included = len(self.unused) - len(own)
        are = "binding of an included file is" if included == 1 else "bindings of included files are"
        return [*self.doubts, *own, *([f"{included} {are} not asked for"] if included else [])]


def load_config(
    file: str | Path,
    bindings: Sequence[str] = (),
    plugins: Sequence[str | Path] = (),
    *,
    allow_unused: bool = False,
) -> LoadedConfig:
    """Parses an experiment file and builds the experiment; cheap, as nothing is loaded.

    Args:
        file: a gin file, or the name of an experiment that travels with the project (``paper/hybrid_recap``). Includes
            are looked up from the working directory, then from the file's own folder and the folders above it, then from
            those of the file that includes, then among those experiments.
        bindings: more bindings, which win over the file's, e.g. ``train.steps = 5``.
        plugins: Python files to run first; their parts are then known by name.
        allow_unused: whether `bindings` and the file itself (not what it includes) may bind what nothing asks for.

    Raises:
        ConfigError: anything wrong with it.
    """
    file = located(file)
    if not file.is_file():
        raise ConfigError(_no_file(file))
    gin.clear_config()
    try:
        load_entry_points()
        for plugin in plugins:
            load_plugin(plugin)
        for family in FAMILIES:
            family.load_builtins()
    except (ValueError, OSError, ImportError) as error:
        raise ConfigError(str(error)) from error
    read, experiment = _build(file, bindings)
    displaced: set[Key] = set()
    if bindings and any(read.is_own(binding) and binding.file for binding in unused_keys(read)):
        displaced = _used_without_bindings(file)
        read, experiment = _build(file, bindings)
    operative = f"# {file}\n" + "".join(f"# -b {binding}\n" for binding in bindings) + gin.operative_config_str()
    command = Command(str(file.resolve()), tuple(bindings), tuple(str(Path(plugin).resolve()) for plugin in plugins))
    unused, doubts = unused_bindings(read, displaced), measured_in_training(read)
    config = LoadedConfig(experiment, operative, unused, doubts, read.files, command)
    if not allow_unused:
        refuse_unused(config)
    return config


def _no_file(file: Path) -> str:
    beside = [path.name for path in file.parent.glob("*.gin")] if file.parent.is_dir() else []
    near = [str(file.parent / name) for name in near_matches(file.name, beside)[:1]]
    near = near or near_matches(str(file.with_suffix("")), shipped_experiments())[:1]
    return (
        f"no experiment file {str(file)!r}"
        + (f"; did you mean {near[0]}?" if near else "")
        + ("\n  those that come with recap: recap experiments")
    )


def refuse_unused(config: LoadedConfig, new: Sequence[str] | None = None) -> None:
    """Raises ConfigError for what the experiment's own file and ``-b`` bind in vain.

    Args:
        new: only these bindings of ``-b`` are asked about, as of a run that is resumed; None: all, and the file.
    """
    faults = [unused for unused in config.unused if unused.own and (new is None or unused.binding.text in new)]
    if faults:
        lines = [
            f"{fault.binding.name} is bound, but nothing asks for it\n  {fault.binding.bound}"
            + (f"\n  did you mean: {', '.join(fault.meant)}?" if fault.meant else "")
            for fault in faults
        ]
        raise ConfigError("\n".join([*lines, "  meant all the same? --allow-unused"]))


def _build(file: Path, bindings: Sequence[str]) -> tuple[Statements, Experiment]:
    """gin's state becomes that of these files and bindings alone."""
    gin.clear_config()
    read = Statements()
    try:
        read = read_statements(file, bindings)
        if faults := [*value_faults(read.effective), *shared_sources(read)]:
            raise ConfigError("\n".join(faults))
        gin.finalize()
        return read, gin.get_configurable(Experiment)()
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(explain(error, read.effective, file)) from error


def _used_without_bindings(file: Path) -> set[Key]:
    """What the file alone asks for, and so is unused only since a binding of ``-b`` took its place."""
    try:
        read, _ = _build(file, ())
    except ConfigError:
        return set()
    return {binding.key for binding in read.effective} - {binding.key for binding in unused_keys(read)}


def explain(error: Exception, bindings: Sequence[Binding], file: Path) -> str:
    """An error of gin, or of a part that gin built, with file, binding and near matches."""
    message = re.sub(r"^'|'$", "", str(error)) if isinstance(error, KeyError) else str(error)
    call = re.search(r"\n  In call to configurable '([^']*)' \([^\n]*\)(?: in scope '([^']*)')?", message)
    message = re.sub(
        r"\n  (In call to configurable|No values supplied by|Gin had values|Caller supplied).*", "", message
    )
    if found := re.search(r"No bindings specified for '([^']*)/?gin\.macro'", message):
        return f"the macro %{found[1].rstrip('/')} is used but never given a value, in {file}"
    hint = ""
    if found := re.search(r"No configurable matching (?:reference )?'@?([^']*)'", message):
        hint = _hint_for_name(found[1].removesuffix("()").split("/")[-1])
    elif found := re.search(r"Configurable '([^']*)' doesn't have a parameter named '([^']*)'", message):
        hint = _hint_for_parameter(found[1], found[2])
    elif isinstance(error, TypeError) and call and (found := re.search(r"missing \d+ required .*: (.*)", message)):
        names = [f"{_part(call)}.{name}" for name in re.findall(r"'(\w+)'", found[1])]
        itself = "" if "<class" in call[0] else "\n  or, if the function itself is meant, write it without parentheses"
        return f"{' and '.join(names)} must be given a value, in {file} or with -b{itself}"
    if isinstance(error, BadStatement):
        return f"{message.strip()}\n  {error.place}{hint}"
    if binding := _culprit(message, call, bindings):
        hint = f"\n  {binding.bound}" + hint
    elif call:
        hint = f"\n  while building {_part(call)}" + hint
    return f"{_kind(error)}{message.strip()}{hint}"


def _part(call: re.Match[str]) -> str:
    """The part whose call failed, as a gin file would name it."""
    selectors = gin.config._REGISTRY.matching_selectors(call[1])
    name = selectors[0].removeprefix("recap.") if len(selectors) == 1 else call[1]
    return f"{call[2]}/{name}" if call[2] else name


def _kind(error: Exception) -> str:
    return "" if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: "


def _culprit(message: str, call: re.Match[str] | None, bindings: Sequence[Binding]) -> Binding | None:
    """The binding that a message is about: one that it names in full, or else by the parameter of the part that raised."""
    for binding in reversed(bindings):
        if "." in binding.name and re.search(rf"(?<![\w/.]){re.escape(binding.name)}(?!\w)", message):
            return binding
    if call is None:
        return None
    scope = f"{call[2] or ''}/"
    own = [
        binding
        for binding in bindings
        if binding.selector.split(".")[-1] == call[1]
        and (not binding.scope or scope.startswith(f"{binding.scope}/"))
        and re.search(rf"\b{re.escape(binding.parameter)}\b", message)
    ]
    return max(own, key=lambda binding: len(binding.scope), default=None)


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
    names = list(bindable(gin.config._REGISTRY.get_match(configurable).wrapped))
    near = near_matches(parameter, names)
    all_of_them = f"\n  its parameters: {', '.join(names)}" if names else "\n  it has no parameters"
    return (f"\n  did you mean: {', '.join(near)}?" if near else "") + all_of_them
