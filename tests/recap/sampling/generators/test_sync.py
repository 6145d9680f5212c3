"""Whether weights that were sent have arrived: a fixed prompt under both engines, after every sync."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from recap.experiment.config import LoadedConfig
from recap.learning.trainer import Trainer
from recap.model.weights import whole_parameters
from recap.sampling.generators import GeneratorError, VLLMServer
from recap.sampling.generators.sync import WeightSync
from registry.backends.base import LoadedModel
from registry.backends.tiny_qwen2_5_vl import TinyQwen2_5_VL
from tests.processes import torchrun

Small = Callable[..., LoadedConfig]
HEAD = "lm_head.weight"


def move(loaded: LoadedModel, name: str | None = None, scale: float = 0.02) -> None:
    """An update of one tensor, or of all."""
    random = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for found, parameter in loaded.model.named_parameters(remove_duplicate=False):
            if name in (None, found):
                parameter.add_(scale * torch.randn(parameter.shape, generator=random))


def test_every_name_of_a_tied_tensor_is_sent(trained: LoadedModel, generator: VLLMServer, server: Any) -> None:
    assert trained.model.lm_head.weight is trained.model.get_input_embeddings().weight
    sync = WeightSync(generator, Accelerator(cpu=True))
    sync(trained)
    assert sync.floor == sync.difference
    assert sync.floor < 1e-5
    move(trained, HEAD)
    sync(trained)
    assert sync.difference < 1e-5
    assert torch.equal(server.loaded.model.lm_head.weight, trained.model.lm_head.weight)


@pytest.mark.parametrize("lost", [HEAD, "model.language_model.embed_tokens.weight", "visual", "layers.1.mlp"])
def test_a_tensor_that_does_not_arrive_stops_the_run(
    trained: LoadedModel, generator: VLLMServer, server: Any, lost: str
) -> None:
    """At the first update of it, since what it was before is what the server had."""
    sync = WeightSync(generator, Accelerator(cpu=True))
    sync(trained)
    server.lost = {name for name, _ in trained.model.named_parameters(remove_duplicate=False) if lost in name}
    assert server.lost
    move(trained)
    with pytest.raises(
        GeneratorError, match=r"did not arrive as they are: .* differ by .* before the first update"
    ) as raised:
        sync(trained)
    assert f"vllm_server.url = '{server.url}'" in str(raised.value)


def test_a_first_difference_that_cannot_be_rounding(trained: LoadedModel, generator: VLLMServer, server: Any) -> None:
    server.lost = set(server.loaded.model.state_dict())
    move(server.loaded, scale=0.3)
    with pytest.raises(GeneratorError, match="before any update, where rounding is all that may differ"):
        WeightSync(generator, Accelerator(cpu=True))(trained)


def test_rounding_is_no_reason_to_stop(trained: LoadedModel, generator: VLLMServer, server: Any) -> None:
    """40 syncs with a noise as of bf16; each difference is a mean over some 80 tokens, so that none is twice another."""
    server.noise = 0.03
    sync = WeightSync(generator, Accelerator(cpu=True))
    found = []
    for _ in range(40):
        sync(trained)
        found.append(sync.difference)
        move(trained, scale=1e-3)
    assert sync.floor == found[0]
    assert min(found) > 0.01
    assert max(found) < 2 * min(found)


def test_a_log_prob_that_is_no_number_stops_the_run(
    trained: LoadedModel, generator: VLLMServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = WeightSync(generator, Accelerator(cpu=True))
    sync(trained)
    monkeypatch.setattr(generator, "score", lambda loaded, request: [float("nan")] * (len(request.token_ids) - 1))
    with pytest.raises(GeneratorError, match="differ by nan"):
        sync(trained)


def test_where_pictures_are_refused_the_text_is_compared(
    trained: LoadedModel, generator: VLLMServer, server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server.broken = {"/v1/chat/completions": (400, b"at most 0 images may be provided")}
    sync = WeightSync(generator, Accelerator(cpu=True))
    sync(trained)
    sync(trained)
    assert sync.difference < 1e-5
    assert caplog.text.count("at most 0 images") == 1
    assert len(server.posted("/v1/completions")) == 2


def test_one_short_request_per_sync(trained: LoadedModel, generator: VLLMServer, server: Any) -> None:
    sync = WeightSync(generator, Accelerator(cpu=True))
    for _ in range(3):
        sync(trained)
    asked = [body for path, body in server.posts if path.startswith("/v1/")]
    assert len(asked) == 3
    assert all(body["max_tokens"] == 1 and body["prompt_logprobs"] == 0 for body in asked)


def test_the_model_stays_in_training_mode(trained: LoadedModel, generator: VLLMServer) -> None:
    trained.model.train()
    WeightSync(generator, Accelerator(cpu=True))(trained)
    assert trained.model.training
    assert all(parameter.grad is None for parameter in trained.model.parameters())


def test_a_run_stops_and_says_what_to_do(small: Small, server: Any, through_server: list[str]) -> None:
    bindings = ["adamw.learning_rate = 1e-3", "adamw.schedule = 'constant'", "adamw.warmup_fraction = 0.0"]
    trainer = Trainer(small(*through_server, *bindings).experiment)
    assert trainer.step().metrics["sync_difference"] < 1e-5
    server.lost = {HEAD}
    with pytest.raises(GeneratorError, match="try another one, or the other way of sending"):
        trainer.step()


TWO_PROCESSES = """
import json, sys
from recap.experiment.config import load_config
from recap.learning.trainer import Trainer
from recap.parallel.local_work import FailedTogether
from recap.sampling.generators import GeneratorError, VLLMServer
experiment = load_config("experiments/quickstart.gin", json.loads(sys.argv[1])).experiment
trainer = Trainer(experiment)
rank = trainer.accelerator.process_index
if sys.argv[2] == "own":  # as if each process had a generator of its own, of which one stays as it is
    VLLMServer.syncs_on_every_process = True
    if rank:
        VLLMServer.sync = lambda self, parameters: None
        score, first = VLLMServer.score, []
        VLLMServer.score = lambda *given: first[0] if first else first.append(score(*given)) or first[0]
