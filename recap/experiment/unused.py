"""Bindings that change nothing: what no part asks for, and what two parts were each to have for themselves."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import gin
from gin.config import ConfigurableReference

from recap.experiment.gin_files import MACRO, Binding, Statements
from registry import replay_sources
from registry.core import near_matches

Key = tuple[str, str, str]


@dataclass(frozen=True)
class UnusedBinding:
    """A binding that nothing asked for.

    Attributes:
        binding: as written.
        meant: names that it may have been meant for.
        own: it stands in the experiment's own file or in ``-b``, and no ``-b`` put it out of use.
    """

    binding: Binding
    meant: tuple[str, ...]
    own: bool

    def __str__(self) -> str:
        """One line for a note."""
        hint = f" (did you mean {', '.join(self.meant)}?)" if self.meant else ""
        return f"{self.binding.name} is {self.binding.bound}, but nothing asks for it{hint}"


def unused_keys(read: Statements) -> list[Binding]:
    """Bindings that no part asked for while the experiment was built."""
    asked = {
        (selector, parameter, scope)
        for (scope, selector), parameters in gin.config._OPERATIVE_CONFIG.items()
        for parameter in parameters
    }
    by_part: dict[tuple[str, str], list[str]] = {}
    for selector, parameter, scope in asked:
        by_part.setdefault((selector, parameter), []).append(scope)
    return [
        binding
        for binding in read.effective
        if not any(
            f"{scope}/".startswith(f"{binding.scope}/") or not binding.scope
            for scope in by_part.get((binding.selector, binding.parameter), [])
        )
    ]


def unused_bindings(read: Statements, displaced: Collection[Key]) -> list[UnusedBinding]:
    """The same with what each may have been meant for; `displaced` ones are no fault of who wrote them."""
    return [
        UnusedBinding(binding, tuple(_meant(binding)), read.is_own(binding) and binding.key not in displaced)
        for binding in unused_keys(read)
    ]


def _meant(binding: Binding) -> list[str]:
    operative = gin.config._OPERATIVE_CONFIG
    if binding.selector == MACRO:
        parameters = [
            f"{gin.config._REGISTRY.minimal_selector(selector).removeprefix('recap.')}.{binding.name}"
            for (scope, selector), names in operative.items()
            if binding.name in names and selector != MACRO
        ]
        if parameters:
            return list(dict.fromkeys(parameters))[:3]
        return near_matches(
            binding.name, [scope for scope, selector in operative if selector == MACRO and scope], limit=1
        )
    scopes = [
        scope
        for (scope, selector), names in operative.items()
        if scope and selector == binding.selector and binding.parameter in names
    ]
    if not binding.scope:
        return []
    part = binding.name.split("/")[-1]
    return [f"{scope}/{part}" for scope in near_matches(binding.scope, scopes, limit=1)]


def shared_sources(read: Statements) -> list[str]:
    """Sources that two parts refer to by one name, though each was bound to something of its own; one message each.

    ``a/Capability.source = @held_out/replay.jsonl()`` and the same of ``b`` are one configuration, so that a second
    ``held_out/replay.jsonl.path`` replaces the first for both. It is meant as a second one where it stands in the same file
    as the first, or beside a reference of its own; a file that binds it anew over an included one is taken at its word.
    """
    faults: dict[Key, str] = {}
    for key in {
        binding.key for binding in read.bindings if binding.selector.startswith(f"{replay_sources.gin_module}.")
    }:
        bound = [binding for binding in read.bindings if binding.key == key and binding.file is not None]
        if len({repr(binding.value) for binding in bound}) < 2:
            continue
        users = [
            binding for binding in read.bindings if any(_reads(ref, binding, key) for ref in _references_of(binding))
        ]
        now = [binding for binding in read.effective if binding in users]
        if len({(user.scope, user.selector) for user in now}) < 2:
            continue
        with_use = {file: {user.key for user in users if user.file == file} for file in {b.file for b in bound}}
        meant = [binding for binding in bound if with_use[binding.file]]
        if len({repr(binding.value) for binding in meant}) > 1:
            faults[key] = _shared(now, meant)
    return list(faults.values())


def measured_in_training(read: Statements) -> list[str]:
    """Capabilities whose source is configured like that of a domain: they measure what is trained on."""
    trained: dict[str, str] = {}
    doubts = []
    sources = [binding for binding in read.effective if binding.parameter == "source" and _references_of(binding)]
    for part in ("recap.Domain", "recap.Capability"):
        for binding in sources:
            if binding.selector != part or (binding.scope, part) not in gin.config._OPERATIVE_CONFIG:
                continue
            for reference in _references_of(binding):
                configuration = f"{reference.configurable.selector}{_settings(reference, binding)}"
                if part == "recap.Domain":
                    trained.setdefault(configuration, binding.name)
                elif configuration in trained:
                    doubts.append(
                        f"{binding.name} has the settings of {trained[configuration]}: it measures on training data"
                    )
    return doubts


def _settings(reference: ConfigurableReference, user: Binding) -> list[tuple[str, str]]:
    scopes = _scopes(reference, user)
    found: dict[str, Any] = {}
    for depth in range(len(scopes) + 1):
        found |= gin.config._CONFIG.get(("/".join(scopes[:depth]), reference.configurable.selector), {})
    return sorted((name, repr(value)) for name, value in found.items())


def _scopes(reference: ConfigurableReference, user: Binding) -> list[str]:
    """Those that a reference is built in: its own, or else those of the part that it stands in."""
    return list(reference.scopes) or [scope for scope in user.scope.split("/") if scope]


def _references_of(binding: Binding) -> list[ConfigurableReference]:
    return list(_references(binding.value))


def _references(value: Any) -> Iterator[ConfigurableReference]:
    if isinstance(value, ConfigurableReference):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ():
        yield from _references(item)


def _reads(reference: ConfigurableReference, user: Binding, key: Key) -> bool:
    """Whether what a binding refers to takes its parameter from `key` (the innermost scope that binds it)."""
    if reference.configurable.selector != key[1]:
        return False
    scopes, bound = _scopes(reference, user), gin.config._CONFIG
    for depth in range(len(scopes), -1, -1):
        scope = "/".join(scopes[:depth])
        if key[2] in bound.get((scope, key[1]), {}):
            return scope == key[0]
    return False


def _shared(users: list[Binding], bound: list[Binding]) -> str:
    reference, last = _references_of(users[-1])[0], bound[-1]
    own = f"{users[-1].scope}_held_out" if reference.scopes else users[-1].scope
    places = ", ".join(f"{binding.file}:{binding.line}" for binding in bound)
    return (
        f"{' and '.join(user.name for user in users)} share one source, {reference!r}: all of them would read"
        f" {last.name} = {last.value!r}\n  it is bound at {places}; the last one wins"
        f"\n  give each a scope of its own: {users[-1].name} = @{own}/{reference.selector}() and"
        f" {own}/{last.name.split('/')[-1]} = {last.value!r}"
    )
