"""What no completion can earn, found before training: every verifier judges the reference itself, on the first rows.

A completion that is the reference, written where the domain's answers stand, should be paid. Where none of the first rows
pays, training would see rewards of 0 alone. Text that the tokenizer cannot write can be neither answered nor imitated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from recap.data.domains import Domain
from recap.evaluation.capabilities import Capability
from recap.experiment.experiment import Experiment
from recap.rewards.requests import verifier_name
from recap.rewards.worker import attempt
from registry.answer_places import write_answer
from registry.example import Example, MalformedExample
from registry.replay.base import ReplaySource
from registry.replay.table import TableSource
from registry.verifiers.base import Judge
from registry.verifiers.reference_reading import MOST_CHARS, reference_core

ROWS = 8
_WORD_FOR_WORD = ("accuracy", "exact_match")  # of a long text, these pay the text itself alone


def reference_notes(experiment: Experiment, ask_the_network: bool = False) -> list[str]:
    """A note for each verifier that does not pay for the reference, and for text that the tokenizer cannot write.

    Notes and not errors: a verifier of a user's own may rightly ask for more than the reference.

    Args:
        ask_the_network: also for tables that would be downloaded, as training will; without it they are passed over.
    """
    notes: list[str] = []
    tokenizer = experiment.model.tokenizer()
    for domain in experiment.domains:
        examples = [domain.fill(example) for example in _first_rows(domain.source, ask_the_network)]
        for name, judge in domain.verifiers.items():
            notes += _unpaid(f"{domain.name}/Domain.objectives[{name!r}]", judge, examples)
        notes += _unwritable(domain, examples, tokenizer)
    for capability in experiment.capabilities:
        rows = _first_rows(capability.source, ask_the_network)
        examples = [replace(example, answer_in=capability.answer) for example in rows]
        notes += _unpaid(f"{capability.name}/Capability.verifier", capability.verifier, examples)
        notes += _unwritable(capability, examples, tokenizer)
    return notes


def unwritable(tokenizer: Any, text: str) -> list[str]:
    """The characters of a text that are gone when its tokens are read again, in the order of the text."""
    text = text.encode("utf-8", "ignore").decode()  # half a character is no text: its row is skipped when it is encoded
    kept = tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"], skip_special_tokens=True)
    return list(dict.fromkeys(char for char in text if not char.isspace() and char not in kept))


def _first_rows(source: ReplaySource, ask_the_network: bool) -> list[Example]:
    """Examples at the first positions; none where they cannot be had: others say so."""
    loads_anyway = ask_the_network and isinstance(source, TableSource)  # a stream would have to begin again
    if not (source.at_hand or loads_anyway):
        return []
    examples = []
    for position in range(_rows_of(source)):
        try:
            examples.append(source.example(position))
        except MalformedExample:
            continue
        except Exception:  # no data here: `Experiment.check` or the first step says what is wrong
            return examples
    return examples


def _rows_of(source: ReplaySource) -> int:
    try:
        return min(ROWS, source.length or ROWS)
    except Exception:  # as above: a folder that is not on this machine
        return 0


def _unpaid(where: str, judge: Judge, examples: Sequence[Example]) -> Iterator[str]:
    outcomes = []
    for example in map(_sized, examples):
        outcome = _best(judge, example)
        if outcome is None:
            continue
        if isinstance(outcome, str):
            yield f"{where}: {verifier_name(judge)} fails on the reference of row {example.id!r}: {outcome}"
            return
        outcomes.append((outcome, example))
    if not outcomes:
        return
    name, (_, first) = verifier_name(judge), outcomes[0]
    shown = f"row {first.id!r}, reference {first.answer[:80]!r}"
    if not any(reward for reward, _ in outcomes):
        yield (
            f"{where}: {name} pays nothing for the reference itself on any of the first {len(outcomes)} rows, so that no"
            f" completion may earn it ({shown}, written as {written(first)[:80]!r})"
        )
    elif all(_is_word_for_word(judge, name, example) for _, example in outcomes):
        yield (
            f"{where}: {name} pays for the references of the first {len(outcomes)} rows word for word alone, which no"
            f" model will write ({shown}); convert the column, or keep only the answer in it"
        )


def written(example: Example) -> str:
    """The reference as a completion."""
    return write_answer(example.answer, example.answer_in)


def _best(judge: Judge, example: Example) -> float | str | None:
    """The higher reward of the reference alone and behind a thought; what failed; None where the verifier does not apply."""
    rewards = []
    for completion in (written(example), f"<think>\nThe answer follows.\n</think>\n{written(example)}"):
        outcome = _judge(judge, completion, example)
        if isinstance(outcome, str):
            return outcome
        if outcome is not None:
            rewards.append(outcome)
    return max(rewards) if rewards else None


def _judge(judge: Judge, completion: str, example: Example) -> float | str | None:
    outcome = attempt(judge, completion, example)
    assert outcome is not None
    return outcome.error if outcome.error is not None else outcome.reward


def _is_word_for_word(judge: Judge, name: str, example: Example) -> bool:
    short = reference_core(example.answer)
    if len(short) > MOST_CHARS:
        return name in _WORD_FOR_WORD
    has_working = "####" in example.answer or r"\boxed" in example.answer
    return (
        has_working and short != example.answer and not _judge(judge, write_answer(short, example.answer_in), example)
    )


def _sized(example: Example) -> Example:
    """With a size of the picture as the model sees it, which is not known before a model is loaded."""
    if example.processed_size is not None or not example.images:
        return example
    return replace(example, processed_size=example.images[0].size)


def _unwritable(part: Domain | Capability, examples: Sequence[Example], tokenizer: Any) -> Iterator[str]:
    if tokenizer is None:
        return
    imitated = isinstance(part, Domain) and bool(part.supervised)
    texts = {
        "prompts": [part.prompt.replace("{question}", example.question) for example in examples],
        "answers": [example.supervised_target if imitated else written(example) for example in examples],
    }
    for kind, listed in texts.items():
        for example, text in zip(examples, listed, strict=True):
            if lost := unwritable(tokenizer, text):
                shown = " ".join(lost[:20])
                yield (
                    f"{part.name}/{type(part).__name__}: the model's tokenizer cannot represent {shown!r} of the {kind}"
                    f" (row {example.id!r}); they are dropped or replaced without a word"
                )
                break
