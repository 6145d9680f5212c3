r"""Whether an answer agrees with a reference: by their text, as plain numbers, part by part, and the rest by math-verify."""

from __future__ import annotations

import re

from registry.verifiers.chains import is_name, value_of_chain
from registry.verifiers.clock import hours_and_minutes, read_time
from registry.verifiers.numerals import SURE_DIGITS, with_decimal_point
from registry.verifiers.prose import quantity_in_prose
from registry.verifiers.quantities import read_mixed, read_quantity, same_quantity
from registry.verifiers.shapes import as_points, as_quotients
from registry.verifiers.spelling import same_text
from registry.verifiers.structure import (
    Same,
    items,
    parts_of,
    plain_environments,
    same_in_any_order,
    same_in_order,
    sides,
)
from registry.verifiers.symbolic import is_expression, same_expression
from registry.verifiers.units import same_unit, split_unit

_RATIO_NAME = re.compile(r"\\frac\{[A-Z]{1,3}\}\{[A-Z]{1,3}\}|[A-Za-z_{}\d]{1,20}:[A-Za-z_{}\d]{1,20}")
_MEMBER = re.compile(r"([A-Za-z]{1,2}) ?(?:\\in(?![A-Za-z])|∈) ?(.+)", re.DOTALL)
_GLUED = re.compile(r"^([\d.,]{1,40})([A-Za-zµΩ]{1,2})$")  # 5m, 5kN beside "5 m", "5 kN"
_CONDITION = re.compile(
    r"\\?\{ ?([A-Za-z]) ?(?:(?:\\in(?![A-Za-z])|∈) ?\\?[A-Za-z]+ ?(?:\{?[A-Z]\}?)? ?)?[|:] ?(.+?) ?\\?\}", re.DOTALL
)
_ROOT_INDEX = re.compile(r"(?<![A-Za-z])x_\{?\d\}?(?= ?=)")
_SIGNED = re.compile(r"\\pm(?![A-Za-z])|±")
_INEQUALITY = re.compile(r"[<>]|\\[lg]e(?![A-Za-z])")
_POINT = re.compile(r"([A-Z]'?) ?(\(.*\))", re.DOTALL)  # A(2, -3)
_MOST_DEPTH = 6


def quick_agreement(answer: str, reference: str) -> bool | None:
    r"""What can be told without math-verify; None where it cannot. Both as `spelling.core` gives them.

    A reference that is a plain number asks for a plain number: "47 + 38" and "\sqrt{25}" are no answers.

    >>> quick_agreement("x = 5", "5"), quick_agreement("47 + 38", "85"), quick_agreement(r"\sqrt{12}", r"2\sqrt{3}")
    (True, False, None)
    """
    if same_text(answer, reference):
        return True
    if (time := read_time(reference)) is not None and (told := read_time(answer)) is not None:
        return told == time
    if (hands := hours_and_minutes(reference)) and hours_and_minutes(answer) == hands:
        return True
    answer, reference = as_quotients(answer, reference)
    if (mixed := read_mixed(reference)) and (told_mixed := read_mixed(answer)):
        return told_mixed == mixed
    found, expected = read_quantity(answer), read_quantity(reference)
    if expected is None and found is not None and found.unit:
        expected = read_quantity(_GLUED.sub(r"\1 \2", reference))
    elif found is None and expected is not None and expected.unit:
        found = read_quantity(_GLUED.sub(r"\1 \2", answer))
    if "." in answer and re.search(r",\d\d", reference) and (pointed := with_decimal_point(reference)):
        expected = read_quantity(pointed)
    elif "." in reference and (pointed := with_decimal_point(answer)):
        found = read_quantity(pointed)
    if expected is not None:
        found = found or value_of_chain(answer) or quantity_in_prose(answer)
        if found is not None:
            return same_quantity(found, expected)
        parted = parts_of(answer)
        if parted and parted[0] == "{" and len(parted[1]) == 1:
            return quick_agreement(parted[1][0], reference)
        # A decimal of many places may be a root's: sqrt(17) for 4.123105625617661.
        return None if expected.number.decimals >= SURE_DIGITS and is_expression(answer) else False
    if not is_expression(split_unit(reference)[0]) and len(items(reference)) < 2:
        return False
    return None


