"""What is varied: `train.reweighting = @reweighting.recap, @reweighting.uniform`, and seeds `0-4`."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

OPENING, CLOSING, QUOTES = "([{", ")]}", "'\""
NOT_IN_A_NAME = re.compile(r"[^\w.=+-]+")


@dataclass(frozen=True)
class Point:
    """One cell of a grid.

    Attributes:
        label: a name for tables and folders.
        bindings: what it binds.
    """

    label: str
    bindings: tuple[str, ...]


def points(axes: Sequence[str], label: str = "run") -> list[Point]:
    """Every combination of the values of the axes, the last one varying fastest.

    Args:
        axes: ``name = value, value, ...`` each.
        label: of the only point where nothing is varied.

    >>> [point.label for point in points(["train.reweighting = @reweighting.recap, @reweighting.uniform"])]
    ['recap', 'uniform']
    >>> points(["a.b = [1, 2], 'x, y'", "c.d = 3"])[1].bindings
    ("a.b = 'x, y'", 'c.d = 3')

    Raises:
        ValueError: no binding, no value, or one binding on two axes.
    """
    if not axes:
        return [Point(label, ())]
    parsed = [_axis(axis) for axis in axes]
    twice = [name for name, count in Counter(name for name, _ in parsed).items() if count > 1]
    if twice:
        raise ValueError(f"-g binds {', '.join(twice)} more than once; give all values of a binding in one")
    found: list[Point] = []
    for values in itertools.product(*(values for _, values in parsed)):
        pairs = [(name, value) for (name, _), value in zip(parsed, values, strict=True)]
        found.append(
            Point("_".join(_short(*pair) for pair in pairs), tuple(f"{name} = {value}" for name, value in pairs))
        )
    return _distinct(found)


def seeds(text: str) -> list[int]:
    """Seeds as people write them.

    >>> seeds("0-4"), seeds("7"), seeds("0-2,5")
    ([0, 1, 2, 3, 4], [7], [0, 1, 2, 5])

    Raises:
        ValueError: anything else, or a seed twice.
    """
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise ValueError(f"--seeds {text!r}: write a number, a range such as 0-4, or several with commas")
        found += range(int(match[1]), int(match[2] or match[1]) + 1)
    if len(set(found)) < len(found):
        raise ValueError(f"--seeds {text!r} names a seed twice")
    return found


def values_of(text: str) -> list[str]:
    """Values between commas; commas in brackets and quotes are part of a value.

    >>> values_of("1e-4, (1, 2), 'a, b', @x.y()")
    ['1e-4', '(1, 2)', "'a, b'", '@x.y()']
    """
    found, depth, quote = [""], 0, ""
    for sign in text:
        if quote:
            quote = "" if sign == quote else quote
        elif sign in QUOTES:
            quote = sign
        elif sign in OPENING:
            depth += 1
        elif sign in CLOSING:
            depth -= 1
        elif sign == "," and depth == 0:
            found.append("")
            continue
        found[-1] += sign
    return [value.strip() for value in found]


def _axis(text: str) -> tuple[str, list[str]]:
    name, equals, values = (part.strip() for part in text.partition("="))
    found = values_of(values)
    if not name or not equals or "" in found:
        raise ValueError(f"-g {text!r}: write 'name = value, value, ...', e.g. 'adamw.learning_rate = 1e-5, 1e-4'")
    return name, found


def _short(name: str, value: str) -> str:
    """``recap`` for a policy, ``learning_rate=1e-4`` for a number; fit for the name of a folder."""
    last = name.rpartition(".")[2]
    bare = value.lstrip("@").removesuffix("()")
    bare = bare.rpartition(".")[2] if value.startswith("@") else bare
    bare = NOT_IN_A_NAME.sub("_", bare).strip("_")[:60] or "empty"
    return bare if value.startswith("@") else f"{last}={bare}"


def _distinct(found: Sequence[Point]) -> list[Point]:
    """With numbers where shortened labels came out the same."""
    counts, used = Counter(point.label for point in found), Counter[str]()
    result = []
    for point in found:
        used[point.label] += 1
        number = f"-{used[point.label]}" if counts[point.label] > 1 else ""
        result.append(Point(point.label + number, point.bindings))
    return result
