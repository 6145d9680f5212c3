"""`vllm_server` against a fake server of the same protocol: weights, completions, log-probs, errors."""

from __future__ import annotations

import json
import math
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from recap.data.prompts import Asking, Prompt
from recap.evaluation.capabilities import Capability
from recap.evaluation.evaluate import evaluate
from recap.experiment.config import LoadedConfig
from recap.learning.trainer import Trainer
from recap.model.scoring import Scorer
from recap.rewards.workers import RewardWorkers
from recap.runs.run import Run
from recap.runs.tracking import Tracker
from recap.sampling.generators import GeneratorError, VLLMServer
from recap.sampling.generators.sync import send_weights
from recap.sampling.rollout import Rollout, generation_requests, roll_out
from registry.backends.base import LoadedModel
from registry.example import Example
from registry.replay.arithmetic import Arithmetic
from registry.replay.counting import Counting
from tests.processes import torchrun

Small = Callable[..., LoadedConfig]
CPU = torch.device("cpu")
EXAMPLES = [Counting().example(0), Arithmetic().example(1), Counting().example(2)]  # two with images


def sample(loaded: LoadedModel, generator: VLLMServer | None, **settings: Any) -> Rollout:
    prompts = [Prompt(example, example.question) for example in EXAMPLES]
    arguments = {"group_size": 4, "max_new_tokens": 12, "temperature": 0.7, "device": CPU, **settings}
    return roll_out(loaded, prompts, generator=generator, **arguments)


def log_ratio(loaded: LoadedModel, rollout: Rollout) -> Tensor:
    """log π - log π_sampler of every token of a rollout, [tokens]."""
    assert rollout.sampler_log_probs is not None
    scorer = Scorer(loaded.model.eval(), loaded.forbidden_token_ids)
    with torch.no_grad():
        own = scorer(rollout.encoded, rollout.completion_ids, rollout.completion_mask, temperature=0.7).log_probs
    return (own - rollout.sampler_log_probs)[rollout.completion_mask.bool()]


def test_after_a_sync_completions_are_those_of_the_weights_sent(
    trained: LoadedModel, generator: VLLMServer, server: Any
) -> None:
    stale = log_ratio(trained, sample(trained, generator))
    assert stale.abs().mean() > 0.05  # the server's weights are others
    send_weights(generator, trained.model, Accelerator(cpu=True))
    fresh = log_ratio(trained, sample(trained, generator))
    assert fresh.abs().max() < 1e-4
    with torch.no_grad():
        trained.model.lm_head.weight.mul_(
            1.5
        )  # and the embedding, to which it is tied: an update that the server has not been told of
    assert log_ratio(trained, sample(trained, generator)).abs().mean() > 0.01
    assert [path for path, _ in server.posts if "reset" in path] == ["/reset_prefix_cache", "/reset_encoder_cache"]


def test_greedy_through_the_server_is_our_own_greedy(trained: LoadedModel, generator: VLLMServer) -> None:
    send_weights(generator, trained.model, Accelerator(cpu=True))
    settings = {"group_size": 1, "temperature": 0.0}
    there, here = sample(trained, generator, **settings), sample(trained, None, **settings)
    assert torch.equal(there.completion_ids, here.completion_ids)
    assert torch.equal(there.completion_mask, here.completion_mask)
    assert there.completions == here.completions
    assert torch.equal(there.truncated, here.truncated)
    assert here.sampler_log_probs is None


def test_nothing_stays_in_the_weights_directory(
    trained: LoadedModel, generator: VLLMServer, server: Any, tmp_path: Path
) -> None:
    for _ in range(2):
        send_weights(generator, trained.model, Accelerator(cpu=True))
    sent = [body["kwargs"]["weights_path"] for body in server.posted("/collective_rpc")]
    assert len(set(sent)) == 2  # vLLM has been seen to remember what it read from a path
    assert list((tmp_path / "weights").iterdir()) == []


def test_what_is_asked_for(trained: LoadedModel, generator: VLLMServer, server: Any) -> None:
    sample(trained, generator, seed=3, step=5)
    (text,), chats = server.posted("/v1/completions"), server.posted("/v1/chat/completions")
    assert len(chats) == 2
    assert len({body["seed"] for body in [text, *chats]}) == 3
    for body in [text, *chats]:
        assert body["n"] == 4
        assert body["max_tokens"] == 12
        assert body["temperature"] == 0.7
        assert body["stop_token_ids"] == trained.eos_token_ids
        assert body["logit_bias"] == {str(token): -100.0 for token in trained.forbidden_token_ids}
        assert body["return_token_ids"]
    assert text["logprobs"] == 0
    assert text["prompt"] == trained.encode([EXAMPLES[1].question], [EXAMPLES[1]], CPU).inputs["input_ids"][0].tolist()
    assert chats[0]["logprobs"]
    sample(trained, generator, seed=3, step=5)
    assert server.posted("/v1/completions")[1] == text


