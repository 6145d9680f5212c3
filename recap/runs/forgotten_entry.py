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
    """A forgotten example as a group of one completion, which MLflow lists apart from what was sampled.

    Args:
        capability: whose example it is; its source gives the picture once more.
        step: of the evaluation.
        turn: MLflow lists the newest first: of one evaluation that which comes first.
        at: when, in milliseconds.
    """
    before, now = forgotten.before, forgotten.now
    example = replace(capability.source.example(now.position), answer_in=capability.answer)
    prompt = capability.ask(example)
    scores = {"score before": before.score, "score now": now.score, "lenient score now": now.lenient}
    return {
        "group": {
            "step": step,
            "at": at - turn,
            "domain": f"forgotten: {capability.name}",  # no domain is called so: a name has no colon
            "example": now.example,
            "occurrence": 0,
            "session": f"forgotten {now.example}",  # the same over all evaluations of a run
            "tags": {"forgotten": capability.name},
            **packed(prompt),
            "prompt_tokens": None,
            "weights": {},
            "completions": [
                {
                    "text": f"before: {before.completion} now: {now.completion}",
                    "outputs": {
                        _title("base model", before): before.completion,
                        _title(f"step {step}", now): now.completion,
                        "reference": now.reference,
                    },
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


def _title(model: str, outcome: Outcome) -> str:
    return f"{model}, score {outcome.score:.2f}"
