"""What is computed in bf16 has the gradients that it would have in any order, on the oldest torch that setup.py allows too."""

import copy

import pytest
import torch

from recap.data.prompts import Prompt
from recap.model.precision import hold_frozen, probing
from recap.model.scoring import Scorer
from recap.sampling.rollout import roll_out
from registry.backends.base import LoadedModel
from registry.replay.arithmetic import Arithmetic
from registry.replay.grounding import Grounding

CPU = torch.device("cpu")


@pytest.mark.parametrize("keep_prefix", [False, True])
def test_the_first_pass_has_all_gradients(random_tiny: LoadedModel, keep_prefix: bool) -> None:
    """The comparisons at first use run in the autocast of the pass that follows, without graph.

    Older torch (pytorch #112583) keeps the casts of weights that it makes there for that pass, which then has no gradient.
    """
    loaded = copy.deepcopy(random_tiny)
    loaded.model.requires_grad_(True)
    scorer = Scorer(loaded.model, loaded.forbidden_token_ids)
    examples = [Grounding().example(0), Arithmetic().example(0)]
    prompts = [Prompt(example, example.question) for example in examples]
    settings = {"group_size": 2, "max_new_tokens": 8, "temperature": 1.0, "device": CPU}

    def gradients() -> dict[str, torch.Tensor]:
        loaded.model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            rollout = roll_out(loaded, prompts, **settings, keep_prefix=keep_prefix)
        with torch.autocast("cpu", torch.bfloat16):
            scored = (rollout.encoded, rollout.completion_ids, rollout.completion_mask)
            log_probs = scorer(*scored, prefix=rollout.prefix).log_probs
        assert (rollout.prefix is not None) == keep_prefix
        log_probs.sum().backward()
        return {name: p.grad.clone() for name, p in loaded.model.named_parameters() if p.grad is not None}

    first, second = gradients(), gradients()
    assert set(first) == {name for name, p in loaded.model.named_parameters() if p.requires_grad}
    for name, gradient in first.items():
        torch.testing.assert_close(gradient, second[name], rtol=1e-3, atol=1e-5, msg=name)


def test_probes_leave_no_casts_behind() -> None:
    weight = torch.nn.Linear(4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        with probing():
            assert not weight(torch.ones(1, 4)).requires_grad
        weight(torch.ones(1, 4)).sum().backward()
    assert weight.weight.grad is not None


def test_only_frozen_parameters_change_their_precision(random_tiny: LoadedModel) -> None:
    model = copy.deepcopy(random_tiny.model).requires_grad_(True)
    frozen = model.model.visual.requires_grad_(False)
    hold_frozen(model, torch.bfloat16)
    inside = {id(parameter) for parameter in frozen.parameters()}
    for parameter in model.parameters():
        assert parameter.dtype == (torch.bfloat16 if id(parameter) in inside else torch.float32)
    assert {b.dtype for b in model.buffers() if b.is_floating_point()} == {torch.float32}
