"""Does the answer match a pattern?"""

from __future__ import annotations

import regex

from registry import verifiers
from registry.example import Example
from registry.verifiers.answers import answer_of
from registry.verifiers.base import UNDECIDED, Undecided, Verifier

MAX_CHARS = 100_000
HERE_S = 0.005
"""What matching may take in the training process before a worker is asked."""


@verifiers.register("regex_match")
class RegexMatch(Verifier):
    r"""1 where the answer, white space around it aside, matches a regular expression, otherwise 0.

    A rule of the user's own, of no benchmark. Patterns are those of the package `regex`, a superset of Python's `re`; one that
    takes long on some answer is stopped: first here after 5 ms, then in a worker at `timeout_s`, and the answer earns 0. An
    empty answer earns 0, whatever the pattern.

    >>> judge = RegexMatch(r"(\d+) (apples|pears)")
    >>> example = Example(id="1", question="how many, and what?", answer="3 apples")
    >>> judge("<answer>12 pears</answer>", example), judge("<answer>12 pears, perhaps</answer>", example)
    (1.0, 0.0)

    Args:
        pattern: the regular expression.
        whole: the whole answer must match; otherwise a part will do.
        ignore_case: capitals and small letters are the same.
        timeout_s: for one answer.

    Raises:
        ValueError: a pattern that cannot be compiled, a time limit that is not positive.
    """

    def __init__(self, pattern: str, whole: bool = True, ignore_case: bool = False, timeout_s: float = 1.0) -> None:
        try:
            regex.compile(pattern)
        except regex.error as error:
            raise ValueError(f"verifiers.regex_match.pattern {pattern!r} is no regular expression: {error}") from error
        if not timeout_s > 0:
            raise ValueError(f"verifiers.regex_match.timeout_s must be greater than 0; it is {timeout_s}")
        self.pattern = pattern
        self.whole = whole
        self.ignore_case = ignore_case
        self.timeout_s = timeout_s

    def __call__(self, completion: str, example: Example) -> float:
        try:
            return self._match(completion, example, self.timeout_s)
        except TimeoutError:
            return 0.0

    def shortcut(self, completion: str, example: Example) -> float | Undecided:
        try:
            return self._match(completion, example, min(HERE_S, self.timeout_s))
        except TimeoutError:
            return UNDECIDED

    def _match(self, completion: str, example: Example, timeout_s: float) -> float:
        answer = (answer_of(completion, example) or "").strip()
        if not answer or len(answer) > MAX_CHARS:
            return 0.0
        match = regex.fullmatch if self.whole else regex.search
        flags = regex.IGNORECASE if self.ignore_case else 0
        return float(match(self.pattern, answer, flags=flags, timeout=timeout_s) is not None)
