"""A forgotten example as an entry of the queue to MLflow: a trace with its picture, what was said before, what is said now."""

from __future__ import annotations

from dataclasses import replace

from recap.evaluation.capabilities import Capability
from recap.evaluation.outcomes import Outcome
from recap.runs.forgotten_table import Forgotten
from recap.runs.group_entry import packed
from recap.runs.spill import Entry

EACH, MOST = 3, 24  # traces of an evaluation: of each capability, and of all


def forgotten_entry(capability: Capability, forgotten: Forgotten, step: int, turn: int, at: int) -> Entry:
    """A forgotten example as a group of one completion, both answers in it; those of one capability and step are a session.

    Args:
        capability: whose example it is; its source gives the picture once more.
        step: of the evaluation.
        turn: its place among those of the evaluation, up to `MOST`: in a session MLflow shows what is older first.
        at: when, in milliseconds.
    """
    before, now = forgotten.before, forgotten.now
    example = replace(capability.source.example(now.position), answer_in=capability.answer)
    prompt = capability.ask(example)
    scores = {"score before": before.score, "score now": now.score, "lenient score now": now.lenient}
    return {
        "group": {
            "step": step,
            "at": at - MOST + turn,
            "domain": f"forgotten: {capability.name}",  # no domain is called so: a name has no colon
            "example": now.example,
            "occurrence": 0,
            "session": f"forgotten {capability.name} step {step}",
            "tags": {"forgotten": capability.name},
            **packed(prompt),
            "prompt_tokens": None,
            "weights": {},
            "completions": [
                {
                    "text": f"{_answer('base model', before)}\n\n{_answer(f'step {step}', now)}",
                    "tokens": now.tokens,
                    "truncated": now.truncated,
                    "rewards": {name: score for name, score in scores.items() if score is not None},
                    "faults": {},
                    "advantages": {},
                    "advantage": None,
                }
            ],
        }
    }


def _answer(model: str, outcome: Outcome) -> str:
    """Markdown, which MLflow shows."""
    return f"**{model}, score {outcome.score:.2f}:**\n\n{outcome.completion}"
