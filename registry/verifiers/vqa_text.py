"""Answers as the script of VQA compares them: without punctuation, articles and case, numbers as digits."""

from __future__ import annotations

import re

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_PERIOD = re.compile(r"\.(?!\d)")
_THOUSANDS = re.compile(r"\d,\d")
_COUNT = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBERS = {word: str(value) for value, word in enumerate(_COUNT)} | {"none": "0"}
_ARTICLES = frozenset({"a", "an", "the"})
_CONTRACTIONS = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've he's how'd
how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've o'clock oughtn't
'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've someone'll
someone's something'd something'd've something'll that's there'd there'd've there're there's they'd they'd've they'll they're
they've 'twas wasn't we'd've we've weren't what'll what're what's what've when's where'd where's where've who'd who'd've who'll
who's who've why'll why're why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're
you've
"""


def _without_one_apostrophe(word: str) -> list[str]:
    return [word[:place] + word[place + 1 :] for place, letter in enumerate(word) if letter == "'"]


_MENDED = {spelling: word for word in _CONTRACTIONS.split() for spelling in _without_one_apostrophe(word)}
_MENDED["somebody'd"] = "somebodyd"  # as published


def without_punctuation(text: str) -> str:
    """The first step: a mark with a space beside it goes, one between letters becomes a space.

    All marks go where a comma stands in a number.

    >>> without_punctuation("black/white, red."), without_punctuation("1,000-ish")
    ('black white red', '1000ish')
    """
    plain = text
    numeric = _THOUSANDS.search(text) is not None
    for mark in _PUNCTUATION:
        beside_space = f"{mark} " in text or f" {mark}" in text
        plain = plain.replace(mark, "" if beside_space or numeric else " ")
    return _PERIOD.sub("", plain)


def vqa_answer(text: str) -> str:
    """The form in which answers and references are compared; what it would leave nothing of stays.

    >>> vqa_answer("The two dogs."), vqa_answer("dont know"), vqa_answer("A"), vqa_answer("?")
    ('2 dogs', "don't know", 'a', '?')
    """
    line = text.replace("\n", " ").replace("\t", " ").strip()
    words = without_punctuation(line).lower().split()
    kept = [word for word in words if word not in _ARTICLES] or words
    return " ".join(_MENDED.get(word, word) for word in (_NUMBERS.get(word, word) for word in kept)) or line
