"""Is the number near enough, or the text the same?"""

from __future__ import annotations

import math
import re

from registry import verifiers
from registry.example import Example
from registry.verifiers.answers import answer_of
from registry.verifiers.base import Verifier
from registry.verifiers.listed_answers import listed_answers

MAX_CHARS = 1000
_YEAR = re.compile(r"1\d{3}|20\d{2}")


@verifiers.register("relaxed_accuracy")
class RelaxedAccuracy(Verifier):
    """1 where the answered number lies within 5 % of the reference, or other text agrees but for case; otherwise 0.

    Source: ChartQA (arXiv 2203.10244, section 5.1), as the script of Pix2Struct computes it, which later reports follow:
    both sides are numbers, ``%`` divides by 100, |answer - reference| / |reference| <= 0.05; a reference of 0, or text on
    either side, takes the same text. The best of several references counts. Differs: white space around the answer is
    dropped, and a number must be written as one: Python reads "nan", "inf" and "1_000", too. By the published rule 1990
    answers 2010; `exact_years` closes that, as ChartQAPro does for answers that are years.

    >>> judge = RelaxedAccuracy()
    >>> example = Example(id="1", question="how many?", answer="40")
    >>> judge("<answer>41.5</answer>", example), judge("<answer>43</answer>", example), judge("<answer>40 cm</answer>", example)
    (1.0, 0.0, 0.0)

    Args:
        tolerance: relative, at least 0.
        exact_years: a reference that is a whole number from 1000 to 2099 takes the same number.

    Raises:
        ValueError: a negative tolerance; at a call, an example without a reference.
    """

    quick = True

    def __init__(self, tolerance: float = 0.05, exact_years: bool = False) -> None:
        if not 0 <= tolerance < math.inf:
            raise ValueError(f"verifiers.relaxed_accuracy.tolerance must be at least 0; it is {tolerance}")
        self.tolerance = tolerance
        self.exact_years = exact_years

    def __call__(self, completion: str, example: Example) -> float:
        references = listed_answers(example)
        answer = (answer_of(completion, example) or "").strip()
        if not answer or len(answer) > MAX_CHARS:
            return 0.0
        return float(any(self._agrees(answer, reference.strip()) for reference in references))

    def _agrees(self, answer: str, reference: str) -> bool:
        given, expected = read_number(answer), read_number(reference)
        if given is None or not expected:
            return answer.lower() == reference.lower()
        if self.exact_years and _YEAR.fullmatch(reference):
            return given == expected
        return abs(given - expected) / abs(expected) <= self.tolerance


_NUMBER = re.compile(r"[+-]?(?:\d{1,300}(?:\.\d{0,300})?|\.\d{1,300})(?:[eE][+-]?\d{1,3})?", re.ASCII)


def read_number(text: str) -> float | None:
    """The finite number that a text is, a percent sign taken into account.

    >>> read_number("12.5"), read_number("45%"), read_number("1,000"), read_number("inf")
    (12.5, 0.45, None, None)
    """
    percent = text.endswith("%")
    bare = text.rstrip("%").strip() if percent else text
    if not _NUMBER.fullmatch(bare):
        return None
    value = float(bare) / (100 if percent else 1)
    return value if math.isfinite(value) else None
