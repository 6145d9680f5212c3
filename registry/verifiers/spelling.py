r"""One spelling for texts that mean the same: LaTeX marks without meaning, Unicode signs, sentences around an answer.

All in time linear in the text; nothing here judges.
"""

from __future__ import annotations

import itertools
import re
import unicodedata

from registry.answer_places import boxes_in
from registry.verifiers.signs import LATEX, MICRO, SIGNS, UPRIGHT
from registry.verifiers.units import CHANGING, NAMING, SCALES, UNITS, changes, read_unit

_RAISED, _LOWERED = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻]+"), re.compile("[₀₁₂₃₄₅₆₇₈₉]+")
_LEVEL = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻₀₁₂₃₄₅₆₇₈₉", "0123456789+-0123456789")
_ESCAPED_TWICE = re.compile(
    r"(?<!\\)\\\\(?=(?:boxed|[dtc]?frac|sqrt|text|l[et]q?|g[et]q?|pi|cdot|times|left|right)(?![A-Za-z]))"
)
_NEGATED = re.compile(r"not (?:it'?s not |it is not )?-?\d[\d.,]*(?=[ ,;]| )", re.IGNORECASE)
_MARK = re.compile(r"^\s*(?:#{2,4}|=)(?!=)\s*")
_CALCULATION = re.compile(r"<<[^<>]{1,100}>>")  # GSM8K's
_REASON = re.compile(
    r"(?<=\S)(?:,? \(?(?:because|since) |,? as (?:required|desired|needed|claimed)(?![A-Za-z])"
    r"|\s*\n\s*\n\s*(?:explanation|note|reason)).*",
    re.IGNORECASE | re.DOTALL,
)
_WRAPPERS = (
    re.compile(r"\$+([^$]*)\$+"),
    re.compile(r"\\\(((?:(?!\\\)).)*)\\\)|\\\[((?:(?!\\\]).)*)\\\]", re.DOTALL),
    re.compile(r"\\(?:text|textbf|mathrm|mathbf|mathsf)\s*\{([^{}]*)\}"),
    re.compile(r"__([^_]+)__"),
    re.compile(r"<(?:b|u|i|em|strong)>([^<>]*)</(?:b|u|i|em|strong)>"),
)
_INDEX_OF_LETTER = re.compile(r"(?<=[A-Za-z)])_\{?(\d{1,3})\}?")  # H_2O is H2O
_FULL_STOP = re.compile(r"(?<![.\\]) ?[.,;:]$|(?<=[A-Za-z]{3})!$")
_BOLD = re.compile(r"(?<![\w)\]}*])\*\*([^\s*](?:[^*]*[^\s*])?)\*\*(?![\w(\[{*])")
_DECORATIONS = " *`•✓✔✅☑🎉"
_MOST_WRAPPERS = 4  # as in **$\text{B}$**

_ALIGNED = re.compile(r"\\(?:begin|end) ?\{(?:align(?:ed)?|gathered|split)\*?\}")
_FRACTION = re.compile(r"\\frac ?(?:\{ ?([^{}]{1,400}?) ?\}|(\d)|) ?(?:\{ ?([^{}]{1,400}?) ?\}|(\d))")
_DELIMITER = re.compile(r"\$\$?|(?<!\\)\\[()\[\]]")
_LEAD = re.compile(
    r"(?:so|thus|therefore|hence|then|final answer|answer|the answer|solution|we (?:get|have|find|obtain)(?: that)?)"
    r"(?: is| are)?(?:,|:| ?=| )\s*|ans[.:] ?|(?:i )?(?:choose|pick|select) |(?:故?答案|故?选)[是为:]{0,2} ?",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"([A-Za-z][A-Za-z ,'’()-]{0,90}?)(?: is| are| equals|:)(?: equal to| exactly)?:?\s+(?=\S)")
