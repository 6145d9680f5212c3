"""Does the answer solve the puzzle, by the score of its own task?"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Mapping
from typing import Any, ClassVar

from registry import verifiers
from registry.example import Example
from registry.verifiers.answers import answer_of
from registry.verifiers.base import UNDECIDED, Undecided, Verifier

MAX_ANSWER_CHARS = 10_000
SHORT_CHARS = 64

# Tasks of reasoning-gym 0.1.25 that hand the answer to Python's eval, or to sympy's parse_expr, eval in disguise.
EVALUATED = frozenset({"binary_matrix", "n_queens", "spiral_matrix", "string_insertion"})
PARSED_BY_SYMPY = frozenset(
    {"countdown", "intermediate_integration", "polynomial_multiplication", "puzzle24", "simple_integration"}
)

_EXPRESSION_CHARS = re.compile(r"[A-Za-z0-9+\-*/^()., \t\n]*")
_NUMBER = re.compile(r"\d[\d.]*(?:[eE][+-]?\d+)?(?![A-Za-z])")
_WORD = re.compile(r"[A-Za-z]\w+")
_ATTRIBUTE = re.compile(r"\.\s*[A-Za-z]")
_FUNCTION = re.compile(r"a?(?:sin|cos|tan)h?|cot|sec|csc|exp|log|ln|sqrt|pi|Abs|sign|erf")


@verifiers.register("reasoning_gym")
class ReasoningGymScore(Verifier):
    """The score that a reasoning-gym task gives to the answer; None for other examples.

    A completion without an answer in its place is taken as the answer if it is one line of at most 64 characters.

    Source: Reasoning Gym (arXiv 2505.24760), `score_answer` of each task; some give part of the reward for an answer in
    the right form. Differs: tasks that would run the answer as Python code score 0 where it is more than a literal or a
    mathematical expression. It is called in a worker, as sympy may run without end.

    >>> from registry.replay.reasoning_gym import ReasoningGym
    >>> example = ReasoningGym("leg_counting", seed=1).example(0)
    >>> ReasoningGymScore()(f"<answer>{example.answer}</answer>", example)
    1.0

    Raises:
        ValueError: by `check`, or at a call: the package reasoning-gym is missing.
    """

    needs: ClassVar[Mapping[str, str]] = {"reasoning_gym": "reasoning-gym"}

    def __init__(self) -> None:
        self._tasks: dict[tuple[str, str], Any] = {}

    def prepare(self) -> None:
        from registry.replay.reasoning_gym import make_task

        make_task("leg_counting", {})  # imports the package

    def __call__(self, completion: str, example: Example) -> float | None:
        decided = self.shortcut(completion, example)
        if decided is not UNDECIDED:
            return decided
        puzzle = example.metadata["reasoning_gym"]
        score = float(
            self._task(puzzle["task"], puzzle["config"]).score_answer(_answer(completion, example), puzzle["entry"])
        )
        return 0.0 if math.isnan(score) else min(max(score, 0.0), 1.0)

    def shortcut(self, completion: str, example: Example) -> float | Undecided | None:
        if "reasoning_gym" not in example.metadata:
            return None
        answer = _answer(completion, example)
        if not answer or len(answer) > MAX_ANSWER_CHARS or not _is_safe(answer, example.metadata["reasoning_gym"]):
            return 0.0
        return UNDECIDED

    def __getstate__(self) -> dict[str, Any]:
        return {"_tasks": {}}  # made again where they are needed

    def _task(self, name: str, config: Mapping[str, Any]) -> Any:
        from registry.replay.reasoning_gym import make_task

        key = (name, repr(sorted(config.items())))
        if key not in self._tasks:
            self._tasks[key] = make_task(name, config)
        return self._tasks[key]


def _answer(completion: str, example: Example) -> str | None:
    answer = answer_of(completion, example)
    if answer is None:
        answer = completion.strip()
        if not answer or len(answer) > SHORT_CHARS or "\n" in answer or "<" in answer:
            return None
    return answer.strip()


def _is_safe(answer: str, puzzle: Mapping[str, Any]) -> bool:
    tasks = {
        puzzle["task"],
        puzzle["entry"]["metadata"].get("source_dataset"),
    }  # a composite names the task it drew from
    if tasks & EVALUATED and not _is_literal(answer):
        return False
    return not tasks & PARSED_BY_SYMPY or is_expression(answer)


def _is_literal(answer: str) -> bool:
    """Whether eval of the answer can do no more than build a value: a literal, a lone name, or no Python at all."""
    try:
        tree = ast.parse(answer, mode="eval")
    except SyntaxError:
        return True
    except (ValueError, MemoryError, RecursionError):
        return False
    if isinstance(tree.body, ast.Name):
        return True
    try:
        ast.literal_eval(tree)
    except (ValueError, TypeError, MemoryError, RecursionError, SyntaxError):
        return False
    return True


def is_expression(answer: str) -> bool:
    """Whether a text holds nothing but numbers, letters, operators, brackets and mathematical functions.

    >>> [is_expression(text) for text in ("3*x**2 + sin(x)/2", "open('x')", "x.real", "S(1)")]
    [True, False, False, True]
    """
    if not _EXPRESSION_CHARS.fullmatch(answer) or _ATTRIBUTE.search(answer):
        return False
    return all(_FUNCTION.fullmatch(word) for word in _WORD.findall(_NUMBER.sub(" ", answer)))
