"""Every built-in verifier, as a user would make it, with examples that it is for."""

from __future__ import annotations

import importlib.util
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from registry import verifiers
from registry.example import Example
from registry.verifiers.base import Verifier

FILE = Path(__file__).parent / "somebodys_rewards.py"


class Case(NamedTuple):
    """What `check_verifier` needs to know.

    Attributes:
        right: answers that earn something; None: the reference in its place.
        most: the most that hostile babble may earn.
        extra: the package that it needs.
    """

    make: Callable[[], Verifier]
    example: Example
    right: Callable[[Example], str] | None = lambda example: example.supervised_target
    wrong: tuple[str, ...] = ()
    most: float = 0.0
    extra: str | None = None

    @property
    def missing(self) -> bool:
        return self.extra is not None and importlib.util.find_spec(self.extra) is None


def build(name: str, **settings: Any) -> Callable[[], Verifier]:
    return lambda: verifiers.build(name, **settings)  # type: ignore[no-any-return]


def said(text: str) -> Callable[[Example], str]:
    return lambda example: text


def puzzle() -> Example:
    from registry.replay.reasoning_gym import ReasoningGym

    return ReasoningGym("leg_counting", seed=1).example(0)


def benchmark_question() -> Example:
    from registry.replay.lm_eval import LMEvalTask

    folder = runpy.run_path(str(Path(__file__).parents[1] / "lm_eval_task.py"))["local_task"]()
    return LMEvalTask("recap_sums", include=folder).example(0)


MADE = {"reasoning_gym": puzzle, "lm_eval": benchmark_question}
"""Examples that take a package to make."""

TEXT = Example(id="text", question="What does the sign say?", answer="no parking")
NUMBER = Example(id="number", question="How many dogs are there?", answer="42")
BOX = Example(
    id="box", question="Where is the dog?", answer="[10, 20, 30, 40]", box_frame="file", file_size=(100, 100),
    processed_size=(100, 100),
)  # fmt: skip
BOXES = Example(
    id="boxes", question="Where are the dogs?", answer="[[10, 20, 30, 40], [50, 60, 70, 80]]", box_frame="thousandths"
)
VQA = Example(id="vqa", question="Is it red?", answer="yes", metadata={"answers": ("yes",) * 8 + ("no",) * 2})
JSON = Example(id="json", question="The receipt as JSON?", answer='{"shop": "A", "total": [1, 2.5]}')
THOUGHT = said("<think>Two and two are four, and nothing else.</think><answer>4</answer>")
INSTRUCTED = Example(
    id="ifeval", question="A poem?", answer="", answer_in="whole",
    metadata={
        "instruction_id_list": ["keywords:existence", "length_constraints:number_words"],
        "kwargs": [{"keywords": ["sea", "salt"]}, {"num_words": 20, "relation": "less than"}],
    },
)  # fmt: skip
GERMAN = said("<think>Ich zähle die Hunde im Bild.</think><answer>Es sind zusammen vier Hunde.</answer>")


def composed(name: str) -> Callable[[], Verifier]:
    """A format and an accuracy that takes a worker."""

    def make() -> Verifier:
        parts = [verifiers.build("answer_format"), verifiers.build("regex_match", pattern=r"\d{2}")]
        if name == "gate":
            return verifiers.build("gate", condition=parts[0], verifier=parts[1])  # type: ignore[no-any-return]
        return verifiers.build(name, parts=parts)  # type: ignore[no-any-return]

    return make


CASES: dict[str, Case] = {
    "accuracy": Case(build("accuracy"), NUMBER, wrong=("<answer>41</answer>", "42")),
    "anls": Case(build("anls"), TEXT, wrong=("<answer>none of it</answer>",)),
    "answer_format": Case(build("answer_format"), NUMBER, wrong=("42",), most=1),
    "boxes": Case(
        build("boxes", completion_frame="thousandths"), BOXES, wrong=("<answer>[0, 0, 1000, 1000]</answer>",)
    ),
    "brevity": Case(build("brevity"), NUMBER, wrong=("42",), most=1),
    "exact_match": Case(build("exact_match"), TEXT, wrong=("<answer>parking</answer>",)),
    "gate": Case(composed("gate"), NUMBER, wrong=("42", "so <answer>42</answer>", "<answer>x</answer>")),
    "giou": Case(build("giou", completion_frame="file"), BOX, wrong=("<answer>[0, 0, 100, 100]</answer>",), most=0.5),
    "ifeval": Case(build("ifeval"), INSTRUCTED, said("The sea is salt."), wrong=("The sea is wet.", "salt " * 30)),
    "iou": Case(build("iou", completion_frame="file"), BOX, wrong=("<answer>[0, 0, 100, 100]</answer>",)),
    "iou_at": Case(build("iou_at", completion_frame="file"), BOX, wrong=("<answer>[10, 20, 30, 25]</answer>",)),
    "json_match": Case(build("json_match", partial=True), JSON, wrong=("<answer>[]</answer>",)),
    "json_schema": Case(
        build("json_schema", schema={"type": "object", "required": ["shop"]}),
        JSON,
        wrong=("<answer>{}</answer>",),
        extra="jsonschema",
    ),
    "language": Case(build("language", language="de"), NUMBER, GERMAN, most=1, extra="py3langid"),
    "lm_eval": Case(build("lm_eval"), TEXT, said("so: #### 4"), wrong=("#### 5", "4"), most=1, extra="lm_eval"),
    "no_repetition": Case(build("no_repetition"), NUMBER, THOUGHT, most=1),
    "point_in_box": Case(
        build("point_in_box", completion_frame="file"),
        BOX,
        wrong=("<answer>(90, 90)</answer>", "<answer>(20, 30) (0, 0)</answer>"),
    ),
    "product": Case(composed("product"), NUMBER, wrong=("42", "so <answer>42</answer>", "<answer>x</answer>")),
    "reasoning_gym": Case(build("reasoning_gym"), TEXT, extra="reasoning_gym"),
    "regex_match": Case(
        build("regex_match", pattern=r"(\d|\d\d)+"), NUMBER, wrong=("42", "<answer>many</answer>"), most=1
    ),
    "relaxed_accuracy": Case(build("relaxed_accuracy"), NUMBER, wrong=("<answer>50</answer>", "42")),
    "tag_order": Case(
        build("tag_order", tags=["think", "answer"]), NUMBER, THOUGHT, wrong=("<answer>4</answer>",), most=1
    ),
    "text_similarity": Case(build("text_similarity"), TEXT, most=0.6),
    "thinking_format": Case(build("thinking_format"), NUMBER, THOUGHT, wrong=("<answer>4</answer>",), most=1),
    "thinking_length": Case(
        build("thinking_length", at_least=5), NUMBER, THOUGHT, wrong=("<answer>4</answer>",), most=1
    ),
    "token_f1": Case(build("token_f1"), TEXT, wrong=("<answer>dogs</answer>",), most=0.5),
    "trl_function": Case(build("trl_function", function=f"{FILE}:rights"), NUMBER, wrong=("41",)),
    "verl_function": Case(
        build("verl_function", function=f"{FILE}:compute_score", data_source="sums"), NUMBER, said("42"), wrong=("41",)
    ),
    "verifiers_taskset": Case(build("verifiers_taskset"), TEXT, extra="verifiers"),
    "vqa_accuracy": Case(build("vqa_accuracy"), VQA, wrong=("<answer>perhaps</answer>",)),
    "weighted_sum": Case(composed("weighted_sum"), NUMBER, most=1),
}
"""By the name that it is registered under."""
