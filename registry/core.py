"""Named families of pluggable parts: what `recap list` shows and what gin files refer to.

A `Registry` maps a name to a class or function, makes it bindable in gin as ``family.name`` and remembers where it was
registered. The four families are made in `registry/__init__.py`.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.metadata
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import gin

T = TypeVar("T", bound=Callable[..., Any])

ENTRY_POINT_GROUP = "recap.plugins"
PLUGIN_PREFIX = "recap_plugin_"  # of the module that a plugin file becomes

GIVEN_BY_THE_ENGINE = frozenset({"objectives"})
"""Parameters that are no user's to bind: the engine builds a reweighting policy with the objectives of the experiment's
domains, and what it gives would overrule a binding."""


FAILED_PLUGINS: dict[str, str] = {}
"""Installed plugins that could not be loaded: name -> why. They take nothing else down: `recap list` shows them, and so does
the message about a name that is not registered."""


class RegistryError(ValueError):
    """A name that is unknown, or registered twice."""


@dataclass(frozen=True)
class Entry:
    """One registered part."""

    name: str
    target: Callable[..., Any]  # what gin calls: it applies the bindings of a gin file
    original: Callable[..., Any]  # the class or function as written
    location: str  # file:line of its definition

    @property
    def summary(self) -> str:
        """First line of the docstring, for `recap list`."""
        lines = (inspect.getdoc(self.original) or "").strip().splitlines()
        return lines[0] if lines else "(no docstring)"

    @property
    def origin(self) -> str:
        """Where it comes from: ``built in``, a plugin's file, or an installed package with its version."""
        module = self.original.__module__
        top = module.partition(".")[0]
        if top == "registry":
            return "built in"
        if top.startswith(PLUGIN_PREFIX):
            return f"plugin {self.location}"
        for distribution in importlib.metadata.packages_distributions().get(top, [])[:1]:
            return f"package {distribution} {importlib.metadata.version(distribution)}"
        return f"module {module}"

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """Those that a user can bind, in the order written: ``gin_module.name.parameter = value``."""
        return {
            name: parameter
            for name, parameter in inspect.signature(self.original).parameters.items()
            if name not in GIVEN_BY_THE_ENGINE
        }


