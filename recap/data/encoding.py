"""What a model can read of the prompts that were drawn; the rest is skipped, as any malformed example is.

A processor may raise at one picture (of 900 x 3), a tokenizer at one text (half a surrogate pair), and a prompt may be longer
than memory. None of them may end a run, nor take the other examples of its batch with it. Where nothing is wrong, the prompts
are encoded once, together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch

from recap.data.prompts import Asks, Prompt
from registry.backends.base import CannotSee, EncodedPrompts, LoadedModel
from registry.example import Example, MalformedExample

CPU = torch.device("cpu")
SHOWN = 300  # characters of somebody else's error: it may hold the whole text


@dataclass(frozen=True)
class Room:
    """How many tokens a prompt may have where nobody says.

    Attributes:
        context: of the model; None: no bound.
        completion: tokens that the completion may have.
    """

    context: int | None
    completion: int

    def most(self, asking: Asks) -> int | None:
        """Tokens that a prompt may have; None: any number."""
        if asking.max_prompt_tokens is not None or self.context is None:
            return asking.max_prompt_tokens
        return self.context - self.completion


@dataclass(frozen=True)
class Encoded:
    """Those of some prompts that the model can read.

    Attributes:
        places: where they stood among those given.
        prompts: the same, cut where they were too long.
        tensors: the same, on the CPU; None where there is none.
        refused: places of the others, with what is wrong with them.
    """

    places: list[int]
    prompts: list[Prompt]
    tensors: EncodedPrompts | None
    refused: dict[int, MalformedExample]


def encode_prompts(
    loaded: LoadedModel,
    asking: Sequence[Asks],
    prompts: Sequence[Prompt],
    rooms: Sequence[Room],
    *,
    read_elsewhere: bool = False,
) -> Encoded:
    """Encodes what can be encoded; touches nothing but the CPU, and changes no state.

    Args:
        asking: how each prompt was asked.
        rooms: the room that each prompt has.
        read_elsewhere: whether a generator reads them too, which of a prompt with pictures gets the text, and would take a
            special token in it for one.

    Raises:
        CannotSee: images for a model that cannot see.
    """
    live = dict(enumerate(prompts))
    refused: dict[int, MalformedExample] = {}
    for place, prompt in enumerate(prompts if read_elsewhere else ()):
        if prompt.example.images and any(map(loaded.literal.is_in, prompt.chat.texts)):
            what = "special token in the text of a prompt with pictures, which a generator reads as one"
            refused[place] = malformed(live.pop(place).example, what, "special token beside pictures")
    while live:
        try:
            tensors = _encode(loaded, live.values())
        except CannotSee:
            raise
        except Exception as error:
            culprits = _culprits(loaded, live)
            if not culprits:
                raise ValueError(
                    f"prompts that can be encoded one by one cannot be encoded together: {error}"
                ) from error
            for place, found in culprits.items():
                refused[place] = unreadable(live.pop(place).example, found)
            continue
        fits = True
        for place, tokens in zip(list(live), tensors.attention_mask.sum(1).tolist(), strict=True):
            most = rooms[place].most(asking[place])
            if most is None or tokens <= most:
                continue
            fits = False
            shorter = _cut(loaded, asking[place], live[place], tokens, most)
            if shorter is None:
                what = f"prompt of {tokens} tokens, at most {most}"
                refused[place] = malformed(live.pop(place).example, what, "prompt too long")
            else:
                live[place] = shorter
        if fits:
            return Encoded(list(live), list(live.values()), tensors, refused)
    return Encoded([], [], None, refused)


def encode_targets(
    loaded: LoadedModel, examples: Sequence[Example]
) -> tuple[dict[int, list[int]], dict[int, MalformedExample]]:
    """Token ids of the completions to imitate, by the places of their examples; and what is wrong with the others."""
    refused: dict[int, MalformedExample] = {}
    try:
        found = dict(enumerate(loaded.encode_completions([example.supervised_target for example in examples])))
    except Exception:
        found = {}
        for place, example in enumerate(examples):
            try:
                (found[place],) = loaded.encode_completions([example.supervised_target])
            except Exception as error:
                refused[place] = unreadable(example, error)
    most = loaded.context_length
    for place, ids in list(found.items()):
        if most is not None and len(ids) >= most:
            what = f"target of {len(ids)} tokens, more than the model's context of {most} has room for"
            refused[place] = malformed(examples[place], what, "target too long")
            del found[place]
    return found, refused


def _encode(loaded: LoadedModel, prompts: Iterable[Prompt]) -> EncodedPrompts:
    prompts = list(prompts)
    return loaded.encode([prompt.chat for prompt in prompts], [prompt.example for prompt in prompts], CPU)


def check_asking(loaded: LoadedModel, asking: Asks, binding: str, room: Room) -> None:
    """Tries a question of one character, before anything is drawn.

    Raises:
        ValueError: the model's chat format does not take what is asked, or leaves no room for a question.
    """
    example = Example(id="", question="?", answer="")
    try:
        tokens = int(_encode(loaded, [asking.ask(example)]).attention_mask.sum())
    except Exception as error:
        raise ValueError(
            f"{binding}: the chat format of {loaded.description} does not take its system, shots and chat_arguments:"
            f" {type(error).__name__}: {error}"
        ) from error
    most = room.most(asking)
    if most is not None and tokens > most:
        where = f"{binding}.max_prompt_tokens = {most}"
        if asking.max_prompt_tokens is None:
            where = f"the model's context of {room.context} tokens, less {room.completion} of the completion,"
        raise ValueError(f"{binding}: a prompt of one character has {tokens} tokens, and {where} does not hold them")


def unreadable(example: Example, error: Exception) -> MalformedExample:
    """An example at which a tokenizer, a chat template or an image processor has raised."""
    name = type(error).__name__
    said = f"{_where(example)}: cannot be encoded: {name}: {error}"
    return MalformedExample(said[:SHOWN].encode(errors="backslashreplace").decode(), f"cannot be encoded: {name}")


def malformed(example: Example, what: str, kind: str) -> MalformedExample:
    """An example that is not used for what it is itself."""
    return MalformedExample(f"{_where(example)}: {what}", kind)


def _where(example: Example) -> str:
    return example.where or f"example {example.id}"


def _culprits(loaded: LoadedModel, prompts: dict[int, Prompt]) -> dict[int, Exception]:
    """Those of some prompts that cannot be encoded even alone, by halves: few of many cost few encodings."""
    try:
        _encode(loaded, prompts.values())
    except Exception as error:
        if len(prompts) == 1:
            return dict.fromkeys(prompts, error)
    else:
        return {}
    places = list(prompts)
    halves = (places[: len(places) // 2], places[len(places) // 2 :])
    return {
        place: error
        for half in halves
        for place, error in _culprits(loaded, {place: prompts[place] for place in half}).items()
    }


def _cut(loaded: LoadedModel, asking: Asks, prompt: Prompt, tokens: int, most: int) -> Prompt | None:
    """The prompt with the end of its question alone, of at most `most` tokens; None where that is not wanted or cannot be."""
    example, question = prompt.example, prompt.example.question
    if asking.long_prompts != "cut" or example.images:
        return None
    while tokens > most:
        question = loaded.without_start(question, tokens - most)
        if not question:
            return None
        prompt = replace(asking.ask(replace(example, question=question)), example=example)
        tokens = int(_encode(loaded, [prompt]).attention_mask.sum())
    return prompt
