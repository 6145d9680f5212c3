"""Which formulas could take a computer algebra system for ever."""

from __future__ import annotations

import re

_MOST_DIGITS = re.compile(r"\d{300}")
_POWER = re.compile(r"\^ ?\{? ?[+-]? ?(\d+)")
_POWER_OF_SUM = re.compile(r"\(([^()]{0,200}[+-][^()]{1,200})\) ?\^ ?\{? ?(\d{2,3})")
_BIG_EXPONENT = re.compile(r"\^ ?\{[^{}]{0,40}\d{3}[^{}]{0,40}(?:\*|\\times|\\cdot|\^)[^{}]{0,40}\d")  # 9^{999*999}
_POWER_OF_POWER = re.compile(  # (10^{9999})^{9999}, (999!)^{999}, 9^{999}!, 10^{10^{10}}
    r"(?:\d{2}|!) ?[)}]{1,2} ?\^ ?\{? ?\d{3}|\d{3} ?\} ?!|\^ ?\{ ?\d{2,} ?\^ ?\{? ?\d{2}"
)
_FUNCTION_POWER = re.compile(r"(?:sin|cos|tan) ?\^ ?\{? ?\d{3}")
_BIG_FACTORIAL = re.compile(r"\d{4,} ?!|! ?!")
_REPEATED = re.compile(r"\\(?:sum|prod|i*int|binom|choose|lim)(?![A-Za-z])")
_FOUR_DIGITS = re.compile(r"\d{4}")
MOST_CHARS = 2000
MOST_DEPTH = 30
MOST_POWER = 10_000


def is_costly(text: str) -> bool:
    r"""Whether working with a formula could take for ever: towers of powers, huge factorials, a thousand brackets.

    >>> [is_costly(text) for text in ("9^{9^{9^9}}", "100000!", "2^{100}", "(x+1)^{300}", "{" * 99)]
    [True, True, False, True, True]
    """
    if len(text) > MOST_CHARS or _MOST_DIGITS.search(text) or _BIG_FACTORIAL.search(text):
        return True
    text = text.replace("**", "^")
    if _REPEATED.search(text) and (
        _FOUR_DIGITS.search(text) or any(int(power[:9]) > 9 for power in _POWER.findall(text))
    ):
        return True
    for terms, power in _POWER_OF_SUM.findall(text):
        signs = len(re.findall("[+-]", terms))
        if re.search(r"[A-Za-z]", terms) and (len(power) > 2 or (int(power) > 40 and (signs > 1 or "\\" in terms))):
            return True
    if any(pattern.search(text) for pattern in (_BIG_EXPONENT, _POWER_OF_POWER, _FUNCTION_POWER)):
        return True
    if any(len(power) > 6 or int(power) > MOST_POWER for power in _POWER.findall(text)):
        return True
    depth = deepest = tower = 0
    powers: list[int] = []  # the depths at which a power has begun and not ended
    for place, char in enumerate(text):
        if char in "{([":
            depth += 1
        elif char in "})]":
            depth -= 1
            while powers and powers[-1] > depth:
                powers.pop()
        elif char == "^":
            if text[place + 1 :].lstrip()[:1] in ("{", "("):
                powers.append(depth + 1)
            tower = max(tower, len(powers) + (text[place + 1 : place + 2] not in ("{", "(")))
        deepest = max(deepest, depth)
    return deepest > MOST_DEPTH or tower > 2
