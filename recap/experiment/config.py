"""gin: finds, parses and validates the files of an experiment, and says what is wrong with them in one readable error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import gin

import recap.data.prompts  # noqa: F401  registers the constants %prompts.*
from recap.experiment.experiment import Experiment
from recap.experiment.explain import explain, place_of
from recap.experiment.gin_files import Binding, ConfigError, Statements, read_statements
from recap.experiment.unused import (
    Key,
    UnusedBinding,
    measured_in_training,
    shared_sources,
    unused_bindings,
    unused_keys,
)
from recap.experiment.values import value_faults
from registry import FAMILIES, load_entry_points, load_plugin
from registry.core import near_matches
from registry.shipped import located, shipped_experiments

__all__ = ["Command", "ConfigError", "LoadedConfig", "load_config", "refuse_unused"]


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
        bindings: those that took effect, in the order in which they are read.
    """

    experiment: Experiment
    operative: str
    unused: list[UnusedBinding]
    doubts: list[str]
    files: list[Path]
    command: Command
    bindings: Sequence[Binding] = ()

    def located(self, error: Exception) -> ConfigError:
        """An error that was found after loading, with the place of the binding that it is about."""
        return ConfigError(f"{error}{place_of(str(error), self.bindings)}")

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
    config = LoadedConfig(experiment, operative, unused, doubts, read.files, command, read.effective)
    if not allow_unused:
        refuse_unused(config)
    return config


def _no_file(file: Path) -> str:
    if file.is_dir():
        return f"{str(file)!r} is a folder, not an experiment file: name one in it, e.g. {file}/my.gin"
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
