"""Whatever cannot be encoded is found, and takes nothing else of its batch with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from PIL import Image

from recap.data.encoding import Encoded, Room, check_asking, encode_prompts, encode_targets
from recap.data.prompts import Asking
from registry.backends.base import CannotSee, LoadedModel
from registry.example import Example

ENDLESS = Room(None, 0)
THIN, FINE = Image.new("RGB", (900, 3)), Image.new("RGB", (40, 40), "red")
SURROGATE = "half a pair: \ud800"


def example(question: str, *images: Image.Image, **fields: Any) -> Example:
    return Example(id=question[:20], question=question, answer="", images=images, **fields)


def encode(loaded: LoadedModel, examples: Sequence[Example], how: Asking, room: Room = ENDLESS) -> Encoded:
    return encode_prompts(loaded, [how] * len(examples), [how.ask(one) for one in examples], [room] * len(examples))


@pytest.fixture
def calls(random_tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many prompts each call of `encode` had."""
    found: list[int] = []
    original = random_tiny.encode

    def counted(prompts: Any, *rest: Any) -> Any:
        found.append(len(prompts))
        return original(prompts, *rest)

    monkeypatch.setattr(random_tiny, "encode", counted)
    return found


def test_where_nothing_is_wrong_prompts_are_encoded_once(random_tiny: LoadedModel, calls: list[int]) -> None:
    examples = [example(f"{n}+1=?") for n in range(7)] + [example("what?", FINE)]
    found = encode(random_tiny, examples, Asking())
    assert calls == [8]
    assert (found.places, found.refused) == (list(range(8)), {})
    plain = random_tiny.encode([one.question for one in examples], examples, torch.device("cpu"))
    assert found.tensors is not None
    for name, tensor in plain.inputs.items():
        assert torch.equal(found.tensors.inputs[name], tensor), name


@pytest.mark.parametrize("bad", [[3], [0, 7], [2, 3, 4], list(range(8))])
def test_culprits_alone_are_left_out(random_tiny: LoadedModel, bad: list[int]) -> None:
    poison = [example("thin", THIN, where="rows.jsonl, line 4"), example(SURROGATE)]
    examples = [poison[n % 2] if n in bad else example(f"what is {n}?", *[FINE] * (n % 3)) for n in range(8)]
    found = encode(random_tiny, examples, Asking())
    assert sorted(found.refused) == bad
    assert found.places == [n for n in range(8) if n not in bad]
    assert [prompt.example for prompt in found.prompts] == [examples[n] for n in found.places]
    kept = [examples[n] for n in found.places]
    if not kept:
        assert found.tensors is None
        return
    assert found.tensors is not None
    alone = random_tiny.encode([one.question for one in kept], kept, torch.device("cpu"))
    for name, tensor in alone.inputs.items():
        assert torch.equal(found.tensors.inputs[name], tensor), name


def test_what_is_said_of_them(random_tiny: LoadedModel) -> None:
    found = encode(random_tiny, [example("thin", THIN, where="rows.jsonl, line 4"), example(SURROGATE)], Asking())
    thin, surrogate = (found.refused[place] for place in (0, 1))
    assert str(thin).startswith(
        "rows.jsonl, line 4: cannot be encoded: ValueError: absolute aspect ratio must be smaller"
    )
    assert thin.kind == "cannot be encoded: ValueError"
    assert str(surrogate).startswith("example half a pair: ")
    str(surrogate).encode()  # can be printed and logged


@pytest.mark.parametrize("mode", ["1", "L", "CMYK", "RGBA", "P", "I;16", "F"])
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (3000, 2000)])
def test_pictures_of_any_mode_and_size_are_read_or_refused(
    random_tiny: LoadedModel, mode: str, size: tuple[int, int]
) -> None:
    found = encode(random_tiny, [example("fine", FINE), example("odd", Image.new(mode, size))], Asking())
    assert 0 in found.places


def test_pictures_for_a_model_that_cannot_see_are_no_fault_of_an_example(random_tiny: LoadedModel) -> None:
    text_only = LoadedModel(random_tiny.model, random_tiny.tokenizer, "text only")
    with pytest.raises(CannotSee, match="text only cannot see, but example 'what\\?' has images"):
        encode(text_only, [example("1+1=?"), example("what?", FINE)], Asking())


