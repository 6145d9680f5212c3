"""`vllm_colocated`: vLLM in the training process, on the same GPU."""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import gin
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
from registry.backends.base import LoadedModel

if TYPE_CHECKING:
    from accelerate import Accelerator


@gin.configurable("vllm_colocated", module="recap")
@dataclass(kw_only=True)
class VLLMColocated(Generator):
    """Completions from vLLM in each training process, on its GPU (extra `vllm`, versions 0.22 to 0.32).

    **Never run on a GPU**; with vLLM's build for CPUs, 0.32, by `make test-vllm`. The engine is set up as in TRL 1.16
    (`trl/generation/vllm_generation.py`), with one GPU per engine, and takes weights over by vLLM's `reload_weights`. It keeps
    its share of the memory while the model trains: there is no sleep mode.

    Args:
        gpu_memory_utilization: share of the GPU's memory that vLLM takes for its copy of the weights and its cache.
        max_model_len: tokens of prompt and completion; None: as many as the model can.

    Raises:
        GeneratorError: a share outside (0, 1).
    """

    syncs_on_every_process: ClassVar[bool] = True

    gpu_memory_utilization: float = 0.3
    max_model_len: int | None = None
    _llm: Any = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 < self.gpu_memory_utilization < 1:
            raise GeneratorError(
                f"vllm_colocated.gpu_memory_utilization must lie in (0, 1); it is {self.gpu_memory_utilization}"
            )

    @property
    def where(self) -> str:
        return "vllm_colocated"

    @property
    def wants_every_name(self) -> bool:
        return True  # as over files: `VLLMServer.wants_every_name`

    def check(self) -> None:
        require(["vllm"], "vllm_colocated")

    def start(self, loaded: LoadedModel, accelerator: Accelerator) -> None:
        from vllm import LLM

        # The launcher sets these only where there are several processes; vLLM's external launcher always wants them.
        ranks = {"RANK": accelerator.process_index, "LOCAL_RANK": accelerator.local_process_index}
        for name, value in {**ranks, "WORLD_SIZE": accelerator.num_processes}.items():
            os.environ[name] = str(value)
        os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
        os.environ.setdefault("MASTER_PORT", str(_free_port()))
        self._llm = LLM(
            model=loaded.model.name_or_path,
            tensor_parallel_size=1,
            gpu_memory_utilization=self.gpu_memory_utilization,
            max_model_len=self.max_model_len,
            dtype=_precision(loaded, accelerator),
            mm_processor_kwargs={"max_pixels": loaded.max_pixels} if loaded.max_pixels else None,
            distributed_executor_backend="external_launcher",
            logprobs_mode="processed_logprobs",  # those of the distribution that is sampled from
            seed=accelerator.process_index,
        )

    def sync(self, parameters: Iterable[tuple[str, Tensor]]) -> None:
        # In this process, so that an iterator can be handed over. The model's own `load_weights` would do on a GPU, but
        # leaves the copies of weights that vLLM has packed for its kernels as they were.
        self._llm.collective_rpc("reload_weights", kwargs={"weights_iterator": iter(parameters)})
        self._llm.reset_prefix_cache()
        self._llm.llm_engine.reset_encoder_cache()

    def score(self, loaded: LoadedModel, request: GenerationRequest) -> list[float]:
        from vllm import SamplingParams

        settings = SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=0)
        try:
            (output,) = self._llm.generate([_prompt(loaded, request)], sampling_params=[settings], use_tqdm=False)
        except ValueError as error:  # e.g. pictures that it was not set up for
            raise GeneratorError(f"vllm_colocated cannot score a prompt: {error}") from error
        check_prompt_ids(output.prompt_token_ids, request, "vllm_colocated")
        found = zip(output.prompt_token_ids[1:], output.prompt_logprobs[1:], strict=True)
        return [float(position[token].logprob) for token, position in found]

    def generate(
        self,
        loaded: LoadedModel,
        requests: Sequence[GenerationRequest],
        *,
        group_size: int,
        max_new_tokens: int,
        temperature: float,
    ) -> list[Completion]:
        from vllm import SamplingParams

        settings = {
            "n": group_size,
            "max_tokens": max_new_tokens,
            "temperature": temperature,
            "logit_bias": dict.fromkeys(loaded.forbidden_token_ids, FORBIDDEN_BIAS),
            "stop_token_ids": loaded.eos_token_ids,
            "logprobs": 0,
        }
        outputs = self._llm.generate(
            [_prompt(loaded, request) for request in requests],
            sampling_params=[SamplingParams(**settings, seed=request.seed) for request in requests],
            use_tqdm=False,
        )
        completions = []
        for request, output in zip(requests, outputs, strict=True):
            check_prompt_ids(output.prompt_token_ids, request, "vllm_colocated")
            for one in output.outputs:
                ids = list(one.token_ids)
                found = [position.get(token) for token, position in zip(ids, one.logprobs, strict=True)]
                completions.append(Completion(ids, [math.nan if entry is None else entry.logprob for entry in found]))
        return completions


def _precision(loaded: LoadedModel, accelerator: Accelerator) -> str:
    """That of the arithmetic in training: vLLM's own choice for float32 weights is float16."""
    if accelerator.mixed_precision == "bf16":
        return "bfloat16"
    return str(loaded.model.dtype).removeprefix("torch.")


def _prompt(loaded: LoadedModel, request: GenerationRequest) -> dict[str, Any]:
    """Token ids; with images the text in chat format: vLLM expands placeholders itself, and would do so twice with ids that
    are expanded already (huggingface/trl#6294)."""
    if not request.images:
        return {"prompt_token_ids": request.token_ids}
    text = loaded.chat(request.chat, len(request.images))
    return {"prompt": text, "multi_modal_data": {"image": list(request.images)}}


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
