"""How `accuracy` reads a reference: what of it has to be met, and what else is as right."""

from __future__ import annotations

import re
from functools import lru_cache

from registry.example import Example
from registry.verifiers.spelling import clean, core

_MARKER = re.compile(r"####")
_TAGGED = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_LETTERED = re.compile(r"\(([A-E])\) ?([^\s(,;+*/^=].{0,200})")
MOST_CHARS = 200  # of a reference that can be met otherwise than word for word


@lru_cache(maxsize=4096)
def reference_core(reference: str) -> str:
    r"""What an answer has to agree with: a reference without its working, its tags and the sentence around it.

    >>> [reference_core(text) for text in ("3 + 4 = 7\n#### 7", "The answer is 72.", r"so \boxed{5}", "A:", "72 apples")]
    ['7', '72', '5', 'A', '72 apples']
    """
    if tagged := _TAGGED.findall(reference):
        reference = tagged[-1]
    found = core(_MARKER.split(reference)[-1])
    text = reference.strip() if found is None else found
    return text[:-1] if re.fullmatch(r"[A-Za-z]:", text) else text


def accepted_answers(example: Example) -> list[str]:
    """The reference, and the other answers of the row that are as right: a list of texts in `metadata['answers']`.

    What annotators voted for (VQAv2's list of mappings) is no such list: `vqa_accuracy` counts votes.
    """
    others = example.metadata.get("answers", ())
    others = others if isinstance(others, list | tuple) else ()
    return list(dict.fromkeys([example.answer, *(text for text in others if isinstance(text, str) and text.strip())]))


@lru_cache(maxsize=4096)
def option_and_text(text: str) -> tuple[str, str] | None:
    r"""The letter and the text of an option that is given with both, as contests print them; None for others.

    >>> option_and_text(r"\textbf{(B) }12"), option_and_text("(B)"), option_and_text("(A)(B)")
    (('B', '12'), None, None)
    """
    match = _LETTERED.fullmatch(clean(text))
    return (match[1], match[2]) if match else None
