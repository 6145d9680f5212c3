"""Is the answer right?"""

from __future__ import annotations

from typing import ClassVar

from registry import verifiers
from registry.example import Example
from registry.verifiers.answers import answer_of
from registry.verifiers.base import UNDECIDED, Undecided, Verifier
from registry.verifiers.matching import (
    leading_letter,
    option_index,
    read_answer_number,
    read_reference_number,
    same_number,
    same_text,
    tidy,
)
from registry.verifiers.symbolic import is_expression, same_expression

SPARE_CHARS = 1000  # that an answer may have more than its reference


@verifiers.register("accuracy")
class Accuracy(Verifier):
    r"""1 where the answer agrees with the reference, otherwise 0.

    The first of these that fits the reference decides:

    1. an option, where the example has `choices`: by its letter ("B", "(b)", "B.", "B) dog") or its text;
    2. the same text, but for case, white space and outer LaTeX marks;
    3. a number or fraction: one number of the same value, units and words beside it ignored;
    4. a lone letter: an option whose text is unknown;
    5. mathematics: equal by math-verify;
    6. other text: wrong, since it is not the same.

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
        answer = tidy(answer_of(completion, example) or "")
        right = _option(example)
        if right is None:
            return float(same_expression(answer, tidy(example.answer)))
        options = {i: choice for i, choice in enumerate(example.choices) if is_expression(choice)}
        return float([i for i, choice in options.items() if same_expression(answer, tidy(choice))] == [right])

    def shortcut(self, completion: str, example: Example) -> float | Undecided:
        if not example.answer.strip():
            raise ValueError(f"example {example.id!r} has no reference answer")
        answer = answer_of(completion, example)
        if answer is None or len(answer) > len(example.answer) + SPARE_CHARS:
            return 0.0
        right = _option(example)
        if right is None:
            return _compare(answer, example.answer)
        chosen = option_index(answer, example.choices)
        return _compare(answer, example.choices[right]) if chosen is None else float(chosen == right)


def _option(example: Example) -> int | None:
    """The right option, where the reference names one."""
    return option_index(example.answer, example.choices) if example.choices else None


def _compare(answer: str, reference: str) -> float | Undecided:
    if same_text(answer, reference):
        return 1.0
    expected = read_reference_number(reference)
    if expected is not None:
        number = read_answer_number(answer)
        return float(number is not None and same_number(number, expected))
    if leading_letter(reference) == reference.strip():
        return float(leading_letter(answer) == reference.strip())
    return UNDECIDED if is_expression(reference) else 0.0
