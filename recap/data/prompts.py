"""Prompts: an example, and the text that asks for it.

The templates are those of the paper (section on training data), bound in gin as `%prompts.THINKING` and so on.
"""

from __future__ import annotations

from dataclasses import dataclass

import gin

from registry.example import Example

PLAIN = "{question}"
ANSWER = "{question} Output the answer in <answer> </answer> tags."
THINKING = (
    "{question} Output the thinking process in <think> </think> tags and the final answer (option) in"
    " <answer> </answer> tags."
)
BOX = "{question} Output the answer as <answer>[x1, y1, x2, y2]</answer>."
# For answers that stand elsewhere than in tags: Domain.answer = 'boxed' (Qwen2.5-Math), 'after:####' (GSM8K),
# 'after:Answer:' (DAPO).
BOXED = "{question}\nPlease reason step by step, and put your final answer within \\boxed{}."
HASHES = '{question}\nReason step by step, and end with a line "#### " and the final answer alone.'
ANSWER_LINE = (
    "Solve the following math problem step by step. The last line of your response should be of the form Answer: $Answer"
    " (without quotes) where $Answer is the answer to the problem.\n\n{question}\n\nRemember to put your answer on its"
    ' own line after "Answer:".'
)

for _name in ("PLAIN", "ANSWER", "THINKING", "BOX", "BOXED", "HASHES", "ANSWER_LINE"):
    gin.constant(f"prompts.{_name}", globals()[_name])


@dataclass(frozen=True)
class Prompt:
    """What a rollout needs to know: an example, and the text that it is asked with."""

    example: Example
    text: str


def ask(template: str, example: Example) -> Prompt:
    """The prompt of an example, its question put into a template."""
    return Prompt(
        example, template.replace("{question}", example.question)
    )  # not str.format: a question may hold braces


def check_template(template: str, binding: str) -> None:
    """Raises ValueError, naming the binding, where a template has no place for the question."""
    if "{question}" not in template:
        raise ValueError(
            f"{binding} must contain {{question}}, the place of the example's question; it is {template!r}"
        )
