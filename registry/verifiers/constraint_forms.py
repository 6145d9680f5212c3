"""Constraints of IFEval on the form of a text: how it begins and ends, its case, its marks; every check is linear."""

from __future__ import annotations

import re

from registry.verifiers.json_text import NotJson, read_json
from registry.verifiers.language_of import language_of

CONSTRAINED = ("My answer is yes.", "My answer is no.", "My answer is maybe.")


def response_language(text: str, language: str) -> bool:
    found = language_of(text)
    return found is None or found == language  # as published: what cannot be told is followed


def english_capital(text: str) -> bool:
    return text.isupper() and language_of(text) == "en"


def english_lowercase(text: str) -> bool:
    return text.islower() and language_of(text) == "en"


def no_comma(text: str) -> bool:
    return "," not in text


def end_checker(text: str, end_phrase: str) -> bool:
    return text.strip().strip('"').lower().endswith(end_phrase.strip().lower())


def quotation(text: str) -> bool:
    bare = text.strip()
    return len(bare) > 1 and bare[0] == bare[-1] == '"'


def repeat_prompt(text: str, prompt_to_repeat: str) -> bool:
    return text.strip().lower().startswith(prompt_to_repeat.strip().lower())


def two_responses(text: str) -> bool:
    """Two different texts between ``******``."""
    parts = [part.strip() for part in text.split("******")]
    filled = [part for part in parts if part]
    return all(parts[1:-1]) and len(filled) == 2 and filled[0] != filled[1]


def constrained_response(text: str) -> bool:
    return any(option in text for option in CONSTRAINED)


def json_format(text: str) -> bool:
    try:
        read_json(text)
    except NotJson:
        return False
    return True


def title(text: str) -> bool:
    """``<<poem of joy>>`` on one line."""
    for line in text.split("\n"):
        start, end = line.find("<<"), line.rfind(">>")
        if 0 <= start < end - 2 and line[start : end + 2].lstrip("<").rstrip(">").strip():
            return True
    return False


def postscript(text: str, postscript_marker: str) -> bool:
    marker = postscript_marker.strip()
    patterns = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
    return re.search(patterns.get(marker, re.escape(marker.lower())), text.lower()) is not None
