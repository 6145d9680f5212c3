"""The answer in a completion, found where its example says that it stands; what was only thought is no answer."""

from __future__ import annotations

from dataclasses import replace

from registry.answer_places import LENIENT, find_answer, is_well_placed, place_names
from registry.example import Example
from registry.verifiers.tags import END_THINK, THINK, is_thought_and_answer


def answer_of(completion: str, example: Example) -> str | None:
    r"""The text of the answer, at the first of the places `example.answer_in` that has one; None where none has.

    Only the text behind the last `</think>` is searched. One that begins to think and does not end has no answer.

    >>> example = Example(id="1", question="2 + 2?", answer="4", answer_in="boxed")
    >>> answer_of(r"<think>\boxed{5}?</think> It is \boxed{4}.", example)
    '4'
    >>> answer_of(r"<think>it is \boxed{4}", example) is None
    True
    """
    spoken = spoken_text(completion)
    return None if spoken is None else find_answer(spoken, example.answer_in)


def spoken_text(completion: str) -> str | None:
    """What a completion says when it has thought; None where it has not ended thinking.

    A completion without `<think>` may have `</think>` all the same: some chat templates open it in the prompt.

    >>> spoken_text("<think>2 + 2</think> 4"), spoken_text("4"), spoken_text("<think>4")
    (' 4', '4', None)
    """
    spoken = completion.rpartition(END_THINK)[2]
    return None if THINK in spoken else spoken


def is_formatted(completion: str, example: Example, strict: bool = True) -> bool:
    r"""Whether a completion answers in the format of its example, `registry.answer_places.is_well_placed`.

    In tags nothing may stand beside the answer; for the other places, thoughts before it are passed over.

    >>> is_formatted(r"<think>7 * 6</think>It is \boxed{42}.", Example(id="1", question="?", answer="42", answer_in="boxed"))
    True
    """
    spoken = spoken_text(completion) or ""
    return any(
        is_well_placed(completion if name == "tags" else spoken, name, strict)
        for name in place_names(example.answer_in)
    )


def is_thought_and_formatted(completion: str, example: Example, strict: bool = True) -> bool:
    """Whether a completion is `<think>…</think>` and then answers in the format of its example.

    Args:
        strict: each of the four tags, the box or the marker exactly once.
    """
    spoken = spoken_text(completion) or ""
    once = completion.count(THINK) == completion.count(END_THINK) == 1
    thought = completion.lstrip().startswith(THINK) and END_THINK in completion and (once or not strict)
    return any(
        is_thought_and_answer(completion, strict)
        if name == "tags"
        else thought and is_well_placed(spoken, name, strict)
        for name in place_names(example.answer_in)
    )


def lenient(example: Example) -> Example:
    """The example, its answer looked for everywhere: in its own places first, at last in the whole text.

    For a second score of the same completions: a model that lost a format has not lost the skill.

    >>> answer_of("The answer is 4", lenient(Example(id="1", question="2 + 2?", answer="4")))
    '4'
    """
    return replace(example, answer_in=tuple(dict.fromkeys([*place_names(example.answer_in), *LENIENT])))
