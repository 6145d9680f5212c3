"""A part that a gin file named, in a form that another process can be given."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any

import gin


def sendable(part: Callable[..., Any]) -> Callable[..., Any]:
    """The part itself, or in place of a function as gin wraps it the one that its module names, with its bindings.

    pickle looks a function up in its module, where the one that gin made of ``@verifiers.mine`` is not, and a worker
    process knows nothing of the gin file. Objects, ``@verifiers.mine()``, are sent as they are.
    """
    if not inspect.isfunction(part) or not _by_gin(part):
        return part
    original = inspect.unwrap(part, stop=lambda layer: not _by_gin(layer))
    with gin.config_scope("/".join(_scopes(part)) or None):
        bindings = gin.get_bindings(original)
    named = getattr(sys.modules.get(original.__module__), original.__name__, original)
    if not bindings:
        return named  # type: ignore[no-any-return]
    bound = functools.partial(named, **bindings)
    bound.__dict__.update(original.__dict__)  # what it says of itself, such as `quick`
    return bound


def _by_gin(function: Any) -> bool:
    code = getattr(function, "__code__", None)
    return code is not None and code.co_filename == gin.config.__file__


def _scopes(part: Callable[..., Any]) -> list[str]:
    """The scopes of ``@a/b/verifiers.mine``, which gin keeps in the closure of its outermost wrapper."""
    return list(inspect.getclosurevars(part).nonlocals.get("scope_components", ()))