class Registry:
    """A family of parts, found by name.

    Args:
        kind: what one part is called in messages, e.g. ``reweighting policy``.
        gin_module: the prefix in gin files, e.g. ``reweighting`` for ``@reweighting.recap``.
        builtins: modules that register the built-in parts; imported at the first look-up, so that importing a family is
            cheap.
    """

    def __init__(self, kind: str, gin_module: str, builtins: Sequence[str] = ()) -> None:
        self.kind = kind
        self.gin_module = gin_module
        self.__name__ = f"registry.{gin_module}"
        self._builtins = tuple(builtins)
        self._loaded = False
        self._entries: dict[str, Entry] = {}

    def __getattr__(self, name: str) -> Any:
        """A module of the package that has the family's name, which it hides: ``registry.verifiers.base``."""
        package = self.__dict__.get("__name__")
        if package and (module := sys.modules.get(f"{package}.{name}")):
            return module
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def register(self, name: str) -> Callable[[T], T]:
        """Registers a class or function under `name`; use as a decorator.

        >>> @reweighting_policies.register("mine")      # gin: train.reweighting = @reweighting.mine
        ... class Mine(ReweightingPolicy): ...          #      reweighting.mine.parameter = 3

        Raises:
            RegistryError: the name is taken, or is not a plain identifier.
        """
        if not name.isidentifier():
            raise RegistryError(f"{name!r} cannot name a {self.kind}: use letters, digits and underscores")

        def decorate(target: T) -> T:
            if target.__module__ not in self._builtins:
                self.load_builtins()  # or else a taken name would be found at the built-in, not here
            location = _location(target)
            if name in self._entries:
                raise RegistryError(
                    f"{self.kind} {name!r} is registered twice: at {self._entries[name].location} and at {location}"
                )
            with gin.unlock_config():  # a new name changes no binding, and built-ins may come after the gin file
                configurable = gin.external_configurable(target, name=name, module=self.gin_module)
            self._entries[name] = Entry(name, configurable, target, location)
            return target

        return decorate

    def get(self, name: str) -> Entry:
        """The entry of `name`. Raises: RegistryError, with near matches, where there is none."""
        self.load_builtins()
        if name not in self._entries:
            raise RegistryError(self.unknown(name))
        return self._entries[name]

    def build(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Calls the part of that name; parameters that are not given come from gin, then from their defaults."""
        return self.get(name).target(*args, **kwargs)

    def names(self) -> list[str]:
        self.load_builtins()
        return sorted(self._entries)

    def entries(self) -> list[Entry]:
        return [self._entries[name] for name in self.names()]

    def unknown(self, name: str) -> str:
        """The message for a name that is not registered."""
        lines = [f"no {self.kind} {name!r}"]
        near = near_matches(name, self.names())
        if near:
            lines.append(f"  did you mean: {', '.join(near)}?")
        lines.extend(f"  {failure}" for failure in FAILED_PLUGINS.values())
        lines.append(f"  all: recap list {self.gin_module}")
        lines.append("  yours? load its file with --plugin path/to/file.py")
        return "\n".join(lines)

    def load_builtins(self) -> None:
        if not self._loaded:
            for module in self._builtins:
                importlib.import_module(module)
            self._loaded = True  # only now: after a failed import the next look-up must fail alike

    @contextlib.contextmanager
    def temporarily(self) -> Iterator[None]:
        """Forgets, at exit, whatever was registered inside the block (for tests). gin keeps its own record of names,
        so a later registration under the same name must happen in a fresh process or under another name."""
        self.load_builtins()
        before = dict(self._entries)
        try:
            yield
        finally:
            self._entries = before


def near_matches(name: str, names: Iterable[str], limit: int = 3) -> list[str]:
    """Names close to `name`, best first; a `-` typed for `_` and another case count as close."""
    by_key = {_key(known): known for known in sorted(set(names))}
    return [by_key[key] for key in difflib.get_close_matches(_key(name), by_key, n=limit, cutoff=0.55)]


def _key(name: str) -> str:
    return name.replace("-", "_").lower()


def load_plugin(path: str | Path) -> None:
    """Runs a Python file, or a package by its folder or that of its project, whose `register` decorators add to the families.

    Raises:
        FileNotFoundError: no such file or folder, or no package in it.
        RegistryError: it registers a name that is taken, or raises something, which the message names with its line.
    """
    file = _plugin_file(Path(path).resolve(), str(path))
    package = file.name == "__init__.py"
    name = f"{PLUGIN_PREFIX}{file.parent.name if package else file.stem}"
    if name in sys.modules and getattr(sys.modules[name], "__file__", None) == str(file):
        return
    folders = [str(file.parent)] if package else None
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=folders)
    if spec is None or spec.loader is None:
        raise ValueError(f"plugin {str(path)!r} is not a Python file: its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs: classes it defines must be picklable by module name
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, RegistryError) or not isinstance(error, Exception):
            raise
        lines = [
            f"{frame.filename}:{frame.lineno}"
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename == str(file) or (package and Path(frame.filename).is_relative_to(file.parent))
        ]
        where = f" ({lines[-1]})" if lines else ""
        raise RegistryError(f"plugin {path} cannot be loaded: {type(error).__name__}: {error}{where}") from error


def _plugin_file(path: Path, given: str) -> Path:
    """The file that a plugin begins with: itself, or the __init__.py of a package, or of the one package of a project."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise FileNotFoundError(f"plugin file {given!r} does not exist")
    if (path / "__init__.py").is_file():
        return path / "__init__.py"
    packages = [*path.glob("*/__init__.py"), *path.glob("src/*/__init__.py")]
    packages = [file for file in packages if file.parent.name != "tests"]
    if len(packages) != 1:
        names = ", ".join(sorted(file.parent.name for file in packages)) or "none"
        raise FileNotFoundError(f"plugin folder {given!r} must be a package, or hold one; it holds {names}")
    return packages[0]


def load_entry_points() -> list[str]:
    """Imports the plugins that installed packages declare under the entry-point group `recap.plugins`.

    Returns: the names of those that could be loaded; why another could not is in `FAILED_PLUGINS`.
    """
    names = []
    for entry_point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        try:
            entry_point.load()
        except Exception as error:
            FAILED_PLUGINS[entry_point.name] = (
                f"the installed plugin {entry_point.name!r} ({entry_point.value}) cannot be loaded:"
                f" {type(error).__name__}: {error}"
            )
        else:
            FAILED_PLUGINS.pop(entry_point.name, None)
            names.append(entry_point.name)
    return names


def _location(target: Callable[..., Any]) -> str:
    try:
        file = inspect.getsourcefile(target) or "?"
        return f"{file}:{inspect.getsourcelines(target)[1]}"
    except (OSError, TypeError):
        return "(interactive)"
