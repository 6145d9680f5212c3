"""Which option of a question an answer means: by its letter, its text, or both."""

from __future__ import annotations

import re
from collections.abc import Sequence

from registry.verifiers.quantities import read_quantity, same_quantity
from registry.verifiers.spelling import clean, same_text, tidy

_LETTER = re.compile(r"(?:(?:option|choice) )?[(\[]?([A-Za-z])[)\].:]{0,2}", re.IGNORECASE)
_ANOTHER_LETTER = re.compile(
    r"(?<![\w'])\(?[A-H](?:[).:,;/&(]|\s*$|\s+(?:or|and)\b|\s+[A-H]\b)|\b(?:or|and|nor) \(?[A-H]\b(?! [a-z])"
)
_NAMED_BY_LETTER = re.compile(  # the end of an option's text, not another option
    r"(?:\d|\b(?:vitamin|type|group|point|class|hepatitis|figure|line|curve|graph|region|plan|box|team|person)) ?[A-H]\s*$",
    re.IGNORECASE,
)
_DENIED = re.compile(r"(?:(?:is|it is|it's|are) )?(?:not|wrong|incorrect|none|neither|no)\b", re.IGNORECASE)
_LETTER_THEN_TEXT = re.compile(r"\(?([A-Z])\)?(?: ?(?:->|→|[,–-]) ?| \(| )(.+?)\)?", re.DOTALL)
_LONE_AND_TEXT = re.compile(r"([A-H])(?: ?(?:, |- |-> ?|→ ?)| (?=\())(\S.*)", re.DOTALL)  # B - dog, B (dog)
_TEXT_AND_LONE = re.compile(r"(\S.*) \(([A-H])\)", re.DOTALL)
_SEVERAL = re.compile(r"\(?[A-H]\)?(?:(?:, ?and |[,;] ?| ?& ?| and | )\(?[A-H]\)?){1,6}")
_TEXT_THEN_LETTER = re.compile(r"(.+?)[, ]{1,3}\(?([A-Z])\)?", re.DOTALL)
_ARTICLE = re.compile(  # a bare "a dog" may be the letter A
    r"(?:(?:it'?s|(?:the|this|that|it)(?: [a-z]{1,20}){0,8} is) (?:an? |the )?|the |an )(?=\S)", re.IGNORECASE
)
_LETTER_AND_TEXT = re.compile(
    r"(?:(?:option|choice) )?[(\[]?([A-Za-z])[)\].:]{1,2}\s*(\S.*)", re.DOTALL | re.IGNORECASE
)


def option_index(text: str, choices: Sequence[str]) -> int | None:
    """The option meant by its text, its letter, or both; None where it is none of them, or letter and text disagree.

    >>> [option_index(text, ("cat", "dog")) for text in ("Dog", "b", "(B)", "B. dog", "B) cat", "option B", "C")]
    [1, 1, 1, 1, None, 1, None]
    """
    text = tidy(text.replace("**", "") if text.count("**") % 2 == 0 else text)
    by_text = _index_of(text, choices)
    if by_text is not None:
        return by_text
    if match := _LETTER.fullmatch(text):
        index = _letter_index(match[1])
        return index if index < len(choices) else None
    if match := _LETTER_AND_TEXT.fullmatch(text):
        index = _letter_index(match[1])
        return index if index < len(choices) and _may_explain(match[2], index, choices) else None
    return _letter_beside_text(text, choices)


def option_of_reference(reference: str, choices: Sequence[str]) -> int | None:
    """The right option, as a reference names it: as `option_index`, or as "1.0", a number counted from 0.

    >>> option_of_reference("1.0", ("cat", "dog")), option_of_reference("E", ("cat", "dog"))
    (1, None)
    """
    found = option_index(reference, choices)
    if found is None and re.fullmatch(r"\d{1,2}(?:\.0+)?", reference.strip()):
        index = int(float(reference))
        return index if index < len(choices) else None
    if found is None and (letter := leading_letter(reference)) and _letter_index(letter) < len(choices):
        match = _LETTER_AND_TEXT.fullmatch(tidy(reference))
        return _letter_index(letter) if match is None else None
    return found


