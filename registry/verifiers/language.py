"""Is it in the language that was asked for?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal, get_args

from registry import verifiers
from registry.example import Example
from registry.verifiers.answers import answer_of
from registry.verifiers.base import Verifier
from registry.verifiers.language_of import language_of

Part = Literal["completion", "answer"]

MAX_CHARS = 20_000
"""Of a completion; what comes after them is not looked at."""
_TAG = re.compile(r"</?[A-Za-z]{1,20}>")
_CODE = re.compile(r"[a-z]{2,3}")
_END = re.compile(r"(?<=[.!?。！？\n])")


@verifiers.register("language")
class Language(Verifier):
    """The share of the completion, or of its answer alone, that is in the language asked for, 0 to 1.

    Sentences are taken together to pieces of at least `shortest` letters, py3langid tells the language of each, and the share
    is that of the letters. A text with fewer letters earns 0, as nothing is known of its language.

    Source: the language consistency reward of DeepSeek-R1 (arXiv 2501.12948, section 2.3.2), which takes the share of words.
    Needs the extra `verifiers`.

    >>> judge = Language("de")
    >>> example = Example(id="1", question="Wie viele?", answer="vier")
    >>> judge("<think>Ich zähle die Hunde im Bild.</think><answer>Es sind zusammen vier Hunde.</answer>", example)
    1.0
    >>> judge("<think>I count all of the dogs in the picture.</think><answer>vier</answer>", example)
    0.0

    Args:
        language: ISO 639-1 code, such as 'en'; None: ``metadata['language']`` of each example, which the verifier does not
            apply to (None) without one.
        of: 'completion', thoughts and all, or 'answer'.
        shortest: letters that are enough to tell a language, at least 1.

    Raises:
        ValueError: something that is no code, part or number of letters; at a call, py3langid is missing.
    """

    quick = True
    needs: ClassVar[Mapping[str, str]] = {"py3langid": "verifiers"}

    def __init__(self, language: str | None = None, of: Part = "completion", shortest: int = 20) -> None:
        if language is not None and not _CODE.fullmatch(language):
            raise ValueError(f"verifiers.language.language must be a code such as 'en', or None; it is {language!r}")
        if of not in get_args(Part):
            raise ValueError(f"verifiers.language.of must be 'completion' or 'answer'; it is {of!r}")
        if shortest < 1:
            raise ValueError(f"verifiers.language.shortest must be at least 1; it is {shortest}")
        self.language = language
        self.of: Part = of
        self.shortest = shortest

    def __call__(self, completion: str, example: Example) -> float | None:
        wanted = self.language or example.metadata.get("language")
        if wanted is None:
            return None
        text = completion if self.of == "completion" else answer_of(completion, example) or ""
        right = total = 0
        for piece in _pieces(_TAG.sub(" ", text[:MAX_CHARS]), self.shortest):
            letters = _letters(piece)
            total += letters
            right += letters if language_of(piece) == wanted else 0
        return right / total if total else 0.0


def _pieces(text: str, shortest: int) -> Iterator[str]:
    """Sentences together, each piece with at least so many letters; a short rest goes with the last piece."""
    held: list[str] = []
    letters = 0
    last: str | None = None
    for sentence in _END.split(text):
        held.append(sentence)
        letters += _letters(sentence)
        if letters >= shortest:
            if last is not None:
                yield last
            last, held, letters = "".join(held), [], 0
    if last is not None:
        yield last + "".join(held)


def _letters(text: str) -> int:
    return sum(map(str.isalpha, text))
