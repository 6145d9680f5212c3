"""Drift: KL by hand, and on which prompts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

from recap.data.domains import Domain
from recap.data.prompts import Prompt
from recap.evaluation.capabilities import Capability
from recap.evaluation.comparable import MeasuredRun
from recap.evaluation.drift import Drift, DriftMeter, kl_per_token, mean_divergence
from recap.evaluation.drift_prompts import DriftPrompt, drift_prompts
from recap.evaluation.drift_table import drift_levels, drift_table
from recap.evaluation.identity import digest_of
from registry.backends.base import LoadedModel
from registry.backends.tiny_qwen2_5_vl import TinyQwen2_5_VL
from registry.example import Example, MalformedExample
from registry.replay.arithmetic import Arithmetic
from registry.replay.base import ReplaySource
from registry.replay.counting import Counting
from registry.verifiers.accuracy import Accuracy

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def other_tiny() -> LoadedModel:
    return TinyQwen2_5_VL(weights="random", seed=1).load()


def capability(name: str, source: ReplaySource) -> Capability:
    return Capability(name=name, source=source, verifier=Accuracy())


def domain(name: str, source: ReplaySource) -> Domain:
    return Domain(name=name, source=source, objectives={"accuracy": Accuracy()})


def meter(model: LoadedModel, base: LoadedModel, temperature: float = 1.0) -> DriftMeter:
    parts = [capability("counting", Counting()), capability("sums", Arithmetic())]
    examples = [(part, part.source.example(position)) for part in parts for position in range(2)]
    prompts = [DriftPrompt("untrained", part, part.ask(one), digest_of(one)) for part, one in examples]
    return DriftMeter(
        prompts,
        Drift(prompts=4, max_new_tokens=5),
        model=lambda: nullcontext(model),
        base=lambda: nullcontext(base),
        temperature=temperature,
        seed=0,
        device=CPU,
    )


def by_hand(
    p: LoadedModel, q: LoadedModel, prompt: Prompt, completion: Sequence[int], temperature: float
) -> list[float]:
    """A forward of the whole text per token, unpadded, and explicit sums in double precision."""
    found = []
    for length in range(len(completion)):
        distributions = []
        for loaded in (p, q):
            encoded = loaded.encode([prompt.chat], [prompt.example], CPU)
            inputs = dict(encoded.inputs)
            before = torch.tensor([completion[:length]], dtype=torch.long)
            inputs["input_ids"] = torch.cat([inputs["input_ids"], before], 1)
            inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
            following = (encoded.next_position[:, None] + torch.arange(length)).expand(
                *encoded.position_ids.shape[:-1], -1
            )
            with torch.no_grad():
                logits = loaded.model(**inputs, position_ids=torch.cat([encoded.position_ids, following], -1)).logits[
                    0, -1
                ]
            weights = [
                0.0 if token in loaded.forbidden_token_ids else math.exp(value / temperature)
                for token, value in enumerate(logits.double().tolist())
            ]
            distributions.append([weight / sum(weights) for weight in weights])
        found.append(sum(a * math.log(a / b) for a, b in zip(*distributions, strict=True) if a > 0))
    return found


@pytest.mark.parametrize(("temperature", "shared_prefix"), [(1.0, False), (0.7, True)])
def test_kl_is_that_of_explicit_softmax(
    random_tiny: LoadedModel, other_tiny: LoadedModel, temperature: float, shared_prefix: bool
) -> None:
    random_tiny.model.eval()
    measuring = replace(meter(random_tiny, other_tiny, temperature), shared_prefix=shared_prefix)
    ours, theirs = measuring.sample(measuring.model), measuring.sample(measuring.base)
    assert ours != theirs
    found = measuring.divergence(ours, theirs)
    for direction, pair, completions in (
        ("kl_model_base", (random_tiny, other_tiny), ours),
        ("kl_base_model", (other_tiny, random_tiny), theirs),
    ):
        assert sorted(found[direction]) == [0, 1, 2, 3]
        for place, values in found[direction].items():
            expected = by_hand(*pair, measuring.prompts[place].prompt, completions[place], temperature)
            assert values == pytest.approx(expected, rel=1e-3, abs=1e-6)
            assert min(values) > 1e-4


def test_a_model_has_no_drift_from_itself(random_tiny: LoadedModel) -> None:
    random_tiny.model.eval()
    measuring = meter(random_tiny, random_tiny)
    completions = measuring.sample(measuring.model)
    assert completions == measuring.sample(measuring.base)
    found = measuring.divergence(completions, completions)
    assert {value for prompts in found.values() for tokens in prompts.values() for value in tokens} == {0.0}


def test_kl_of_known_distributions() -> None:
    p, q = torch.tensor([[0.5, 0.5, 0.0], [0.9, 0.1, 0.0]]), torch.tensor([[0.25, 0.75, 0.0], [0.1, 0.9, 0.0]])
    expected = [0.5 * math.log(2) + 0.5 * math.log(2 / 3), 0.8 * math.log(9)]
    assert kl_per_token(p.log(), q.log()).tolist() == pytest.approx(expected)
    mirrored = kl_per_token(q.log(), p.log()).tolist()
    assert mirrored[1] == pytest.approx(expected[1])  # mirror images: the same both ways
    assert mirrored[0] != pytest.approx(expected[0], rel=1e-2)


def test_the_mean_is_over_tokens_and_its_error_over_prompts() -> None:
    found = mean_divergence([[1.0, 1.0, 1.0], [3.0]])
    assert (found.mean, found.prompts, found.tokens) == (1.5, 2, 4)
    assert found.standard_error == pytest.approx(math.sqrt(1.5**2 + 1.5**2) / 4)


class Sparse(ReplaySource):
    """Three rows, the first malformed."""

    length = 3

    def example(self, position: int) -> Example:
        if position == 0:
            raise MalformedExample("row 0")
        return Example(id=f"sparse/{position}", question=f"{position}?", answer="1")


def test_prompts_of_three_kinds() -> None:
    domains = [domain("sums", Arithmetic()), domain("counting", Counting()), domain("reading", Sparse())]
    capabilities = [
        capability("sums", Arithmetic(split="held_out")),
        capability("naming", Sparse()),
        capability("copying", Counting(split="held_out")),
        capability("grounding", Sparse()),
    ]
    before = domains[0].source.state_dict()
    found = drift_prompts(domains, capabilities, ["reading", "grounding"], 5)
    assert domains[0].source.state_dict() == before
    counts = {(one.kind, one.asking.name): sum(x.asking is one.asking for x in found) for one in found}
    assert counts == {
        ("trained", "sums"): 3,
        ("trained", "counting"): 2,
        ("replayed", "reading"): 2,  # has no more
        ("untrained", "naming"): 2,  # neither sums, which a domain trains, nor grounding, which other runs replay
        ("untrained", "copying"): 2,
    }
    asked = [one.prompt.example.id for one in found if one.asking is domains[0]]
    assert asked == [domains[0].source.example(position).id for position in range(3)]


@pytest.mark.parametrize("settings", [{"prompts": 0}, {"max_new_tokens": 0}, {"replayed": "reading"}])
def test_what_cannot_be_measured_is_said(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"drift\."):
        Drift(**settings)  # type: ignore[arg-type]


def test_groups_side_by_side() -> None:
    def run(seed: int, *means: float) -> MeasuredRun:
        kl = [{"mean": mean, "standard_error": 0.1, "prompts": 2, "tokens": 9} for mean in means]
        drift = {"trained": {"kl_model_base": kl[0], "kl_base_model": kl[1]}} if means else {}
        return MeasuredRun(f"run {seed}", {"seed": seed, "drift": drift}, 8, {}, {})

    groups = {"recap": {0: run(0, 1.0, 2.0), 1: run(1, 3.0, 2.0)}, "uniform": {0: run(0, 1.0, 1.0), 1: run(1)}}
    levels = drift_levels(groups)
    assert list(levels) == ["recap"]  # not every run of the other has measured it
    mean, interval = levels["recap"]["trained"]["kl_model_base"]
    assert (mean, interval.low) == (2.0, pytest.approx(2 - 12.706, rel=1e-3))
    table = drift_table(groups, 8)
    assert table is not None
    assert table.row_count == 1
    assert drift_table({"uniform": {1: run(1)}}, 8) is None
