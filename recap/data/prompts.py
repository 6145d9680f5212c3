"""Prompts: an example, and the text that asks for it.

The templates are those of the paper (section on training data), bound in gin as `%prompts.THINKING` and so on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Protocol, get_args

import gin
from annotated_types import Ge

from registry.chat import Chat
from registry.example import Example

LongPrompts = Literal["skip", "cut"]

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
    """What a rollout needs to know: an example, and how it is asked.

    Attributes:
        text: the user's turn.
        system, shots, chat_arguments: as in `Asking`; the shots are put into the template already.
    """

    example: Example
    text: str
    system: str | None = None
    shots: tuple[tuple[str, str], ...] = ()
    chat_arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def chat(self) -> Chat:
        """The same without the example."""
        return Chat(self.text, self.system, self.shots, self.chat_arguments)


def filled(template: str, question: str) -> str:
    """A template with a question in its place."""
    return template.replace("{question}", question)  # not str.format: a question may hold braces


class Asks(Protocol):
    """What is asked of `Asking` where prompts are encoded."""

    @property
    def max_prompt_tokens(self) -> int | None: ...

    @property
    def long_prompts(self) -> LongPrompts: ...

    def ask(self, example: Example) -> Prompt: ...


@dataclass(frozen=True, kw_only=True)
class Asking:
    """How examples are asked: the part that domains and capabilities have in common.

    Args:
        prompt: the template around ``{question}``. Pictures stand where its or the question's ``<image>`` markers are, if
            there are as many as pictures; otherwise before the text.
        system: the system prompt; None: what the model's chat template writes of itself.
        shots: examples before the question, as pairs (question, completion); the questions are put into the template too.
        chat_arguments: more arguments of the model's chat template, e.g. ``{'enable_thinking': False}``.
        max_prompt_tokens: tokens of a prompt, chat format and pictures included; None: what leaves room for the completion
            in the model's context.
        long_prompts: what happens to a longer one: 'skip', as a malformed example; 'cut': the question loses its start, as
            the instruction mostly stands at its end; template, system prompt and shots stay whole. Prompts with pictures are
            always skipped.
    """

    prompt: str = "{question}"
    system: str | None = None
    shots: Sequence[tuple[str, str]] = ()
    chat_arguments: Mapping[str, Any] = field(default_factory=dict)
    max_prompt_tokens: Annotated[int, Ge(1)] | None = None
    long_prompts: LongPrompts = "skip"

    def ask(self, example: Example) -> Prompt:
        """The prompt of an example."""
        shots = tuple((filled(self.prompt, question), completion) for question, completion in self.shots)
        return Prompt(example, filled(self.prompt, example.question), self.system, shots, self.chat_arguments)

    def check_asking(self, binding: str) -> None:
        """Raises ValueError, naming the binding (`grounding/Domain`), for what cannot be asked."""
        if "{question}" not in self.prompt:
            raise ValueError(
                f"{binding}.prompt must contain {{question}}, the place of the example's question; it is {self.prompt!r}"
            )
        for number, shot in enumerate(self.shots):
            pair = isinstance(shot, tuple | list) and len(shot) == 2
            if not pair or not all(isinstance(part, str) for part in shot):
                raise ValueError(
                    f"{binding}.shots[{number}] must be a pair of texts (question, completion); it is {shot!r}"
                )
        if taken := {"messages", "conversation", "tokenize", "add_generation_prompt"} & set(self.chat_arguments):
            raise ValueError(
                f"{binding}.chat_arguments may not hold {', '.join(sorted(taken))}: it is set by the engine"
            )
        if self.long_prompts not in get_args(LongPrompts):
            raise ValueError(f"{binding}.long_prompts must be 'skip' or 'cut'; it is {self.long_prompts!r}")
        if self.max_prompt_tokens is not None and self.max_prompt_tokens < 1:
            raise ValueError(f"{binding}.max_prompt_tokens must be at least 1, or None; it is {self.max_prompt_tokens}")