_ANSWER_IS = re.compile(  # behind a short working: the last line, or sentence, says so
    r"(?:\n\s*|\. +)(?:(?:so|thus|hence|therefore),? )?(?:the )?(?:final )?answer(?: is:?|:) (?=[^\n]*$)", re.IGNORECASE
)
_TOLD = re.compile(r"answer(?: is|:)", re.IGNORECASE)
_IT_IS = re.compile(r"it'?s ", re.IGNORECASE)
_TAIL = re.compile(
    r",?(?: which)? (?:is|are) (?:(?:the|our|my) (?:final |correct |only )?(?:answer|solution|result)s?|(?:correct|right)$)"
)
_HARMLESS = frozenset(["of", "by", "to", "if", "between", "from", "root", "roots", "and", "or"])
_FIRST_WORD = re.compile(r"[\s}]{0,3}(?:\\(?:text|mathrm) ?\{ ?)?(\\?%|°|\^ ?\{?\\?\w+\}?|\^\S|!|[A-Za-z]+)\}?")
_BEFORE_BOX = re.compile(r"[+/^·×]$|(?<!\*)\*$|(?<![A-Za-z])[A-Za-z]?\d[\d.]*[A-Za-z]?$")
_BOX_TAIL = 30  # characters behind a box that may belong to it: a unit, a percent sign
_BOX_GAP = 40  # characters between boxes that are one list


def tidy(text: str) -> str:
    r"""The text without marks that carry no meaning: outer LaTeX and bold marks, a last full stop, spare white space.

    >>> tidy(" **$\\text{B}$**. ")
    'B'
    """
    text = " ".join(unicodedata.normalize("NFC", text).translate(SIGNS).split())
    text = _LOWERED.sub(
        lambda match: "_" + _at_level(match[0]), _RAISED.sub(lambda match: "^" + _at_level(match[0]), text)
    )
    text = _BOLD.sub(r"\1", text)
    for _ in range(_MOST_WRAPPERS):
        inner = _FULL_STOP.sub("", text).strip(_DECORATIONS) or text
        inner = inner[1:-1].strip() if len(inner) > 2 and inner[0] == inner[-1] in "'\"" else inner
        for wrapper in _WRAPPERS:
            if match := wrapper.fullmatch(inner):
                inner = next(group for group in match.groups() if group is not None).strip()
        if inner == text or not inner:
            break
        text = inner
    return text


def text_key(text: str) -> str:
    """What two texts have in common that are the same but for case, white space and the marks that `tidy` removes.

    White space stays where it tells apart: between letters or digits, and behind a comma between digits. Case stays where
    there are signs of mathematics: a variable is not its capital.

    >>> text_key("New  York.") == text_key("new york"), text_key("12, 345") == text_key("12,345")
    (True, False)
    """
    text = _INDEX_OF_LETTER.sub(r"\1", tidy(text))
    text = re.sub(r"(?<![^\W_]) | (?![^\W_])", "", re.sub(r"(?<=\d[,;]) (?=\d)", "\0", text))
    is_formula = re.search(r"[\d\\^=+*/<>_]", text) and ("\\" in text or not re.search(r"[^\W\d_]{3}", text))
    return text if is_formula else text.casefold()


def same_text(a: str, b: str) -> bool:
    """Whether two texts agree but for case, white space and marks that carry no meaning.

    >>> same_text("New York.", "new  york"), same_text("2a", "2A"), same_text("12, 345", "12,345")
    (True, False, False)
    """
    key = text_key(a)
    return bool(key) and key == text_key(b)


def clean(text: str) -> str:
    r"""A formula in one spelling: spacing, brackets' sizes and upright letters set aside, fractions in full.

    >>> clean(r"\left( 1{,}000 \tfrac12 \right)"), clean(r"24\text{ cm}^2"), clean("x >= 3")
    ('( 1,000 \\frac{1}{2} )', '24 cm^2', 'x \\ge 3')
    """
    text = tidy(text)
    if _ALIGNED.search(text):
        text = _ALIGNED.sub(" ", text).replace("&", "").strip()
    text = UPRIGHT.sub(_upright, MICRO.sub(r"\1µ", text))
    for pattern, spelling in LATEX:
        text = pattern.sub(spelling, text)
    text = _FRACTION.sub(_whole_fraction, text)
    return _FULL_STOP.sub("", re.sub(r" +(?=\^)", "", " ".join(text.split()))).strip()


