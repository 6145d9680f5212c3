"""Were the instructions followed that can be checked?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from registry import verifiers
from registry.core import near_matches
from registry.example import Example
from registry.verifiers import constraint_counts as counts
from registry.verifiers import constraint_forms as forms
from registry.verifiers.answers import answer_of
from registry.verifiers.base import Verifier

MAX_CHARS = 100_000

CONSTRAINTS: Mapping[str, Callable[..., bool]] = {
    "keywords:existence": counts.existence,
    "keywords:frequency": counts.frequency,
    "keywords:forbidden_words": counts.forbidden_words,
    "keywords:letter_frequency": counts.letter_frequency,
    "language:response_language": forms.response_language,
    "length_constraints:number_sentences": counts.number_sentences,
    "length_constraints:number_paragraphs": counts.number_paragraphs,
    "length_constraints:number_words": counts.number_words,
    "length_constraints:nth_paragraph_first_word": counts.nth_paragraph_first_word,
    "detectable_content:number_placeholders": counts.number_placeholders,
    "detectable_content:postscript": forms.postscript,
    "detectable_format:number_bullet_lists": counts.number_bullet_lists,
    "detectable_format:constrained_response": forms.constrained_response,
    "detectable_format:number_highlighted_sections": counts.number_highlighted_sections,
    "detectable_format:multiple_sections": counts.multiple_sections,
    "detectable_format:json_format": forms.json_format,
    "detectable_format:title": forms.title,
    "combination:two_responses": forms.two_responses,
    "combination:repeat_prompt": forms.repeat_prompt,
    "startend:end_checker": forms.end_checker,
    "startend:quotation": forms.quotation,
    "change_case:capital_word_frequency": counts.capital_word_frequency,
    "change_case:english_capital": forms.english_capital,
    "change_case:english_lowercase": forms.english_lowercase,
    "punctuation:no_comma": forms.no_comma,
}
"""Every instruction of IFEval by its published id."""


@verifiers.register("ifeval")
class IFEval(Verifier):
    """1 where every instruction that the row carries was followed, otherwise 0; or with `partial` the share that was.

    The row says which: ``metadata['instruction_id_list']`` has their ids and ``metadata['kwargs']`` the arguments of each, as
    google/IFEval and the RLVR sets made after it publish them. Does not apply (None) to an example without them. The text is
    that of the answer; where all of the completion is one, the domain says `answer_in = 'whole'`.

    Source: IFEval (arXiv 2311.07911), its 25 instructions; all or nothing is prompt-level strict accuracy, `loose` the loose
    one, which also tries the text without its first and last line and without asterisks. Differs: languages are told by
    py3langid (extra `verifiers`) and sentences by a rule, where the script has langdetect and NLTK; a keyword is text, not a
    regular expression; an argument that is missing is a mistake in the data, not drawn at random.

    >>> metadata = {"instruction_id_list": ["punctuation:no_comma", "keywords:frequency"],
    ...             "kwargs": [{}, {"keyword": "sea", "frequency": 2, "relation": "at least"}]}
    >>> example = Example(id="1", question="a poem?", answer="", answer_in="whole", metadata=metadata)
    >>> judge = IFEval()
    >>> judge("The sea is the sea", example), judge("The sea is, well, wet", example), IFEval(partial=True)("A sea", example)
    (1.0, 0.0, 0.5)

    Args:
        partial: the share of the instructions that were followed.
        loose: whether a variant of the text may follow an instruction in its place.

    Raises:
        ValueError: at a call, an instruction that there is not, or arguments that do not fit: mistakes in the data.
    """

    quick = True

    def __init__(self, partial: bool = False, loose: bool = False) -> None:
        self.partial = partial
        self.loose = loose

    def __call__(self, completion: str, example: Example) -> float | None:
        ids = example.metadata.get("instruction_id_list")
        if not ids:
            return None
        checks = _checks(ids, example.metadata.get("kwargs") or [{}] * len(ids), example.id)
        answer = answer_of(completion, example) or ""
        if len(answer) > MAX_CHARS:
            return 0.0
        texts = [text for text in (_variants(answer) if self.loose else [answer]) if text.strip()]
        followed = [any(_follows(check, text, example.id) for text in texts) for check in checks]
        return sum(followed) / len(followed) if self.partial else float(all(followed))


Check = tuple[str, Mapping[str, Any]]


def _checks(ids: Sequence[str], arguments: Sequence[Mapping[str, Any] | None], example_id: str) -> list[Check]:
    """Ids with their arguments; those that a table filled up with None are none."""
    if len(ids) != len(arguments):
        raise ValueError(f"example {example_id!r}: {len(ids)} instructions have {len(arguments)} kwargs")
    for name in ids:
        if name not in CONSTRAINTS:
            near = near_matches(name, CONSTRAINTS)
            raise ValueError(
                f"example {example_id!r}: there is no instruction {name!r}"
                + (f"; did you mean {near[0]!r}?" if near else f"; all: {', '.join(CONSTRAINTS)}")
            )
    return [
        (name, {key: value for key, value in (given or {}).items() if value is not None})
        for name, given in zip(ids, arguments, strict=True)
    ]


def _follows(check: Check, text: str, example_id: str) -> bool:
    name, arguments = check
    try:
        return CONSTRAINTS[name](text, **arguments)
    except TypeError as error:
        raise ValueError(f"example {example_id!r}: the arguments of {name!r} do not fit: {error}") from error


def _variants(text: str) -> list[str]:
    lines = text.split("\n")
    cut = [text, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    return [*cut, *(variant.replace("*", "") for variant in cut)]
