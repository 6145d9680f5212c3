"""Constraints of IFEval that count something; every check is linear in the text."""

from __future__ import annotations

import re
from collections.abc import Sequence

from registry.verifiers.sentences import count_sentences

_WORD = re.compile(r"\w+")
_TOKEN = re.compile(r"\w+(?:[-.'’]\w+)*")
_STARS = re.compile(r"\*[^\n*]*\*")
_DOUBLE_STARS = re.compile(r"\*\*[^\n*]*\*\*")
_DIVIDER = re.compile(r"\s?\*\*\*\s?")


def compare(count: int, relation: str, threshold: int) -> bool:
    """'less than' or 'at least', the two relations that IFEval knows. Raises: ValueError: another."""
    if relation == "less than":
        return count < threshold
    if relation == "at least":
        return count >= threshold
    raise ValueError(f"a relation must be 'less than' or 'at least'; it is {relation!r}")


def number_words(text: str, num_words: int, relation: str) -> bool:
    return compare(sum(1 for _ in _WORD.finditer(text)), relation, num_words)


def number_sentences(text: str, num_sentences: int, relation: str) -> bool:
    return compare(count_sentences(text), relation, num_sentences)


def number_paragraphs(text: str, num_paragraphs: int) -> bool:
    """Paragraphs between ``***``; an empty one counts at neither end and must not be in the middle."""
    paragraphs = _DIVIDER.split(text)
    filled = [bool(paragraph.strip()) for paragraph in paragraphs]
    return all(filled[1:-1]) and sum(filled) == num_paragraphs


def nth_paragraph_first_word(text: str, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    """Paragraphs between blank lines; the n-th must begin with the word."""
    paragraphs = text.split("\n\n")
    count = sum(bool(paragraph.strip()) for paragraph in paragraphs)
    if not 1 <= nth_paragraph <= count or not paragraphs[nth_paragraph - 1].strip():
        return False
    word = paragraphs[nth_paragraph - 1].split()[0].lstrip("'").lstrip('"').lower()
    return count == num_paragraphs and re.split(r"[.,?!'\"]", word, maxsplit=1)[0] == first_word.lower()


def existence(text: str, keywords: Sequence[str]) -> bool:
    folded = text.lower()
    return all(keyword.lower() in folded for keyword in keywords)


def frequency(text: str, keyword: str, frequency: int, relation: str) -> bool:
    return compare(text.lower().count(keyword.strip().lower()), relation, frequency)


def forbidden_words(text: str, forbidden_words: Sequence[str]) -> bool:
    return not any(re.search(rf"\b{re.escape(word)}\b", text, flags=re.IGNORECASE) for word in forbidden_words)


def letter_frequency(text: str, letter: str, let_frequency: int, let_relation: str) -> bool:
    return compare(text.lower().count(letter.strip().lower()), let_relation, let_frequency)


def capital_word_frequency(text: str, capital_frequency: int, capital_relation: str) -> bool:
    return compare(sum(word.isupper() for word in _TOKEN.findall(text)), capital_relation, capital_frequency)


def number_placeholders(text: str, num_placeholders: int) -> bool:
    """``[address]``: an opening bracket and the next closing one on its line."""
    count = 0
    for line in text.splitlines():
        end = 0
        while (start := line.find("[", end)) >= 0 and (end := line.find("]", start) + 1) > 0:
            count += 1
    return count >= num_placeholders


def number_bullet_lists(text: str, num_bullets: int) -> bool:
    """Lines that begin with ``*``, but not ``**``, or with ``-``."""
    lines = [line.lstrip() for line in text.splitlines()]  # "* " is an empty bullet
    stars = sum(line.startswith("*") and len(line) > 1 and line[1] != "*" for line in lines)
    return stars + sum(line.startswith("-") for line in lines) == num_bullets


def number_highlighted_sections(text: str, num_highlights: int) -> bool:
    """``*so*``, and ``**so**`` once more, as published."""
    single = sum(bool(found.strip("*").strip()) for found in _STARS.findall(text))
    double = sum(bool(found[2:-2].strip()) for found in _DOUBLE_STARS.findall(text))
    return single + double >= num_highlights


def multiple_sections(text: str, section_spliter: str, num_sections: int) -> bool:
    """``Section 1``, ``Section 2``, ...; the parameter is spelt as published."""
    return len(re.findall(rf"{re.escape(section_spliter.strip())}\s?\d+", text)) >= num_sections