def core(text: str) -> str | None:
    r"""What a sentence answers, `clean`; None where it gives several answers.

    Boxes come first; then what stands behind "the answer is" and its like. A sentence that says something else beside the
    number, such as "less than 5", stays as it is.

    >>> [core(text) for text in ("The area is $2x$.", r"so \boxed{28}\% of them", r"\boxed{3}, \boxed{4}", "less than 5")]
    ['2x', '28%', '3, 4', 'less than 5']
    >>> core(r"\boxed{3} or perhaps it could be the other one \boxed{4}") is None
    True
    """
    text = _REASON.sub("", _CALCULATION.sub("", _MARK.sub("", text)))
    if (told := _ANSWER_IS.search(text)) and len(_TOLD.findall(text)) == 1:
        text = text[told.end() :]
    text = _NEGATED.sub(" ", _ESCAPED_TWICE.sub(r"\\", text))
    for _ in range(3):
        if r"\boxed" not in text and r"\fbox" not in text:
            break
        boxed = _boxed(text)
        if boxed is None:
            return None
        text = boxed
    text = tidy(text)
    if text.count("$") % 2 == 0 or "\\" in text:
        text = _DELIMITER.sub(" ", text)
    text = clean(text)
    return _without_sentence(text)


def _at_level(signs: str) -> str:
    plain = signs.translate(_LEVEL)
    return plain if len(plain) == 1 else f"{{{plain}}}"


def _upright(match: re.Match[str]) -> str:
    inside = match[1].strip()
    if match.string[match.start() - 1 : match.start()].isalpha():  # the end of a command: \pi\mathrm{i}
        return f" {inside} "
    return inside if len(inside) == 1 and not match[1][0].isspace() and match[0][1] == "m" else f" {inside} "


def _whole_fraction(match: re.Match[str]) -> str:
    top, bottom = match[1] or match[2], match[3] or match[4]
    if not top or not bottom:
        return match[0]
    sign = ""
    if bottom.startswith("-") and re.fullmatch(r"-\s*[\d.]+", bottom):
        sign, bottom = "-", bottom[1:].strip()
    if top.startswith("-") and re.fullmatch(r"-\s*[\d.]+", top):
        sign, top = "" if sign else "-", top[1:].strip()
    return rf"{sign}\frac{{{top}}}{{{bottom}}}"


def _boxed(text: str) -> str | None:
    boxes = boxes_in(text)
    if not boxes:
        return text.replace(r"\boxed", " ").replace(r"\fbox", " ")
    inside = list(dict.fromkeys(text[start:end].strip() for _, start, end in boxes))
    if len(inside) == 1:
        begin, start, end = boxes[-1]
        before = text[:begin].rstrip(" $").rstrip()
        tail = text[end + 1 :].lstrip("$").split("$")[0].partition(". ")[0].rstrip(". ")
        if _BEFORE_BOX.search(before) or changes((before.rsplit(None, 1) or [""])[-1], _HARMLESS):
            return None
        minus = "-" if re.search(r"(?:^|[=:\s$])-$", before) else ""
        return minus + text[start:end] + _box_tail(tail)
    gaps = [text[a[2] + 1 : b[0]] for a, b in itertools.pairwise(boxes)]
    joined = all(len(gap) <= _BOX_GAP and not changes(gap, _HARMLESS) for gap in gaps)
    return ", ".join(inside) if joined else None


def _box_tail(text: str) -> str:
    """What stands behind a box and belongs to it: a percent sign, a unit, a word that changes the number."""
    match = _FIRST_WORD.match(text)
    if match is None or r"\end" in text:
        return ""
    word, glued = match[1].strip("\\"), text[:1].isalnum()
    if word in UNITS and len(text) <= _BOX_TAIL and read_unit(clean(f" {text}")):
        return text
    telling = word in UNITS or word.lower() in {*SCALES, *CHANGING, "percent", "percentage", "pct"} - _HARMLESS
    return match[0] if glued or telling or not word.isalpha() else ""


def _without_sentence(text: str) -> str:
    text = _TAIL.sub("", text)
    for _ in range(3):
        match = _LEAD.match(text) or _IT_IS.match(text) or _sentence(text)
        if match is None or match.end() == len(text):
            break
        text = text[match.end() :]
    return _FULL_STOP.sub("", text).strip()


def _sentence(text: str) -> re.Match[str] | None:
    match = _SENTENCE.match(text)
    if match is None or (match[0].rstrip().endswith(":") and len(match[1]) < 3):
        return None
    return None if changes(match[1], _HARMLESS | NAMING) else match
