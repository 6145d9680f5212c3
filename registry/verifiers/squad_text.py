"""Texts as the script of SQuAD compares them."""

from __future__ import annotations

import string

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = frozenset({"a", "an", "the"})


def squad_words(text: str) -> list[str]:
    """The words of a text without case, punctuation and articles.

    >>> squad_words("The  cat's hat!")
    ['cats', 'hat']
    """
    return [word for word in text.lower().translate(_PUNCTUATION).split() if word not in _ARTICLES]
