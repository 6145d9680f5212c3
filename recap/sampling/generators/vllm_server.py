"""`vllm_server`: completions from vLLM's own HTTP server."""

from __future__ import annotations

import base64
import io
import math
import time
import urllib.parse
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import gin
import torch
from torch import Tensor

from recap.sampling.generators.base import (
    FORBIDDEN_BIAS,
    Completion,
    GenerationRequest,
    Generator,
    GeneratorError,
    check_prompt_ids,
    require,
)
from recap.sampling.generators.http import JsonServer
from recap.sampling.generators.transfer import FileTransfer, NCCLTransfer, WeightTransfer
from registry.backends.base import LoadedModel

if TYPE_CHECKING:
    from accelerate import Accelerator
    from PIL.Image import Image

CONCURRENT_REQUESTS = 64  # vLLM batches what waits; more would only queue
NEUTRAL = {"top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
NEUTRAL |= {"presence_penalty": 0.0, "frequency_penalty": 0.0}
"""vLLM takes what a request leaves out from the checkpoint's generation_config: another distribution than is trained."""


@gin.configurable("vllm_server", module="recap")
@dataclass(kw_only=True)
class VLLMServer(Generator):
    """Completions from a vLLM server (`vllm serve`, versions 0.22 to 0.32).

    The protocol is vLLM's own: `/v1/completions` with token ids, `/v1/chat/completions` where a prompt has images, and the
    development endpoints for weights, as TRL 1.16 uses them. It has been run with vLLM's build for CPUs, 0.32, by `make
    test-vllm`, **never with one on a GPU**. `docs/generation.md` has the server's command line.

    - One request per prompt, with a seed of its own. The same seeds need not give the same completions: vLLM's rounding
      depends on what else is in the batch.
    - Forbidden tokens get the bias -100; one that is sampled all the same ends its completion, see `collate`.
    - Each training process sends its own prompts; the main process alone sends weights, while the others wait.

    Args:
        url: scheme, host and port.
        weights_directory: a folder that server and main process see under the same path, through which weights are sent;
            None: they are sent over NCCL, which needs vLLM (the extra `vllm`) and a GPU in the training process as well.
        timeout_s: how long the server may take for one answer: the completions of a prompt, or loading weights.

    Raises:
        GeneratorError: a url that is none, a time-out that is not positive.
    """

    url: str = "http://127.0.0.1:8000"
    weights_directory: str | None = None
    timeout_s: float = 600.0
    _model: str = field(default="", init=False, repr=False)
    _device: torch.device = field(default=torch.device("cpu"), init=False, repr=False)
    _transfer: WeightTransfer | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        parsed = urllib.parse.urlparse(self.url)
        if parsed.scheme not in ("http", "https") or not parsed.netloc:
            raise GeneratorError(f"vllm_server.url must look like 'http://127.0.0.1:8000'; it is {self.url!r}")
        if self.timeout_s <= 0:
            raise GeneratorError(f"vllm_server.timeout_s must be > 0; it is {self.timeout_s}")

    @property
    def server(self) -> JsonServer:
        return JsonServer(self.url, self.timeout_s, "vllm_server.url")

    @property
    def where(self) -> str:
        return self.server.where

    @property
    def wants_every_name(self) -> bool:
        """`reload_weights` loads layer by layer. On CPUs an output head that is not named keeps its packed copy of the old
        weights, though it shares its memory with the embedding; elsewhere a head that is named does no harm. Over NCCL, where
        nothing is packed, it would only cost.
        """
        return self.weights_directory is not None

    def check(self) -> None:
        if self.weights_directory is None:
            require(["vllm", "trl"], "vllm_server without weights_directory")

    def connect(self) -> None:
        server = self.server
        self._model = _field(server.get("/v1/models"), server, "/v1/models", "data", 0, "id")
        try:
            information = server.get("/server_info?config_format=json")
        except GeneratorError as error:
            raise GeneratorError(
                f"{error}\n  start the server with VLLM_SERVER_DEV_MODE=1 in its environment"
            ) from error
        mode = _field(information, server, "/server_info", "vllm_config", "model_config", "logprobs_mode")
        if mode != "processed_logprobs":
            raise GeneratorError(
                f"{server.where} reports {mode}, not log-probs of the distribution that it samples from: start it with"
                " --logprobs-mode processed_logprobs"
            )

    def start(self, loaded: LoadedModel, accelerator: Accelerator) -> None:
        self._device = accelerator.device
        self._transfer = None

    def sync(self, parameters: Iterable[tuple[str, Tensor]]) -> None:
        if self._transfer is None:
            self._transfer = (
                NCCLTransfer(self.server, self._device)
                if self.weights_directory is None
                else FileTransfer(self.server, self.weights_directory)
            )
        self._transfer.send(parameters)
        self._forget_old_weights()

    def _forget_old_weights(self) -> None:
        """Keys, values and image features that the server remembers are those of the weights before."""
        for _ in range(50):
            answer = self.server.post("/reset_prefix_cache")  # nothing before 0.26, then whether it succeeded
            if not isinstance(answer, dict) or answer.get("success", True):
                break
            time.sleep(0.1)
        else:
            raise GeneratorError(
                f"{self.server.where}: the prefix cache of the old weights cannot be reset: is the server also used by"
                " somebody else?"
            )
        self.server.post("/reset_encoder_cache")

    def generate(
        self,
        loaded: LoadedModel,
        requests: Sequence[GenerationRequest],
        *,
        group_size: int,
        max_new_tokens: int,
        temperature: float,
    ) -> list[Completion]:
        settings = {
            "model": self._model,
            "n": group_size,
            "max_tokens": max_new_tokens,
            "temperature": temperature,
            **NEUTRAL,
            "logit_bias": {str(token): FORBIDDEN_BIAS for token in loaded.forbidden_token_ids},
            "stop_token_ids": loaded.eos_token_ids,
            "return_token_ids": True,
        }

        def ask(request: GenerationRequest) -> list[Completion]:
            return self._complete(request, {**settings, "seed": request.seed})

        with ThreadPoolExecutor(max_workers=max(1, min(CONCURRENT_REQUESTS, len(requests)))) as pool:
            return [completion for group in pool.map(ask, requests) for completion in group]

    def score(self, loaded: LoadedModel, request: GenerationRequest) -> list[float]:
        settings = {"model": self._model, "n": 1, "max_tokens": 1, "temperature": 0.0, **NEUTRAL, "seed": request.seed}
        settings |= {"return_token_ids": True, "prompt_logprobs": 0}
        server, chat = self.server, bool(request.images)
        path = "/v1/chat/completions" if chat else "/v1/completions"
        prompt = chat_prompt(request) if chat else {"prompt": request.token_ids}
        answer = server.post(path, {**settings, **prompt})
        holder = answer if chat else _field(answer, server, path, "choices", 0)
        check_prompt_ids(_field(holder, server, path, "prompt_token_ids"), request, server.where)
        positions = zip(request.token_ids[1:], range(1, len(request.token_ids)), strict=True)
        return [float(_field(holder, server, path, "prompt_logprobs", t, str(i), "logprob")) for i, t in positions]

    def _complete(self, request: GenerationRequest, settings: dict[str, Any]) -> list[Completion]:
        """The completions of one prompt."""
        server, chat = self.server, bool(request.images)
        path = "/v1/chat/completions" if chat else "/v1/completions"
        if chat:
            answer = server.post(path, {**settings, **chat_prompt(request), "logprobs": True, "top_logprobs": 0})
        else:
            answer = server.post(path, {**settings, "prompt": request.token_ids, "logprobs": 0})
        choices = _field(answer, server, path, "choices")
        if not isinstance(choices, list) or len(choices) != settings["n"]:
            raise GeneratorError(f"{server.where}: {path} was asked for {settings['n']} completions and gave others")
        for holder in [answer] if chat else choices:
            check_prompt_ids(_field(holder, server, path, "prompt_token_ids"), request, server.where)
        return [read_choice(choice, server, path, settings["max_tokens"]) for choice in choices]


def chat_prompt(request: GenerationRequest) -> dict[str, Any]:
    """A prompt with images as messages: what `LoadedModel.chat` writes."""
    images = [{"type": "image_url", "image_url": {"url": data_url(image)}} for image in request.images]
    asked: dict[str, Any] = {"messages": request.chat.messages(images, in_parts=True)}
    return asked | ({"chat_template_kwargs": dict(request.chat.arguments)} if request.chat.arguments else {})


def data_url(image: Image) -> str:
    """The picture as PNG, which loses nothing."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def read_choice(choice: Any, server: JsonServer, path: str, max_new_tokens: int) -> Completion:
    """One completion of an answer.

    Raises:
        GeneratorError: it is incomplete, or was broken off by the server.
    """
    token_ids = _field(choice, server, path, "token_ids")
    log_probs = _field(choice, server, path, "logprobs")
    if isinstance(log_probs, dict) and "content" in log_probs:  # chat
        log_probs = [_field(entry, server, path, "logprob") for entry in log_probs["content"] or ()]
    else:
        log_probs = _field(log_probs, server, path, "token_logprobs")
    reason = choice.get("finish_reason")
    if reason not in ("stop", "length"):
        raise GeneratorError(f"{server.where}: {path} gave a completion that was broken off: finish_reason {reason!r}")
    tokens, known = (len(part) if isinstance(part, list) else 0 for part in (token_ids, log_probs))
    if not 0 < tokens <= max_new_tokens or known != tokens:
        raise GeneratorError(
            f"{server.where}: {path} gave {tokens} tokens with {known} log-probs where at most {max_new_tokens} with one"
            " each were asked for"
        )
    return Completion(list(token_ids), [math.nan if value is None else float(value) for value in log_probs])


def _field(answer: Any, server: JsonServer, path: str, *keys: str | int) -> Any:
    """A field of an answer. Raises GeneratorError: it is not there."""
    for key in keys:
        try:
            answer = answer[key]
        except (KeyError, IndexError, TypeError) as error:
            raise GeneratorError(
                f"{server.where}: the answer of {path} has no {'.'.join(map(str, keys))}; is this a vLLM server, 0.22 or"
                f" later? It said: {str(answer)[:200]}"
            ) from error
    return answer
