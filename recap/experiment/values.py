"""Bound values against the annotations of their parts, before anything is built."""

from __future__ import annotations

import collections.abc
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, ForwardRef, Literal, Union, get_args, get_origin

import gin
from gin.config import ConfigurableReference
from pydantic import ConfigDict, InstanceOf, Strict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from recap.experiment.gin_files import MACRO, Binding
from registry.core import GIVEN_BY_THE_ENGINE

# Strict: 48.0 is no integer, nor is True; an integer is a number.
STRICT = ConfigDict(strict=True, arbitrary_types_allowed=True)
PLAIN = (bool, int, float, str, bytes, type(None))


WORDS = {"a valid integer": "an integer", "a valid ": "a ", "greater than or equal to": "at least"}


class _UnknownValue(Exception):
    """What a reference will give cannot be told before it is built."""


def value_faults(bindings: Iterable[Binding]) -> list[str]:
    """What is wrong with the values of these bindings, one message each."""
    return [fault for binding in bindings if (fault := _fault(binding))]


def bindable(wrapped: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters of a part that a gin file can bind, in the order written."""
    parameters = inspect.signature(wrapped).parameters
    collectors = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {
        name: found
        for name, found in parameters.items()
        if name not in GIVEN_BY_THE_ENGINE and found.kind not in collectors
    }


def annotation_of(wrapped: Callable[..., Any], parameter: str) -> Any:
    """The type that a parameter of a class or function is annotated with; Any where there is none that can be read."""
    if not inspect.isclass(wrapped):
        return _evaluated(_annotations(wrapped).get(parameter, Any), wrapped.__module__)
    is_field = parameter in getattr(wrapped, "__dataclass_fields__", ())
    for owner in wrapped.__mro__:  # a base class may stand in another module, with names of its own
        annotations = _annotations(owner if is_field else owner.__dict__.get("__init__"))
        if parameter in annotations:
            return _evaluated(annotations[parameter], owner.__module__)
    return Any


def _annotations(owner: Any) -> dict[str, Any]:
    return {} if owner is None else inspect.get_annotations(inspect.unwrap(owner))


def _evaluated(annotation: Any, module: str) -> Any:
    holder = types.SimpleNamespace(__annotations__={"parameter": annotation})
    try:
        names = vars(sys.modules[module])
        return typing.get_type_hints(holder, globalns=names, localns=names, include_extras=True)["parameter"]
    except Exception:  # a name that only type checkers see, in a plugin
        return Any


def _fault(binding: Binding) -> str:
    if binding.selector == MACRO:
        return ""  # its value is checked where it is used
    wrapped = gin.config._REGISTRY[binding.selector].wrapped
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(_checkable(annotation_of(wrapped, binding.parameter)), config=STRICT)
        value = _as_built(binding.value)
    except (_UnknownValue, PydanticUserError, TypeError):
        return ""
    try:
        adapter.validate_python(value)
    except ValidationError as error:
        path = _path(error, value)
        shown = f"{binding.name}{path} must be {_rules(error, not path and _accepts_none(adapter))}"
        return f"{shown}; it is {_shown(error, binding, value)}{_hint(adapter, binding.value)}\n  {binding.bound}"
    return ""


def _checkable(annotation: Any) -> Any:
    """The annotation as pydantic shall see it: classes of ours by isinstance, lists where tuples are expected."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is Any or annotation in PLAIN or origin is Literal or isinstance(annotation, str | ForwardRef):
        return annotation
    if annotation is Path:
        return InstanceOf[Path] | str  # gin knows no paths
    if origin is Annotated:
        return Annotated[(_checkable(arguments[0]), *arguments[1:])]
    if origin in (Union, types.UnionType):
        return Union[tuple(_checkable(argument) for argument in arguments)]  # noqa: UP007
    if origin is collections.abc.Callable:
        return Callable
    if origin in (list, tuple):
        return Annotated[origin[tuple(a if a is ... else _checkable(a) for a in arguments)], Strict(False)]
    if origin is not None:
        return origin[tuple(_checkable(argument) for argument in arguments)]
    if isinstance(annotation, type) and not typing.is_typeddict(annotation) and not _is_protocol(annotation):
        builtin_collection = annotation.__module__ in ("builtins", "collections.abc")
        return annotation if builtin_collection else InstanceOf[annotation]  # type: ignore[misc]
    return Any if isinstance(annotation, type) and _is_protocol(annotation) else annotation


def _is_protocol(cls: type) -> bool:
    return bool(getattr(cls, "_is_protocol", False))


def _as_built(value: Any) -> Any:
    """The value with stand-ins for what its references will give: an object of the class, never initialised."""
    if isinstance(value, dict):
        return {_as_built(key): _as_built(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_as_built(item) for item in value)
    if not isinstance(value, ConfigurableReference):
        return value
    if value.configurable.selector == MACRO:
        bound = gin.config._CONFIG.get(("/".join(value.scopes), MACRO))
        if bound is None:
            raise _UnknownValue  # gin says so
        return _as_built(bound["value"])
    if value.configurable.selector == "gin.constant":
        return value.scoped_configurable_fn()
    wrapped = value.configurable.wrapped
    if not value.evaluate:
        return wrapped
    made = wrapped if inspect.isclass(wrapped) else _evaluated(_annotations(wrapped).get("return"), wrapped.__module__)
    if not inspect.isclass(made) or made in PLAIN:
        raise _UnknownValue
    try:
        return object.__new__(made)
    except TypeError:
        raise _UnknownValue from None


def _rules(error: ValidationError, none_too: bool) -> str:
    """What is allowed, from pydantic's words, each once."""
    rules = []
    for fault in error.errors():
        if fault["type"] == "is_instance_of":
            rules.append(_instance(fault["ctx"]["class"]))
        elif fault["type"] == "sequence_str":
            rules.append("a list")
        else:
            rule = fault["msg"].removeprefix("Input should ").removeprefix("be ")
            for pydantics, ours in WORDS.items():
                rule = rule.replace(pydantics, ours)
            rules.append(rule)
    return " or ".join(dict.fromkeys([*rules, "None"] if none_too else rules))


def _instance(name: str) -> str:
    """A class by its name, with references that would give one."""
    if name in ("Sequence", "Mapping"):
        return "a list" if name == "Sequence" else "a mapping"
    makers = [
        f"@{selector.removeprefix('recap.')}()"
        for selector, configurable in gin.config._REGISTRY.items()
        if inspect.isclass(configurable.wrapped) and name in [base.__name__ for base in configurable.wrapped.__mro__]
    ]
    article = "an" if name[0] in "AEIOU" else "a"
    more = ", ..." if len(makers) > 4 else ""
    return f"{article} {name}" + (f" such as {', '.join(makers[:4])}{more}" if makers else "")


def _accepts_none(adapter: TypeAdapter[Any]) -> bool:
    try:
        adapter.validate_python(None)
    except ValidationError:
        return False
    return True


def _path(error: ValidationError, value: Any) -> str:
    """Where in the value, e.g. ``['counting']``, as far as all faults agree."""
    path = ""
    for key in error.errors()[0]["loc"]:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            break
        path += f"[{key!r}]"
    return path


def _shown(error: ValidationError, binding: Binding, value: Any) -> str:
    """The value at that path, as it stands in the file where it is no plain one."""
    written = binding.value
    for key in error.errors()[0]["loc"]:
        try:
            value, written = value[key], written[key] if not isinstance(written, ConfigurableReference) else written
        except (KeyError, IndexError, TypeError):
            break
    if isinstance(written, ConfigurableReference):
        return f"{written!r}" if not isinstance(value, PLAIN) else f"{value!r} ({written!r})"
    return repr(written)


def _hint(adapter: TypeAdapter[Any], value: Any) -> str:
    """The mistake that is made most often with a reference: its parentheses."""
    if not isinstance(value, ConfigurableReference) or value.configurable.module == "gin":
        return ""
    other = ConfigurableReference(value.scoped_selector, not value.evaluate)
    try:
        adapter.validate_python(_as_built(other))
    except (ValidationError, _UnknownValue):
        return ""
    return f"\n  write it with{'' if other.evaluate else 'out'} parentheses: {other!r}"
