"""Is it in the language that was asked for?"""

from __future__ import annotations

import re
from typing import Literal, get_args

from registry import verifiers
from registry.example import Example
from registry.verifiers.answers import answer_of
from registry.verifiers.base import Verifier
from registry.verifiers.language_of import language_of

Part = Literal["completion", "answer"]
_TAG = re.compile(r"</?[A-Za-z]{1,20}>")
_CODE = re.compile(r"[a-z]{2,3}")


@verifiers.register("language")
class Language(Verifier):
    """1 where the completion, or its answer alone, is in the language asked for, otherwise 0.

    For models that change languages as they think (DeepSeek-R1, arXiv 2501.12948, section 2.3.2: there the share of words in
    the language; here the language of the whole). The language is told by py3langid, which knows 97 and is sure of sentences,
    not of single words: of fewer than `shortest` letters nothing is known, and they earn 0. Needs the extra `verifiers`.

    >>> judge = Language("de")
    >>> example = Example(id="1", question="Wie viele?", answer="vier")
    >>> judge("<think>Ich zähle die Hunde im Bild.</think><answer>Es sind vier.</answer>", example)
    1.0
    >>> judge("<think>I count the dogs in the picture.</think><answer>Es sind vier.</answer>", example)
    0.0

    Args:
        language: ISO 639-1 code, such as 'en'; None: ``metadata['language']`` of each example, which the verifier does not
            apply to (None) without one.
        of: 'completion', thoughts and all, or 'answer'.
        shortest: letters that are enough to tell a language.

    Raises:
        ValueError: something that is no code or part; at a call, py3langid is missing.
    """

    quick = True

    def __init__(self, language: str | None = None, of: Part = "completion", shortest: int = 10) -> None:
        if language is not None and not _CODE.fullmatch(language):
            raise ValueError(f"verifiers.language.language must be a code such as 'en', or None; it is {language!r}")
        if of not in get_args(Part):
            raise ValueError(f"verifiers.language.of must be 'completion' or 'answer'; it is {of!r}")
        self.language = language
        self.of: Part = of
        self.shortest = shortest

    def __call__(self, completion: str, example: Example) -> float | None:
        wanted = self.language or example.metadata.get("language")
        if wanted is None:
            return None
        text = completion if self.of == "completion" else answer_of(completion, example) or ""
        text = _TAG.sub(" ", text)
        if sum(map(str.isalpha, text)) < self.shortest:
            return 0.0
        return float(language_of(text) == wanted)