def agree(answer: str, reference: str, depth: int = 0) -> bool:
    """Whether an answer agrees with a reference; may run without end. Both as `spelling.core` gives them."""
    if depth > _MOST_DEPTH:
        return False
    if depth == 0 or "begin" in answer + reference:
        answer, reference = plain_environments(answer), plain_environments(reference)
    quick = quick_agreement(answer, reference)
    if quick is not None:
        return quick

    def same(a: str, b: str) -> bool:
        return agree(a, b, depth + 1)

    answer, reference = as_quotients(answer, reference)
    answer, reference = as_points(answer, reference)
    answer, reference = (_one_by_one(a, b) for a, b in ((answer, reference), (reference, answer)))
    found_set, expected_set = _CONDITION.fullmatch(answer), _CONDITION.fullmatch(reference)
    if found_set or expected_set:
        return same(found_set[2] if found_set else answer, expected_set[2] if expected_set else reference)
    bare_answer, unit = split_unit(answer)
    bare_reference, wanted = split_unit(reference)
    if unit or wanted:
        return same_unit(unit, wanted) and same(bare_answer, bare_reference)
    if (member := _MEMBER.fullmatch(reference)) and not sides(member[2]):
        other = _MEMBER.fullmatch(answer)
        return same(other[2] if other else answer, member[2])
    if (member := _MEMBER.fullmatch(answer)) and not sides(member[2]):
        return same(member[2], reference)
    answer, reference = _as_union(answer, reference), _as_union(reference, answer)
    found, expected = _items(answer), _items(reference)
    if len(found) > 1 or len(expected) > 1:
        return _same_list(answer, reference, found, expected, same)
    (point, pair), (other_point, other_pair) = _point(answer), _point(reference)
    if point and other_point and point != other_point:
        return False
    if pair and other_pair and "{" not in (pair[0], other_pair[0]):
        brackets = len(pair[1]) > 2 or (pair[0], pair[2]) == (other_pair[0], other_pair[2])
        return brackets and same_in_order(pair[1], other_pair[1], same)
    if r"\cup" in answer and r"\cup" in reference:
        unions = [[part.strip() for part in text.split(r"\cup")] for text in (answer, reference)]
        return same_in_any_order(unions[0], unions[1], same)
    return _same_relation(answer, reference, same)


def _same_relation(answer: str, reference: str, same: Same) -> bool:
    found, expected = sides(answer), sides(reference)
    if found and expected:
        names = _is_named(found[0]), _is_named(expected[0])
        if all(names) and same_text(found[0], expected[0]):
            return same(found[1], expected[1])
        if all(names) and not re.search(r"[A-Za-z]", found[1] + expected[1]):
            return False
    elif expected:
        return _is_named(expected[0]) and same(answer, expected[1])
    elif found:
        return (_is_named(found[0]) or is_sum(found[0])) and same(found[1], reference)
    return same_expression(answer, reference)


def is_sum(text: str) -> bool:
    """Whether a text is made of numbers alone."""
    return re.search(r"[A-Za-z]", re.sub(r"\\[A-Za-z]+", "", text)) is None


def _is_named(text: str) -> bool:
    return is_name(text) or _RATIO_NAME.fullmatch(text) is not None


def _items(text: str) -> list[str]:
    r"""The items of a list or set, with both signs where there is a \pm."""
    parted = parts_of(text)
    listed = parted[1] if parted and parted[0] == "{" else _points(text) or items(text)
    spread = []
    for item in listed:
        if len(_SIGNED.findall(item)) == 1 and not sides(item):
            spread += [_SIGNED.sub(sign, item).strip() for sign in ("+", "-")]
        elif len(_SIGNED.findall(item)) == 1 and (both := sides(item)):
            spread += [f"{both[0]} = {_SIGNED.sub(sign, both[1]).strip()}" for sign in ("+", "-")]
        else:
            spread.append(item)
    return spread


