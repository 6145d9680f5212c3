"""`vllm_colocated` with a stand-in for vLLM; and what `recap check` says where vLLM is missing."""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from typer.testing import CliRunner

from recap.cli import app
from recap.data.prompts import Prompt
from recap.experiment.config import LoadedConfig
from recap.sampling.generators import GeneratorError, VLLMColocated
from recap.sampling.generators.sync import send_weights
from recap.sampling.rollout import Rollout, roll_out
from registry.backends.base import LoadedModel
from registry.example import Example
from registry.replay.arithmetic import Arithmetic
from registry.replay.counting import Counting

Small = Callable[..., LoadedConfig]
CPU = torch.device("cpu")
ROOT = Path(__file__).resolve().parents[4]


class LLM:
    """What is used of `vllm.LLM`; it samples from the fake server's model."""

    def __init__(self, fake: Any, **settings: Any) -> None:
        self.fake, self.settings, self.resets = fake, settings, []
        self.llm_engine = SimpleNamespace(reset_encoder_cache=lambda: self.resets.append("encoder"))
        self.reset_prefix_cache = lambda: self.resets.append("prefix")

    def collective_rpc(self, method: str, kwargs: dict[str, Any]) -> None:
        assert method == "reload_weights"
        self.fake.loaded.model.load_state_dict(dict(kwargs["weights_iterator"]), strict=True)

    def generate(self, prompts: list[Any], sampling_params: list[Any], use_tqdm: bool) -> list[Any]:
        outputs = []
        for prompt, given in zip(prompts, sampling_params, strict=True):
            body = {
                "model": "served-model", "top_p": 1, "top_k": 0, "min_p": 0, "repetition_penalty": 1,
                "presence_penalty": 0, "frequency_penalty": 0, **vars(given),
            }  # fmt: skip
            assert all(isinstance(token, int) and bias == -100 for token, bias in body["logit_bias"].items())
            if "prompt" in prompt:
                images = prompt["multi_modal_data"]["image"]
                inputs = self.fake.loaded.processor(text=[prompt["prompt"]], images=images, return_tensors="pt")
                ids = inputs["input_ids"][0].tolist()
                encoded = self.fake.loaded.encode([COUNTING.question], [COUNTING], CPU)
                answer = {"choices": self.fake.complete(encoded, body, chat=False)}
            else:
                ids = prompt["prompt_token_ids"]
                answer = self.fake.answer("/v1/completions", {**body, "prompt": ids})
            outputs.append(SimpleNamespace(prompt_token_ids=ids, outputs=[output_of(c) for c in answer["choices"]]))
        return outputs


COUNTING = Counting().example(0)


def output_of(choice: dict[str, Any]) -> Any:
    ids = choice["token_ids"]
    values = choice["logprobs"]["token_logprobs"]
    return SimpleNamespace(
        token_ids=ids, logprobs=[{t: SimpleNamespace(logprob=v)} for t, v in zip(ids, values, strict=True)]
    )


@pytest.fixture
def vllm(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = ModuleType("vllm")
    module.LLM = lambda **settings: LLM(server, **settings)
    module.SamplingParams = SimpleNamespace
    monkeypatch.setitem(sys.modules, "vllm", module)
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "0")
        monkeypatch.delenv(name)  # what vLLM's launcher wants set is removed again after the test


def sample(loaded: LoadedModel, generator: VLLMColocated | None, **settings: Any) -> Rollout:
    examples: list[Example] = [COUNTING, Arithmetic().example(1)]
    prompts = [Prompt(example, example.question) for example in examples]
    arguments = {"group_size": 1, "max_new_tokens": 12, "temperature": 0.0, "device": CPU, **settings}
    return roll_out(loaded, prompts, generator=generator, **arguments)


@pytest.mark.usefixtures("vllm")
def test_after_a_sync_completions_are_those_of_the_weights_in_training(trained: LoadedModel) -> None:
    generator, accelerator = VLLMColocated(), Accelerator(cpu=True)
    generator.start(trained, accelerator)
    assert generator._llm.settings["logprobs_mode"] == "processed_logprobs"
    send_weights(generator, trained.model, accelerator)
    assert generator._llm.resets == ["prefix", "encoder"]
    there, here = sample(trained, generator), sample(trained, None)
    assert there.completions == here.completions
    assert torch.equal(there.completion_ids, here.completion_ids)
    group = sample(trained, generator, group_size=3, temperature=1.0)
    assert len(group.completions) == 6
    assert group.sampler_log_probs is not None
    assert torch.isfinite(group.sampler_log_probs).all()


@pytest.mark.usefixtures("vllm")
def test_a_log_prob_that_vllm_does_not_give_is_nan(trained: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = VLLMColocated()
    generator.start(trained, Accelerator(cpu=True))
    monkeypatch.setitem(globals(), "output_of", lambda choice: SimpleNamespace(token_ids=[20], logprobs=[{}]))
    rollout = sample(trained, generator)
    assert rollout.sampler_log_probs is not None
    assert math.isnan(rollout.sampler_log_probs[0, 0])


@pytest.mark.usefixtures("vllm")
def test_the_engine_has_the_precision_and_the_pictures_of_the_model_in_training(
    trained: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator, accelerator = VLLMColocated(), Accelerator(cpu=True)
    generator.start(trained, accelerator)
    assert generator._llm.settings["dtype"] == "float32"
    assert generator._llm.settings["mm_processor_kwargs"] is None
    monkeypatch.setattr(Accelerator, "mixed_precision", "bf16")
    generator.start(replace(trained, max_pixels=401_408), accelerator)
    assert generator._llm.settings["dtype"] == "bfloat16"
    assert generator._llm.settings["mm_processor_kwargs"] == {"max_pixels": 401_408}


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_of_the_memory_that_cannot_work(share: float) -> None:
    with pytest.raises(GeneratorError, match=r"vllm_colocated.gpu_memory_utilization"):
        VLLMColocated(gpu_memory_utilization=share)


@pytest.mark.parametrize("generator", ["vllm_colocated", "vllm_server"])
@pytest.mark.parametrize("command", ["check", "train"])
def test_without_vllm_the_extra_is_named(generator: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is loaded. A server with a weights directory needs nothing."""
    monkeypatch.chdir(ROOT)
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "vllm" else find(name, *rest))
    arguments = [command, "experiments/quickstart.gin", "-b", f"rollout.generator = @{generator}()"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert generator in result.output
    assert 'pip install "recap-rlvr[vllm]"' in result.output
    if generator == "vllm_server" and command == "check":
        assert CliRunner().invoke(app, [*arguments, "-b", "vllm_server.weights_directory = 'w'"]).exit_code == 0
