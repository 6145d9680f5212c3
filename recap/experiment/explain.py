"""What was wrong with an experiment, in one readable error: file, binding, near matches, what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gin

from recap.experiment.gin_files import BadStatement, Binding
from recap.experiment.values import bindable
from registry import FAMILIES
from registry.core import near_matches


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


def place_of(message: str, bindings: Sequence[Binding]) -> str:
    """Where what a message is about was bound, as the line to put under it; empty where it names no binding.

    Args:
        message: of an error that was found after everything was built: ``jl/Domain.source: replay.jsonl: no file 'a'``.
    """
    named = _bound_value(message, bindings) or _culprit(message, None, bindings)
    return "" if named is None or named.bound in message else f"\n  {named.bound}"


def _bound_value(message: str, bindings: Sequence[Binding]) -> Binding | None:
    """The binding of a part that a message names, whose value it quotes."""
    parts = {binding.selector: binding.selector.removeprefix("recap.") for binding in bindings}
    named = {name for name, part in parts.items() if re.search(rf"(?<![\w.]){re.escape(part)}(?!\w)", message)}
    for quote in (repr, str):  # what stands in quotes is what it is about
        for binding in reversed(bindings):
            texts = [re.escape(quote(text)) for text in _texts(binding.value) if text]
            if binding.selector in named and any(re.search(rf"(?<![\w/.]){text}(?!\w)", message) for text in texts):
                return binding
    return None


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ():
        yield from _texts(item)