def _as_union(text: str, other: str) -> str:
    r"""Inequalities joined by "or" as a union, to stand beside one of intervals."""
    parts = [part.strip() for part in text.split(" or ")]
    if r"\cup" in other and all(_INEQUALITY.search(part) and len(items(part)) == 1 for part in parts):
        return r" \cup ".join(parts)
    return text


def _one_by_one(text: str, other: str) -> str:
    """(x, y) = (1, 2) as "x = 1, y = 2", to stand beside such a list; any other text as it is."""
    pairs = [parts_of(side) for side in sides(text) or ()]
    if len(_named(items(other))) < 2 or len(pairs) < 2 or pairs[0] is None or pairs[1] is None:
        return text
    (left, names, _), (right, values, _) = pairs[0], pairs[1]
    same_shape = left == right == "(" and len(names) == len(values)
    return ", ".join(f"{name} = {value}" for name, value in zip(names, values, strict=True)) if same_shape else text


def _points(text: str) -> list[str]:
    """The points that "p=5, q=2; p=7, q=2" names; none where it does not."""
    points = [items(part) for part in text.split(";")]
    if len(points) < 2 or any(len(point) < 2 or len(_named(point)) < len(point) for point in points):
        return []
    return [f"({', '.join(map(_value, point))})" for point in points]


def _point(text: str) -> tuple[str, tuple[str, list[str], str] | None]:
    """A point's name, '' where it has none, and what `parts_of` finds of it."""
    match = _POINT.fullmatch(text)
    parts = parts_of(match[2]) if match else None
    return (match[1], parts) if match and parts else ("", parts_of(text))


def _same_list(answer: str, reference: str, found: list[str], expected: list[str], same: Same) -> bool:
    if any(r"\ldots" in item for item in (*found, *expected)):
        return same_in_order(found, expected, same)
    for text, other in ((answer, expected), (reference, found)):  # a point, and a bare list
        parted = parts_of(text)
        if parted and (parted[0], parted[2]) == ("(", ")") and _may_be_point(reference if text is answer else answer):
            points = parts_of(reference if text is answer else answer)
            grouped = points is not None and (reference if text is answer else answer)[0] == "{"  # {1,3} prints as 1,3
            if (points is None or grouped) and len(other) == len(parted[1]) > 1:
                return same_in_order(*((parted[1], other) if text is answer else (other, parted[1])), same)
    if _are_roots(found) or _are_roots(expected):  # which root is the first means nothing
        found, expected = ([_ROOT_INDEX.sub("x", item) for item in listed] for listed in (found, expected))
    mine, theirs = _named(found), _named(expected)
    if theirs and len(set(theirs)) == len(theirs) > 1 and len(theirs) == len(expected) and not mine:
        return same_in_order(found, [_value(item) for item in expected], same)
    if mine and len(set(mine)) == len(mine) > 1 and len(mine) == len(found) and not theirs:
        return same_in_order([_value(item) for item in found], expected, same)
    if len(set(mine)) <= 1 and len(set(theirs)) <= 1 and (not mine or not theirs or mine[0] == theirs[0]):
        found, expected = [_value(item) for item in found], [_value(item) for item in expected]
    return same_in_any_order(found, expected, same)


def _are_roots(listed: list[str]) -> bool:
    return len(listed) > 1 and all(_ROOT_INDEX.match(item) for item in listed)


def _may_be_point(text: str) -> bool:
    """Whether a bare list may be a point's: its items are not alternatives, nor values of one variable."""
    names = _named(items(text))
    joined = r"or" if len(names) == len(items(text)) else r"or|and"  # x = 2 and y = -3
    return not re.search(rf"(?<![A-Za-z\\])(?:{joined})(?![A-Za-z])", text) and len(set(names)) == len(names)


def _named(listed: list[str]) -> list[str]:
    """The names of the items that say whose value they are."""
    return [both[0].replace(" ", "") for item in listed if (both := sides(item)) and _is_named(both[0])]


def _value(item: str) -> str:
    both = sides(item)
    return both[1] if both and _is_named(both[0]) else item