if sys.argv[2] == "dies":  # an error of the engine's own, in one process
    def dead(self, parameters):
        raise RuntimeError("the engine has died")
    VLLMServer.syncs_on_every_process = True
    VLLMServer.sync = dead if rank else VLLMServer.sync
try:
    with experiment.rewards:
        trainer.step()
        trainer.step()
except GeneratorError as error:
    assert isinstance(error, FailedTogether), "they can write a checkpoint together"
    sys.stdout.write("RANK " + json.dumps([rank, str(error)]) + "\\n")
"""


@pytest.mark.parametrize("case", ["shared", "own", "refuses", "dies"])
def test_every_process_stops(
    case: str, small_bindings: list[str], server: Any, through_server: list[str], tmp_path: Path
) -> None:
    """Also where one process alone has seen it."""
    if case == "shared":
        server.lost = {HEAD}
        server.loaded.model.load_state_dict(
            dict(whole_parameters(TinyQwen2_5_VL(weights=None).load().model, every_name=True))
        )
    if case == "refuses":
        server.broken = {"/collective_rpc": (500, b"no such tensor")}
    script = tmp_path / "steps.py"
    script.write_text(TWO_PROCESSES)
    bindings = [*small_bindings, *through_server, "adamw.learning_rate = 1e-2", "adamw.schedule = 'constant'"]
    done = torchrun(str(script), json.dumps(bindings), case)
    assert done.returncode == 0, done.stderr[:6000]
    found = dict(json.loads(line.split("RANK ", 1)[1]) for line in done.stdout.splitlines() if "RANK " in line)
    assert found.keys() == {0, 1}
    assert found[0] == found[1]
    said = {"refuses": "no such tensor", "dies": "RuntimeError: the engine has died"}
    assert said.get(case, "did not arrive as they are") in found[0]
