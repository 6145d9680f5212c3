"""How `accuracy` reads a reference: what of it has to be met, what else is as right, and which no answer could meet."""

from __future__ import annotations

import re
from functools import lru_cache

from registry.example import Example
from registry.verifiers.matching import is_lone_letter, option_of_reference
from registry.verifiers.spelling import core

_MARKER = re.compile(r"####")
_TAGGED = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
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


def reference_fault(answer: str, choices: tuple[str, ...]) -> str | None:
    """Why no answer could meet a reference; None where one can.

    >>> reference_fault("E", ("cat", "dog")), reference_fault("B", ("cat", "dog")), reference_fault(" ", ())
    ("answer 'E' is none of 2 choices: A, B", None, 'the answer is empty')
    """
    if not answer.strip():
        return "the answer is empty"
    lone = is_lone_letter(answer) or re.fullmatch(r"\d+(?:\.0+)?", answer.strip())
    if choices and lone and option_of_reference(answer, choices) is None:
        letters = ", ".join(chr(ord("A") + i) for i in range(len(choices)))
        return f"answer {answer!r} is none of {len(choices)} choices: {letters}"
    return None
