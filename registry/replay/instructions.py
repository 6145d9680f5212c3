"""Instructions that can be checked: a subject, and how to write of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from registry import replay_sources
from registry.example import Example
from registry.replay.synthetic import Split, SyntheticSource

SUBJECTS = (
    "the sea", "the moon", "the rain", "the wind", "the snow", "the desert", "the forest", "the city", "the river", "the sun",
    "a dog", "a cat", "a horse", "a bird", "a garden", "a train", "a ship", "a bridge", "a school", "a library",
    "a farmer", "a teacher", "a doctor", "a baker", "a painter", "a singer", "winter", "summer", "music", "bread",
)  # fmt: skip
WORDS = (
    "blue", "green", "round", "small", "quiet", "bright", "strong", "warm", "cold", "fast", "slow", "happy", "alone", "always",
    "never", "market", "evening", "window", "friend", "water", "stone", "light", "home", "time", "heavy", "deep", "sharp",
    "soft",
)  # fmt: skip
SETTINGS = (
    "in the morning", "at night", "in spring", "in autumn", "far away", "long ago", "on a Sunday", "in the dark", "in old age",
    "without a name", "after a storm", "in a dream",
)  # fmt: skip
ENDINGS = ("That is all.", "The end.", "What do you think?", "And so it goes.", "Good night.", "Thank you.")

Arguments = Mapping[str, Any]
Kind = Callable[[str, str, str], tuple[str, str, Arguments, str]]
"""Subject, word, ending -> the request, the id of IFEval, its arguments, and a text that follows the request."""


def _sentence(subject: str) -> str:
    return f"{subject.capitalize()} is here."


KINDS: tuple[Kind, ...] = (
    lambda subject, word, _: (
        f'Write a short sentence about {subject} with the word "{word}" in it.',
        "keywords:existence", {"keywords": [word]},
        f"I think of {subject} and of the word {word}.",
    ),
    lambda subject, word, _: (
        f'Write a short sentence about {subject}. Do not use the word "{word}".',
        "keywords:forbidden_words", {"forbidden_words": [word]},
        _sentence(subject),
    ),
    lambda subject, _word, ending: (
        f'Write a short sentence about {subject}, and end with these words: {ending}',
        "startend:end_checker", {"end_phrase": ending},
        f"{_sentence(subject)} {ending}",
    ),
    lambda subject, _word, _ending: (
        f"Write a short sentence about {subject} in double quotation marks.",
        "startend:quotation", {},
        f'"{_sentence(subject)}"',
    ),
    lambda subject, _word, _ending: (
        f"Give a title for a story about {subject} in double angular brackets, such as <<my title>>.",
        "detectable_format:title", {},
        f"<<the story of {subject}>>",
    ),
    lambda subject, _word, _ending: (
        f"Write of {subject} in fewer than 10 words.",
        "length_constraints:number_words", {"num_words": 10, "relation": "less than"},
        _sentence(subject),
    ),
    lambda subject, _word, _ending: (
        f"Name three things that go with {subject}. Do not use any commas.",
        "punctuation:no_comma", {},
        f"Light and time and {subject}.",
    ),
)  # fmt: skip
"""Those that a completion of some twenty tokens can follow, and that need no package to be told."""


@replay_sources.register("instructions")
class Instructions(SyntheticSource):
    """Asks for a line on a subject with one instruction that can be checked; for the verifier `ifeval`.

    ``Write of the sea at night in fewer than 10 words.`` Seven kinds of instruction, equally often; 30 subjects in 12 settings,
    28 words, 6 endings.
    The answer is a text that follows the instruction, one of many. The whole completion is judged: `answer = 'whole'`. A
    problem is the request: what is held out are other requests, not other kinds.

    Source: ours; ids and rules of the instructions are IFEval's (arXiv 2311.07911).

    Args:
        seed: seeds what is asked; >= 0. None: that of the run, and 0 for what is held out.
        split: ``train`` or ``held_out``.
    """

    name = "instructions"

    def __init__(self, seed: int | None = None, split: Split = "train") -> None:
        super().__init__(seed, split)

    def example(self, position: int) -> Example:
        rng = self.generator(position)
        kind = KINDS[int(rng.integers(len(KINDS)))]
        while True:
            subject, setting, word, ending = (str(rng.choice(texts)) for texts in (SUBJECTS, SETTINGS, WORDS, ENDINGS))
            question, name, arguments, answer = kind(f"{subject} {setting}", word, ending)
            if self.admits(question):
                break
        return Example(
            id=self.identifier(position),
            question=question,
            answer=answer,
            metadata={"instruction_id_list": [name], "kwargs": [dict(arguments)]},
        )