def test_a_whole_chat_reaches_the_server_as_the_model_in_training_reads_it(
    trained: LoadedModel, generator: VLLMServer, server: Any
) -> None:
    """System prompt, shots, arguments, and pictures in their places: the server's token ids are compared with ours."""
    (picture,) = EXAMPLES[0].images
    asking = Asking(
        prompt="look: {question}", system="be brief", shots=[("1+1=?", "2")], chat_arguments={"enable_thinking": False}
    )
    between = Example("between", "is <image> like <image>?", "", (picture, *EXAMPLES[2].images))
    prompts = [asking.ask(example) for example in (between, *EXAMPLES)]
    rollout = roll_out(
        trained, prompts, group_size=2, max_new_tokens=4, temperature=1.0, device=CPU, generator=generator
    )
    assert len(rollout.completions) == 8
    asked = server.posted("/v1/chat/completions")
    assert len(asked) == 3
    assert all(body["chat_template_kwargs"] == {"enable_thinking": False} for body in asked)
    kinds = {tuple(part["type"] for part in body["messages"][-1]["content"]) for body in asked}
    assert kinds == {("text", "image_url", "text", "image_url", "text"), ("image_url", "text")}


def seeds_of(rollout: Rollout, step: int = 0) -> list[int]:
    return [request.seed for request in generation_requests(rollout.prompts, rollout.encoded, 0, step)]


def flat(trainer: Trainer) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in trainer.loaded.model.parameters()])


def test_a_step_through_the_server_is_the_local_step(
    small: Small, server: Any, through_server: list[str], pretrained: list[str]
) -> None:
    """The same completions come back: same loss, gradient and weights afterwards; importance ratios of 1."""
    local = Trainer(small(*pretrained).experiment)
    expected = local.step()
    assert expected.metrics["gradient_norm"] > 0.1
    for rollout in expected.batch.rollouts:
        completions = zip(rollout.completion_ids, rollout.completion_mask.bool(), strict=True)
        rows = [ids[mask].tolist() for ids, mask in completions]
        for p, seed in enumerate(seeds_of(rollout)):
            server.answers[seed] = rows[p * rollout.group_size : (p + 1) * rollout.group_size]
    remote = Trainer(small(*through_server).experiment)
    found = remote.step()
    assert [r.completions for r in found.batch.rollouts] == [r.completions for r in expected.batch.rollouts]
    for name in ("loss", "gradient_norm", "entropy"):
        assert found.metrics[name] == pytest.approx(expected.metrics[name], rel=1e-3), name
    start = flat(Trainer(small(*pretrained).experiment))
    moved = flat(local) - start
    # Adam takes a whole step where a gradient is nearly 0 and its sign a matter of rounding: compared as a whole.
    assert (flat(remote) - flat(local)).norm() < 1e-3 * moved.norm()
    assert found.metrics["sampler_ratio"] == pytest.approx(1, abs=1e-3)
    assert found.metrics["sampler_difference"] < 1e-4
    assert found.metrics["sampler_capped"] == 0
    assert "sampler_ratio" not in expected.metrics


def test_every_step_samples_with_the_weights_of_the_last_update(
    small: Small, server: Any, through_server: list[str]
) -> None:
    bindings = ["adamw.learning_rate = 1e-3", "adamw.schedule = 'constant'", "adamw.warmup_fraction = 0.0"]
    trainer = Trainer(small(*through_server, *bindings).experiment)
    for step in range(3):
        metrics = trainer.step().metrics
        assert metrics["sampler_difference"] < 1e-3
        assert metrics["sync_difference"] < 1e-4
        assert len(server.posted("/collective_rpc")) == step + 1
    trainer.models.samplers_are_stale = False  # as if the third update were none
    stale = trainer.step().metrics
    assert stale["sampler_difference"] > 0.01
    assert abs(stale["sampler_ratio"] - 1) > 1e-3


class Always:
    quick = True

    def __call__(self, completion: str, example: Example) -> float:
        return float(len(completion) % 2)


