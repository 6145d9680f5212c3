"""Functions that somebody has already: found by ``file.py:name`` or ``package.module:name``, called, their rewards scaled."""

from __future__ import annotations

import ast
import asyncio
import functools
import importlib
import importlib.util
import inspect
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from registry.core import near_matches
from registry.verifiers.base import RewardOutOfRange

Scale = tuple[float, float]
"""The lowest and the highest reward that a function gives."""


def check_path(path: str, parameter: str) -> str:
    """The path, its file absolute, once the function is known to be there; nothing of the user's is run for that.

    Raises:
        ValueError: not of the form ``file.py:name``, no such file, a file that is no Python, no such name in it.
    """
    place, _, name = path.rpartition(":")
    if not place or not name.isidentifier():
        raise ValueError(f"{parameter} must be 'file.py:function' or 'package.module:function'; it is {path!r}")
    if not place.endswith(".py"):
        if importlib.util.find_spec(place.partition(".")[0]) is None:
            raise ValueError(f"{parameter}: there is no package {place!r}; for a file write its name with .py")
        return path
    file = Path(place).expanduser().resolve()
    if not file.is_file():
        raise ValueError(f"{parameter}: there is no file {place!r}")
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise ValueError(f"{parameter}: {file}:{error.lineno} is no Python: {error.msg}") from error
    names = _names(tree)
    if name not in names and "*" not in names:
        near = near_matches(name, names)
        raise ValueError(f"{parameter}: {file} has no {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    return f"{file}:{name}"


def _names(tree: ast.Module) -> set[str]:
    """What the top of a module may bind, inside of `if` and `try`, too."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {(alias.asname or alias.name) for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return found


@functools.cache
def load_function(path: str) -> Callable[..., Any]:
    """The function at a checked path; its file is run once in each process.

    A file may import its neighbours: its folder is looked at last.

    Raises: ValueError: what stands there cannot be called.
    """
    place, _, name = path.rpartition(":")
    if place.endswith(".py"):
        folder = str(Path(place).parent)
        if folder not in sys.path:
            sys.path.append(folder)
        spec = importlib.util.spec_from_file_location(f"recap_rewards_{Path(place).stem}", place)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # before it runs: dataclasses look their module up
        spec.loader.exec_module(module)
    else:
        module = importlib.import_module(place)
    function = getattr(module, name)
    if not callable(function):
        raise ValueError(f"{path} is no function: {function!r}")
    return function  # type: ignore[no-any-return]


def call(function: Callable[..., Any], **arguments: Any) -> Any:
    """What it returns, awaited where that is a promise; a function without ``**kwargs`` gets what it names alone."""
    parameters = inspect.signature(function).parameters.values()
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        named = {parameter.name for parameter in parameters}
        arguments = {name: value for name, value in arguments.items() if name in named}
    returned = function(**arguments)
    return asyncio.run(_awaited(returned)) if inspect.isawaitable(returned) else returned


async def _awaited(promise: Any) -> Any:
    return await promise


def check_scale(scale: Scale | None, parameter: str) -> Scale:
    """(lowest, highest), finite and in this order. Raises: ValueError."""
    low, high = (0.0, 1.0) if scale is None else map(float, scale)
    if not -math.inf < low < high < math.inf:
        raise ValueError(f"{parameter} must be (lowest, highest), the range of the function's rewards; it is {scale}")
    return low, high


def scaled(reward: Any, scale: Scale, parameter: str) -> float | None:
    """The reward in [0, 1]; None where it is None or NaN.

    Raises:
        RewardOutOfRange: it lies outside the range that was given, with the binding that mends it.
    """
    value = math.nan if reward is None else float(reward)
    if math.isnan(value):
        return None
    low, high = scale
    if not low <= value <= high:
        wider = (min(low, value), max(high, value))
        raise RewardOutOfRange(
            f"the function gave {value:g}, outside [{low:g}, {high:g}]; a reward lies in [0, 1]: name the lowest and the"
            f" highest that it gives, such as {parameter} = ({wider[0]:g}, {wider[1]:g}), and they are mapped to 0 and 1"
        )
    return (value - low) / (high - low)


def metadata_columns(metadata: Mapping[str, Any], taken: set[str]) -> dict[str, Any]:
    """The columns of a row that may be passed by keyword and are not passed otherwise."""
    return {name: value for name, value in metadata.items() if name.isidentifier() and name not in taken}
