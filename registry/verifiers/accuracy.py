"""Is the answer right?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from registry import verifiers
from registry.example import Example
from registry.verifiers.agreement import agree, quick_agreement
from registry.verifiers.answers import answer_of
from registry.verifiers.base import UNDECIDED, Undecided, Verifier
from registry.verifiers.options import is_lone_letter, leading_letter, letters_of, option_index, option_of_reference
from registry.verifiers.reference_reading import accepted_answers, option_and_text, reference_core
from registry.verifiers.spelling import core, same_text

SPARE_CHARS = 1000  # that an answer may have more than its reference


@verifiers.register("accuracy")
class Accuracy(Verifier):
    r"""1 where the answer agrees with the reference, otherwise 0.

    The first of these that fits the reference decides:

    1. an option, where the example has `choices`: by its letter ("B", "(b)", "B.", "B) dog") or its text;
    2. the same text, but for case, white space and outer LaTeX marks;
    3. a plain number, fraction, percentage or time of day, exactly; a unit may be missing, not be another;
    4. a lone letter: an option whose text is unknown;
    5. mathematics: lists, sets, points and equations part by part, each part by math-verify;
    6. other text: wrong, since it is not the same.

    Of a sentence, what stands behind "the answer is" or in the box counts, in the reference too, or its only number;
    several answers are none. docs/rewards.md has examples of what is accepted and what is refused. Where the metadata have
    `answers`, any of them is right.

    Source: RECAP (arXiv 2510.21978v2), accuracy reward. Differs: the published code searches the whole completion, so
    a model can be right by listing numbers, and lets math-verify work out sums, so that answering "47 + 38" with
    "47 + 38" is right. Here only the answer counts, and an expression is no answer where a number is asked for. A
    reference that is an expression itself can still be met by an unsimplified one.

    >>> judge = Accuracy()
    >>> example = Example(id="1", question="47 + 38?", answer="85")
    >>> judge("<think>15, 8</think><answer>85.0</answer>", example), judge("<answer>47 + 38</answer>", example)
    (1.0, 0.0)
    >>> judge("<answer>(b)</answer>", Example(id="2", question="Which?", answer="dog", choices=("cat", "dog")))
    1.0
    >>> judge(r"<answer>$\sqrt{12}$</answer>", Example(id="3", question="How long?", answer=r"2\sqrt{3}"))
    1.0

    Raises:
        ValueError: at a call, an example without a reference.
    """

    isolated: ClassVar[bool] = True  # math-verify may run without end

    def __call__(self, completion: str, example: Example) -> float:
        decided = self.shortcut(completion, example)
        if decided is not UNDECIDED:
            return decided
        answer = answer_of(completion, example) or ""
        right = _option(example)
        if right is None:
            return float(any(_agrees(answer, reference) for reference in accepted_answers(example)))
        return float([i for i, choice in enumerate(example.choices) if _agrees(answer, choice)] == [right])

    def shortcut(self, completion: str, example: Example) -> float | Undecided:
        if not example.answer.strip():
            raise ValueError(f"example {example.id!r} has no reference answer")
        answer = answer_of(completion, example)
        if answer is None:
            return 0.0
        right = _option(example)
        references: Sequence[str] = accepted_answers(example) if right is None else example.choices
        if len(answer) > max(map(len, references)) + SPARE_CHARS:
            return 0.0
        if right is not None:
            spoken = core(answer)
            chosen = option_index(answer, example.choices)
            if chosen is None and spoken is not None:
                chosen = option_index(spoken, example.choices)
            if chosen is not None:
                return float(chosen == right)
        decisions = [_compare(answer, reference) for reference in references]
        if right is not None and UNDECIDED not in decisions:  # what fits several options chooses none
            return float([i for i, decision in enumerate(decisions) if decision] == [right])
        return _any_of(decisions) if right is None else UNDECIDED


def _option(example: Example) -> int | None:
    """The right option, where the reference names one."""
    return option_of_reference(example.answer, example.choices) if example.choices else None


def _any_of(decisions: list[float | Undecided]) -> float | Undecided:
    if 1.0 in decisions:
        return 1.0
    return UNDECIDED if UNDECIDED in decisions else 0.0


def _compare(answer: str, reference: str) -> float | Undecided:
    if same_text(answer, reference):
        return 1.0
    expected = reference_core(reference)
    if is_lone_letter(expected):
        spoken = core(answer)
        return float(leading_letter(expected) in (leading_letter(answer), spoken and leading_letter(spoken)))
    spoken = core(answer)
    if spoken is None:
        return 0.0
    if pair := _texts(spoken, reference):
        return _compare(*pair)
    if (several := letters_of(expected)) and (told := letters_of(spoken)):
        return float(told == several)
    quick = quick_agreement(spoken, expected)
    return UNDECIDED if quick is None else float(quick)


def _agrees(answer: str, reference: str) -> bool:
    spoken = core(answer)
    if spoken is not None and (pair := _texts(spoken, reference)):
        return _agrees(*pair)
    return spoken is not None and agree(spoken, reference_core(reference))


def _texts(answer: str, reference: str) -> tuple[str, str] | None:
    """What is left to compare where a reference gives an option's letter and text: the letters, or the texts behind them."""
    expected = option_and_text(reference)
    if expected is None:
        return None
    found = option_and_text(answer)
    by_letter = is_lone_letter(answer) or (found is not None and found[0] != expected[0])
    return (answer, expected[0]) if by_letter else (found[1] if found else answer, expected[1])