def test_evaluation_asks_the_same_generator(trained: LoadedModel, generator: VLLMServer, server: Any) -> None:
    send_weights(generator, trained.model, Accelerator(cpu=True))
    capability = Capability(name="c", source=Counting(), verifier=Always(), examples=4, max_new_tokens=6)
    with RewardWorkers(workers=1) as workers:
        here = evaluate(trained, [capability], workers, Accelerator(cpu=True))
        assert not server.posted("/v1/chat/completions")
        there = evaluate(trained, [capability], workers, Accelerator(cpu=True), generator)
    assert here == there
    asked = server.posted("/v1/chat/completions")
    assert len(asked) == 4
    assert all(body["temperature"] == 0 and body["n"] == 1 for body in asked)


def test_a_run_sends_weights_once_per_update(
    small: Small, server: Any, through_server: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first evaluation, then before whatever samples first after an update."""
    held_out = ["c/Capability.source = @replay.arithmetic()", "c/Capability.verifier = @verifiers.accuracy()"]
    bindings = [*held_out, "c/Capability.examples = 4", "train.capabilities = [@c/Capability()]", "train.steps = 2"]
    monkeypatch.setattr(
        "recap.runs.run.Tracker", lambda *given, **named: Tracker(*given, **{**named, "enabled": False})
    )
    run = Run(small(*through_server, *bindings).experiment, tmp_path / "run")
    scores = run.execute()
    assert scores.keys() == {0, 2}
    assert len(server.posted("/collective_rpc")) == 3


def test_a_forbidden_token_ends_its_completion(small: Small, server: Any, through_server: list[str]) -> None:
    """Its log-prob in training is -inf; the step must stay finite, even where it came first."""
    trainer = Trainer(small(*through_server, "grpo.skip_zero_advantage = False").experiment)
    drawn = trainer.draw()
    prompts = [prompt for _, prompt in drawn.drawn]
    forbidden = trainer.loaded.forbidden_token_ids[0]
    encoded = trainer.loaded.encode([p.text for p in prompts], [p.example for p in prompts], CPU)
    for request in generation_requests(prompts, encoded, 0, 0):
        server.answers[request.seed] = [[20, forbidden, 21], [forbidden, 22], [23, 24, 25], [forbidden]]
    trainer.draw = lambda: drawn  # type: ignore[method-assign]
    result = trainer.step()
    assert result.updated
    (rollout,) = result.batch.rollouts
    assert rollout.completion_mask.sum(1).tolist() == [1, 0, 3, 0] * len(rollout.prompts)
    assert rollout.truncated.all()
    assert all(math.isfinite(value) for value in result.metrics.values())


def test_log_probs_that_the_server_does_not_know(small: Small, server: Any, through_server: list[str]) -> None:
    """Such tokens count as sampled from the model itself."""

    def forget(path: str, answer: Any) -> Any:
        for choice in answer.get("choices", ()) if isinstance(answer, dict) else ():
            if "token_logprobs" in choice["logprobs"]:
                choice["logprobs"]["token_logprobs"][0] = None
            else:
                choice["logprobs"]["content"][0]["logprob"] = None
        return answer

    server.change = forget
    result = Trainer(small(*through_server).experiment).step()
    assert result.updated
    assert result.metrics["sampler_ratio"] == pytest.approx(1, abs=1e-3)


def edited(**changes: Any) -> Callable[[str, Any], Any]:
    """A server whose completions differ from vLLM's in these fields; None: the field is left out."""

    def change(path: str, answer: Any) -> Any:
        if isinstance(answer, dict) and "choices" in answer:
            for choice in answer["choices"]:
                choice.update(changes)
                for name in [name for name, value in changes.items() if value is None]:
                    del choice[name]
        return answer

    return change


MISBEHAVIOUR: dict[str, tuple[dict[str, Any], str]] = {
    "HTTP 500": ({"broken": {"/v1/completions": (500, b"CUDA out of memory")}}, "HTTP 500: CUDA out of memory"),
    "not JSON": ({"broken": {"/v1/completions": (200, b"<html>")}}, "something else than JSON"),
    "no choices": ({"broken": {"/v1/completions": (200, b"{}")}}, "has no choices"),
    "too few": ({"broken": {"/v1/completions": (200, b'{"choices": []}')}}, "asked for 4 completions"),
    "no token ids": ({"change": edited(token_ids=None)}, "has no token_ids"),
    "no log-probs": ({"change": edited(logprobs=None)}, "has no logprobs"),
    "null log-probs": ({"change": edited(logprobs={"token_logprobs": None})}, "with 0 log-probs"),
    "broken off": ({"change": edited(finish_reason="abort")}, "finish_reason 'abort'"),
    "too long": ({"change": edited(token_ids=[20] * 13, logprobs={"token_logprobs": [0.0] * 13})}, "gave 13 tokens"),
    "another tokenizer": ({"change": edited(prompt_token_ids=[1, 2])}, "same checkpoint, chat template"),
}


@pytest.mark.parametrize("case", MISBEHAVIOUR)
def test_an_answer_that_cannot_be_used_is_one_readable_error(
    trained: LoadedModel, generator: VLLMServer, server: Any, case: str
) -> None:
    behaviour, message = MISBEHAVIOUR[case]
    for name, value in behaviour.items():
        setattr(server, name, value)
    with pytest.raises(GeneratorError) as raised:
        sample(trained, generator)
    assert message in str(raised.value)
    assert f"vllm_server.url = '{server.url}'" in str(raised.value)


SETUPS: dict[str, tuple[dict[str, Any], str]] = {
    "another server": ({"broken": {"/v1/models": (404, b"nothing here")}}, "HTTP 404: nothing here"),
    "no development mode": ({"broken": {"/server_info": (404, b"Not Found")}}, "VLLM_SERVER_DEV_MODE=1"),
    "raw log-probs": ({"logprobs_mode": "raw_logprobs"}, "--logprobs-mode processed_logprobs"),
}


@pytest.mark.parametrize("case", SETUPS)
def test_a_server_that_is_set_up_wrongly_is_found_before_the_model_is_loaded(
    small: Small, server: Any, through_server: list[str], case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    behaviour, message = SETUPS[case]
    for name, value in behaviour.items():
        setattr(server, name, value)
    experiment = small(*through_server).experiment
    monkeypatch.setattr(experiment.model, "load", lambda: pytest.fail("the model was loaded"), raising=False)
    with pytest.raises(GeneratorError) as raised:
        Trainer(experiment)
    assert message in str(raised.value)
    assert server.url in str(raised.value)


def test_a_dead_server() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(GeneratorError, match=f"vllm_server.url = '{url}'.*is the server running there"):
        VLLMServer(url=url, weights_directory="w").connect()


def test_a_server_that_takes_too_long(trained: LoadedModel, server: Any) -> None:
    slow = VLLMServer(url=server.url, weights_directory="w", timeout_s=1.5)
    slow.connect()
    with server.lock, pytest.raises(GeneratorError, match=r"timed out"):
        sample(trained, slow)


def test_weights_that_the_server_cannot_load(trained: LoadedModel, generator: VLLMServer, server: Any) -> None:
    server.broken = {"/collective_rpc": (500, b"no such tensor")}
    with pytest.raises(GeneratorError, match=r"/collective_rpc was answered with HTTP 500: no such tensor"):
        send_weights(generator, trained.model, Accelerator(cpu=True))
    assert generator.weights_directory is not None
    assert list(Path(generator.weights_directory).iterdir()) == []


@pytest.mark.parametrize("settings", [{"url": "127.0.0.1:8000"}, {"url": "ftp://x"}, {"timeout_s": 0}])
def test_settings_that_cannot_work(settings: dict[str, Any]) -> None:
    with pytest.raises(GeneratorError, match=f"vllm_server.{next(iter(settings))}"):
        VLLMServer(**settings)


TWO_PROCESSES = """
import json, sys
from recap.experiment.config import load_config
from recap.learning.trainer import Trainer
trainer = Trainer(load_config("experiments/quickstart.gin", json.loads(sys.argv[1])).experiment)
with trainer.experiment.rewards:
    steps = [trainer.step().metrics for _ in range(2)]
sys.stdout.write("RANK " + json.dumps([trainer.accelerator.process_index, [
    {k: s[k] for k in ("loss", "sampler_difference", "sampler_ratio")} for s in steps]]) + "\\n")
"""


def test_two_processes_share_a_server(
    small_bindings: list[str], server: Any, through_server: list[str], tmp_path: Path
) -> None:
    """Each sends its own prompts; the main process alone sends weights, before anyone samples with them."""
    script = tmp_path / "steps.py"
    script.write_text(TWO_PROCESSES)
    done = torchrun(str(script), json.dumps([*small_bindings, *through_server, "adamw.learning_rate = 1e-3"]))
    assert done.returncode == 0, done.stderr[-3000:]
    found = dict(json.loads(line.split("RANK ", 1)[1]) for line in done.stdout.splitlines() if "RANK " in line)
    assert found[0] == found[1]
    assert all(step["sampler_difference"] < 1e-3 for step in found[0])
    assert len(server.posted("/collective_rpc")) == 2
    asked = [body for path, body in server.posts if path.startswith("/v1/")]
    seeds = [body["seed"] for body in asked if "prompt_logprobs" not in body]
    assert len(seeds) == len(set(seeds))  # no prompt was asked twice