def leading_letter(text: str) -> str | None:
    """The letter of an option, in upper case, where the options themselves are unknown.

    >>> leading_letter("(b)"), leading_letter("B. a dog"), leading_letter("a dog")
    ('B', 'B', None)
    """
    text = tidy(text)
    if match := _LETTER.fullmatch(text):
        return match[1].upper()
    letter, rest = "", ""
    if match := _LETTER_AND_TEXT.fullmatch(text) or _LONE_AND_TEXT.fullmatch(text):
        letter, rest = match[1].upper(), match[2]
    elif match := _TEXT_AND_LONE.fullmatch(text):
        letter, rest = match[2], match[1]
    silent = not _ANOTHER_LETTER.search(_NAMED_BY_LETTER.sub("", rest)) and not _DENIED.match(rest)
    return letter if letter and silent else None


def letters_of(text: str) -> frozenset[str] | None:
    """The letters of several options, as "A, C", "(A), (C)", "A and C" or, in order, "AC"; None for anything else.

    >>> letters_of("ABD") == letters_of("A, B, D"), letters_of("BAD"), letters_of("A or B")
    (True, None, None)
    """
    found = re.findall("[A-H]", text)
    if len(set(found)) != len(found) or len(found) < 2:
        return None
    glued = text == "".join(sorted(found))
    return frozenset(found) if glued or _SEVERAL.fullmatch(text) else None


def is_lone_letter(text: str) -> bool:
    """Whether a reference is the letter of an option and nothing else: "B", "(b)", "B."."""
    return _LETTER.fullmatch(tidy(text)) is not None


def _letter_beside_text(text: str, choices: Sequence[str]) -> int | None:
    """The option whose letter and text both stand there, without a mark between them: "B dog", "dog (B)"."""
    for pattern, letter, rest in ((_LETTER_THEN_TEXT, 1, 2), (_TEXT_THEN_LETTER, 2, 1)):
        if (match := pattern.fullmatch(text)) and (named := _indices_of(match[rest], choices)):
            index = _letter_index(match[letter])
            return index if index in named else None
    return None


def _may_explain(rest: str, index: int, choices: Sequence[str]) -> bool:
    """Whether what stands behind an option's letter says nothing else: no other option, no other value, no denial."""
    named = _indices_of(rest, choices)
    if named:
        return index in named
    if _ANOTHER_LETTER.search(rest) or _DENIED.match(rest):
        return False
    if (told := read_quantity(clean(rest))) and (meant := read_quantity(clean(choices[index]))):
        return same_quantity(told, meant)
    return not any(_names(rest, choice) for choice in choices if not same_text(choice, choices[index]))


def _names(text: str, choice: str) -> bool:
    """Whether a text speaks of an option."""
    return re.search(rf"(?<!\w){re.escape(tidy(choice))}(?!\w)", text, re.IGNORECASE) is not None


def _index_of(text: str, choices: Sequence[str]) -> int | None:
    """The option that a text is; None where it is none, or may be several that differ in no more than case and marks."""
    named = _indices_of(text, choices)
    return named[0] if named and len({tidy(choices[i]) for i in named}) == 1 else None


def _indices_of(text: str, choices: Sequence[str]) -> list[int]:
    """Every option that a text may be: those of its very spelling, or else those that agree but for case and marks."""
    exact = [i for i, choice in enumerate(choices) if tidy(text) == tidy(choice)]
    same = exact or [i for i, choice in enumerate(choices) if same_text(text, choice)]
    if not same:
        bare = _ARTICLE.sub("", text, 1)
        same = [i for i, choice in enumerate(choices) if same_text(bare, _ARTICLE.sub("", choice, 1))]
    if not same and (quantity := read_quantity(clean(text))):
        read = [read_quantity(clean(choice)) for choice in choices]
        same = [i for i, choice in enumerate(read) if choice is not None and same_quantity(quantity, choice)]
        same = same if len(same) == 1 else []
    return same


def _letter_index(letter: str) -> int:
    return ord(letter.upper()) - ord("A")
