"""Reward functions as people have them: TRL's and verl's, some of which misbehave."""

import asyncio
import time
from typing import Any

SEEN: dict[str, Any] = {}


def lengths(completions, **kwargs):
    return [min(1.0, len(completion) / 10) for completion in completions]


def by_columns(prompts, completions, completion_ids, solution, tags, **kwargs):
    assert len(prompts) == len(completions) == len(completion_ids) == len(solution) == len(tags)
    return [float(text == right and tag == ["a"]) for text, right, tag in zip(completions, solution, tags, strict=True)]


def conversational(prompts, completions, **kwargs):
    assert prompts[0][-1]["role"] == "user"
    assert completions[0][0]["role"] == "assistant"
    return [float(completion[0]["content"] == "yes") for completion in completions]


async def patient(completions, **kwargs):
    await asyncio.sleep(0.01)
    return [0.5 if completion else None for completion in completions]


class Patient:
    async def __call__(self, completions, **kwargs):
        await asyncio.sleep(0.01)
        return [0.25] * len(completions)


patient_object = Patient()


def without_kwargs(completions):
    return [float("nan")] * len(completions)


def logging_one(completions, log_metric, log_extra, trainer_state, **kwargs):
    log_metric("length", 1.0)
    log_extra("column", list(completions))
    return [1.0] * len(completions)


def token_counts(completions, completion_ids, **kwargs):
    return [len(ids) / 10 for ids in completion_ids]


def ranks(completions, **kwargs):
    return [sum(len(other) <= len(one) for other in completions) / len(completions) for one in completions]


def signed(completions, **kwargs):
    return [-1.0 if "bad" in completion else 2.0 for completion in completions]


def too_few(completions, **kwargs):
    return [1.0]


def none_at_all(completions, **kwargs):
    return None


def sleeps(completions, **kwargs):
    time.sleep(1000)


def remembers(**kwargs):
    SEEN.clear()
    SEEN.update(kwargs)
    return [1.0] * len(kwargs["completions"])


def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    return float(solution_str.strip() == ground_truth and data_source == "sums")


def compute_dict(data_source, solution_str, ground_truth, extra_info=None):
    return {"score": float(solution_str == ground_truth), "index": extra_info["index"]}


async def compute_async(data_source, solution_str, ground_truth, extra_info=None):
    await asyncio.sleep(0.01)
    return 1


def compute_signed(data_source, solution_str, ground_truth, extra_info=None):
    return 1.0 if solution_str == ground_truth else -1.0


def compute_nothing(data_source, solution_str, ground_truth, extra_info=None):
    return {"acc": 1.0}


def compute_endlessly(data_source, solution_str, ground_truth, extra_info=None):
    while True:
        pass


not_a_function = 3


def rights(completions, answer, **kwargs):
    return [float(f"<answer>{right}</answer>" == text) for text, right in zip(completions, answer, strict=True)]
