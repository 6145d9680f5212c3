"""What the loss of a model keeps in memory, found by running it without data: shapes only, on fake tensors.

The model's own modules, autocast, checkpointing and autograd run as they would; a tensor has a shape, a precision and a
lifetime, but no values. A forward and backward of a 7 B model over ten thousand tokens takes seconds on a laptop and no
memory, and needs no formula for the inside of a layer, which differs by family, precision and adapter.
"""

from __future__ import annotations

import logging
import weakref
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, LlamaConfig, LlamaModel, PreTrainedModel

from recap.model.activations import checkpoint_activations
from recap.model.adapters import LoRA
from recap.model.packed_attention import Layout, has_kernel
from recap.model.packing import PackedPrompts, why_not_packed
from recap.model.token_scores import token_scores

TRACED = 64
"""Chunks of logits that are traced of a loss; each is as the one before, and a long completion has thousands."""


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the tensors that are made inside it, as long as they live; by kind.

    Kinds: 'casts' of parameters to another precision, 'logits' (a last dimension as long as the vocabulary), 'gradients' of
    parameters, and 'activations', everything else. Temporary memory inside of a kernel is not seen.

    Args:
        model: whose parameters are cast and have gradients.
        vocabulary: V; None: nothing counts as logits.

    Attributes:
        now: kind -> bytes.
        peak: kind -> bytes, when their sum was highest.
    """

    def __init__(self, model: nn.Module, vocabulary: int | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now: Counter[str] = Counter()
        self.peak: Counter[str] = Counter()
        self.vocabulary = vocabulary
        self._parameters = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
        self._kinds: dict[int, tuple[str, int]] = {}  # by storage

    def __torch_dispatch__(
        self, function: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._see(tensor, function, args)
        return result

    def mark_gradient(self, gradient: Tensor) -> None:
        """Says that a tensor is the gradient of a parameter."""
        key = gradient.untyped_storage()._cdata
        if key in self._kinds:
            kind, size = self._kinds[key]
            self._kinds[key] = ("gradients", size)
            self.now[kind] -= size
            self.now["gradients"] += size

    def _see(self, tensor: Tensor, function: Any, args: tuple[Any, ...]) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._kinds or key in self._parameters:
            return
        kind = "activations"
        if self.vocabulary is not None and tensor.dim() and tensor.shape[-1] == self.vocabulary:
            kind = "logits"
        elif function is torch.ops.aten._to_copy.default and args[0].untyped_storage()._cdata in self._parameters:
            kind = "casts"
        self._kinds[key] = (kind, size)
        weakref.finalize(storage, self._forget, key)
        self.now[kind] += size
        if self.now.total() > self.peak.total():
            self.peak = self.now.copy()

    def _forget(self, key: int) -> None:
        kind, size = self._kinds.pop(key)
        self.now[kind] -= size


@dataclass(frozen=True, kw_only=True)
class LossShape:
    """One forward and backward of the loss.

    Attributes:
        prompts: P, each in one row with its completions; where the model cannot share a prompt, a row per completion.
        group_size: G.
        prompt_length: L.
        completion_length: T.
        patches: of the pictures in all rows, as the vision tower sees them.
        shares: whether the prompt of a group is computed once, where the model can.
        chunk: predicted tokens whose logits exist at a time; None: all.
        bf16: whether the arithmetic is bf16 under autocast.
        checkpointed: whether backward computes the layers again.
        keeps_gradients: False: gradients are put where memory for all of them is held already.
    """

    prompts: int
    group_size: int
    prompt_length: int
    completion_length: int
    patches: int = 0
    shares: bool = True
    chunk: int | None = 256
    bf16: bool = False
    checkpointed: bool = False
    keeps_gradients: bool = True


def skeleton(
    config: Any, dtype: torch.dtype, adapter: LoRA | None = None, attention: str | None = None
) -> PreTrainedModel:
    """A model of this configuration on the meta device."""
    sees = type(config) in AutoModelForImageTextToText._model_mapping
    kind = AutoModelForImageTextToText if sees else AutoModelForCausalLM
    if attention is not None and attention.startswith("flash"):  # whose kernels are not here; sdpa keeps as much
        attention = "sdpa"
    options = {} if attention is None else {"attn_implementation": attention}
    with torch.device("meta"):
        model: PreTrainedModel = kind.from_config(config, dtype=dtype, **options)
        if adapter is not None:
            adapter.attach(model, 0)
    return model


def trace_loss(model: PreTrainedModel, shape: LossShape) -> tuple[Counter[str], Counter[str]]:
    """Bytes by kind that a loss takes beside the parameters: at its peak, and when its forward has ended.

    Of a picture only what the vision tower keeps for backward is counted (`trace_tower`).

    Args:
        model: a `skeleton`; it is of no other use afterwards.
    """
    text = model.config.get_text_config()
    heads, grouped = text.num_attention_heads, getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // heads
    # Tried on small tensors at its first use and remembered; on fake ones it could not be.
    has_kernel("cpu", torch.bfloat16 if shape.bf16 else model.dtype, width, heads // grouped)
    complaints = logging.getLogger("torch._subclasses.fake_tensor")
    complaints.disabled = True  # what cannot be traced is an exception, which is enough
    try:
        with FakeTensorMode():
            return _trace_loss(model.train(), shape)
    finally:
        complaints.disabled = False


def _trace_loss(model: PreTrainedModel, shape: LossShape) -> tuple[Counter[str], Counter[str]]:
    _to_fake_cpu(model)
    if shape.checkpointed:
        checkpoint_activations(model)
    seen_before, tower = Counter[str](), _tower(model)
    if shape.patches and tower is not None and any(parameter.requires_grad for parameter in tower.parameters()):
        seen_before = trace_tower(model.config.vision_config, shape, next(tower.parameters()).dtype)
    vocabulary = model.get_output_embeddings().weight.shape[0]
    live = LiveBytes(model, vocabulary)
    handles = _watch_gradients(model, live, keep=shape.keeps_gradients)
    with live:
        with torch.autocast("cpu", torch.bfloat16, enabled=shape.bf16):
            log_probs = _log_probs(model, shape)
        after_forward = live.now.copy()
        log_probs.sum().backward()  # type: ignore[no-untyped-call]
    for handle in handles:
        handle.remove()
    return live.peak + seen_before, after_forward + seen_before


def _log_probs(model: PreTrainedModel, shape: LossShape) -> Tensor:
    """What `Scorer` computes; nothing is padded."""
    completions, spoken = shape.prompts * shape.group_size, max(1, shape.completion_length - 1)
    inputs: dict[str, Any] = {}
    rows, length = completions, shape.prompt_length + spoken
    if shape.shares and why_not_packed(model) is None:
        rows, length = shape.prompts, shape.prompt_length + shape.group_size * spoken
        inputs = {
            "attention_mask": torch.ones(1, 1, 1, 1, dtype=torch.bool),
            "shared_prompts": PackedPrompts(_complete_layout(shape, spoken)),
        }
    leading = (3,) if hasattr(model.base_model, "get_rope_index") else ()
    states = model.base_model(
        input_ids=torch.zeros(rows, length, dtype=torch.long),
        position_ids=torch.zeros(*leading, rows, length, dtype=torch.long),
        use_cache=False,
        **inputs,
    ).last_hidden_state.flatten(0, 1)
    predicted = completions * shape.completion_length
    states = states.index_select(0, torch.zeros(predicted, dtype=torch.long))
    ids = torch.zeros(predicted, dtype=torch.long)
    chunk = predicted if shape.chunk is None else shape.chunk
    scored = min(predicted, TRACED * chunk)
    states, others = states.split([scored, predicted - scored])
    log_probs, _ = token_scores(model.get_output_embeddings(), states, ids[:scored], [], 1.0, chunk)
    # A token that is scored like those keeps its log-prob and entropy, and has a gradient in backward; no logits any more.
    alike = (others * 1.0).sum(-1).float()
    return torch.cat([log_probs, alike])


def _complete_layout(shape: LossShape, spoken: int) -> Layout:
    """Of groups whose completions are all of one length: no index is asked for."""
    real = torch.ones(shape.prompts * shape.group_size, spoken, dtype=torch.bool)
    written = torch.ones(shape.prompts, shape.group_size * spoken, dtype=torch.bool)
    return Layout(shape.prompt_length, None, shape.group_size, real, (real, real), (written, written), written, True)


def trace_tower(config: Any, shape: LossShape, dtype: torch.dtype) -> Counter[str]:
    """Bytes by kind that a vision tower keeps for backward.

    Towers read sizes and windows of pictures from tensors, which have no values here. In their place a decoder of the same
    depth and widths runs over the patches: both are blocks of norms, rotary attention and a gated MLP.
    """
    width = config.hidden_size
    depth = getattr(config, "depth", None) or config.num_hidden_layers
    heads = getattr(config, "num_heads", None) or config.num_attention_heads
    like = LlamaConfig(
        vocab_size=1,
        hidden_size=width,
        intermediate_size=getattr(config, "intermediate_size", 4 * width),
        num_hidden_layers=depth,
        num_attention_heads=heads,
        bos_token_id=None,
        eos_token_id=None,
        attn_implementation="sdpa",
    )
    tower: PreTrainedModel = LlamaModel._from_config(like, dtype=dtype).train()
    if shape.checkpointed:
        checkpoint_activations(tower)
    live = LiveBytes(tower)
    with live, torch.autocast("cpu", torch.bfloat16, enabled=shape.bf16):
        patches = torch.zeros(1, shape.patches, width, dtype=dtype)
        states = tower(inputs_embeds=patches, use_cache=False).last_hidden_state
    kept = live.now.copy()
    del states
    return kept


def _to_fake_cpu(model: nn.Module) -> None:
    """Moves a model from the meta device to a CPU of fake tensors: autocast is one of devices that exist."""
    moved: dict[int, Tensor] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                if id(parameter) not in moved:
                    like = torch.empty(parameter.shape, dtype=parameter.dtype, device="cpu")
                    moved[id(parameter)] = nn.Parameter(like, requires_grad=parameter.requires_grad)
                module._parameters[name] = cast(nn.Parameter, moved[id(parameter)])
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype, device="cpu")


def _tower(model: PreTrainedModel) -> nn.Module | None:
    tower: nn.Module | None = getattr(model.base_model, "visual", None) or getattr(
        model.base_model, "vision_tower", None
    )
    return tower


def _watch_gradients(model: nn.Module, live: LiveBytes, *, keep: bool) -> list[Any]:
    def hook(parameter: Tensor) -> None:
        if keep and parameter.grad is not None:
            live.mark_gradient(parameter.grad)
        else:
            parameter.grad = None

    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [parameter.register_post_accumulate_grad_hook(hook) for parameter in trained]  # type: ignore[no-untyped-call]