class TestLongPrompts:
    LONG = "one two three " * 400 + "the end"

    def test_it_is_skipped_where_it_leaves_no_room_for_the_completion(self, random_tiny: LoadedModel) -> None:
        assert random_tiny.context_length == 1024
        examples = [example("1+1=?"), example(self.LONG), example("2+2=?")]
        found = encode(random_tiny, examples, Asking(), Room(random_tiny.context_length, 24))
        assert found.places == [0, 2]
        assert str(found.refused[1]).endswith(f": prompt of {len(self.LONG) + 3} tokens, at most 1000")
        assert found.refused[1].kind == "prompt too long"
        assert found.tensors is not None
        assert found.tensors.attention_mask.shape[1] < 20

    def test_or_where_its_domain_says_so(self, random_tiny: LoadedModel) -> None:
        found = encode(random_tiny, [example("x" * 17), example("x" * 18)], Asking(max_prompt_tokens=20))
        assert found.places == [0]

    def test_it_is_cut_where_its_domain_says_so(self, random_tiny: LoadedModel) -> None:
        how = Asking(prompt="read: {question} end", system="be brief", long_prompts="cut", max_prompt_tokens=60)
        found = encode(random_tiny, [example("short"), example(self.LONG)], how)
        assert found.places == [0, 1]
        short, cut = found.prompts
        assert short.text == "read: short end"
        assert cut.text.startswith("read: ")
        assert cut.text.endswith(" the end end")
        assert cut.example.question == self.LONG  # what verifiers see
        assert found.tensors is not None
        assert found.tensors.attention_mask.sum(1).tolist()[1] == 60
        ids = found.tensors.inputs["input_ids"][1, -60:]
        text = random_tiny.tokenizer.decode(ids)
        assert text.startswith("<|im_start|>be brief<|im_end|><|im_start|>read: ")
        assert text.endswith("the end end<|im_end|><|im_start|>")

    def test_special_tokens_are_no_reason_to_cut_less(self, random_tiny: LoadedModel) -> None:
        how = Asking(long_prompts="cut", max_prompt_tokens=40)
        found = encode(random_tiny, [example("<|im_end|>" * 200 + "why?")], how)
        assert found.tensors is not None
        assert int(found.tensors.attention_mask.sum()) <= 40
        assert found.prompts[0].text.endswith("<|im_end|>why?")

    def test_what_cannot_be_cut_is_skipped(self, random_tiny: LoadedModel) -> None:
        how = Asking(prompt="x" * 50 + "{question}", long_prompts="cut", max_prompt_tokens=40)
        found = encode(random_tiny, [example("why?")], how)
        assert found.refused.keys() == {0}
        pictured = encode(random_tiny, [example("why? " * 40, FINE)], Asking(long_prompts="cut", max_prompt_tokens=40))
        assert pictured.refused[0].kind == "prompt too long"

    def test_a_text_of_100_000_tokens(self, random_tiny: LoadedModel) -> None:
        examples = [example("1+1=?"), example("a" * 100_000)]
        assert encode(random_tiny, examples, Asking(), Room(1024, 24)).places == [0]
        cut = encode(random_tiny, examples, Asking(long_prompts="cut"), Room(1024, 24))
        assert cut.tensors is not None
        assert cut.tensors.attention_mask.sum(1).tolist() == [8, 1000]


def test_targets(random_tiny: LoadedModel) -> None:
    targets = ["fine", "see <|image_pad|>", SURROGATE, "a" * 1023, "a" * 1024]
    found, refused = encode_targets(random_tiny, [example("q", target=target) for target in targets])
    assert sorted(found) == [0, 1]
    assert not set(found[1]) & set(random_tiny.forbidden_token_ids)
    assert {place: error.kind for place, error in refused.items()} == {
        2: refused[2].kind,
        3: "target too long",
        4: "target too long",
    }
    assert refused[2].kind.startswith("cannot be encoded: ")
    assert "target of 1024 tokens, more than the model's context of 1024 has room for" in str(refused[3])


def test_what_a_generator_would_read_otherwise(random_tiny: LoadedModel) -> None:
    """It gets the text of a prompt with pictures, and the token ids of others."""
    examples = [example("<|im_end|>"), example("<|im_end|>", FINE), example("plain", FINE)]
    how = Asking()
    prompts = [how.ask(one) for one in examples]
    found = encode_prompts(random_tiny, [how] * 3, prompts, [ENDLESS] * 3, read_elsewhere=True)
    assert found.places == [0, 2]
    assert found.refused[1].kind == "special token beside pictures"


def test_what_the_chat_format_does_not_take_is_said_before_anything_is_drawn(
    random_tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_asking(random_tiny, Asking(system="be brief"), "a/Domain", ENDLESS)
    with pytest.raises(
        ValueError, match=r"a/Domain: a prompt of one character has 104 tokens, and a/Domain.max_prompt"
    ):
        check_asking(random_tiny, Asking(prompt="x" * 100 + "{question}", max_prompt_tokens=50), "a/Domain", ENDLESS)
    with pytest.raises(
        ValueError, match="the model's context of 1024 tokens, less 1024 of the completion, does not hold"
    ):
        check_asking(random_tiny, Asking(), "a/Domain", Room(1024, 1024))
    template = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    monkeypatch.setattr(random_tiny.processor, "chat_template", template)
    monkeypatch.setattr(random_tiny.tokenizer, "chat_template", template)
    with pytest.raises(ValueError, match=r"a/Domain: the chat format of .* does not take .*System role not supported"):
        check_asking(random_tiny, Asking(system="be brief"), "a/Domain", ENDLESS)
