"""The two sides of `tools/bench_step.py`: what a step of each is, its phases and its peak memory."""

from __future__ import annotations

import functools
import json
import os
import resource
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from PIL import Image

import recap.model.decoding
from recap.data.domains import Domain
from recap.experiment.experiment import Experiment
from recap.learning.trainer import Trainer
from recap.optimization.adamw import AdamW
from recap.rewards.workers import RewardWorkers
from recap.sampling.rollout import Sampling
from registry.backends.base import Backend, LoadedModel
from registry.backends.smollm2 import SmolLM2
from registry.backends.tiny_processor import (
    IMAGE,
    VIDEO,
    VISION_END,
    VISION_START,
    TinyProcessor,
    character_tokenizer,
)
from registry.backends.tiny_qwen2_5_vl import TinyQwen2_5_VL
from registry.example import Example
from registry.replay.base import ReplaySource
from registry.reweighting.uniform import Uniform

PHASES = ("prefill", "decode", "verify", "loss forward", "backward", "optimizer")
CONFIGS = Path(__file__).resolve().parent.parent / "experiments" / "models" / "configs"
WORDS = "the sum of two numbers stands after the equals sign and a box is given by its corners".split()  # noqa: SIM905


@dataclass(frozen=True)
class Case:
    """What both sides work on.

    Attributes:
        name: 'text', 'picture' or 'long'.
        prompts: P.
        group_size: G.
        completion_tokens: T; every completion is this long.
        prompt_words: of the question, about as many tokens in the text case, five times as many in the others.
        image_side: pixels.
        random_init: a model whose configuration is in experiments/models/configs, built with random weights, in bf16.
        trl_checkpointing: whether TRL recomputes activations, as it does unless told otherwise; recap never does.
    """

    name: str
    prompts: int
    group_size: int
    completion_tokens: int
    prompt_words: int
    image_side: int = 336
    random_init: str | None = None
    trl_checkpointing: bool = False


CASES = {
    "text": Case("text", prompts=4, group_size=4, completion_tokens=48, prompt_words=170),
    "picture": Case("picture", prompts=4, group_size=8, completion_tokens=32, prompt_words=4),
    "long": Case("long", prompts=2, group_size=8, completion_tokens=512, prompt_words=25),
}


class Prompts(ReplaySource):
    """P questions over and over, each with a picture in the picture case."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.case = case

    @property
    def length(self) -> int:
        return self.case.prompts

    def example(self, position: int) -> Example:
        index = position % self.case.prompts
        words = [WORDS[(7 * index + (3 + index) * i) % len(WORDS)] for i in range(self.case.prompt_words)]
        images: tuple[Image.Image, ...] = ()
        if self.case.name == "picture":
            side = self.case.image_side
            images = (Image.effect_mandelbrot((side, side), (-2, -1.5 + index / 10, 1, 1.5), 40).convert("RGB"),)
        return Example(id=str(position), question=" ".join(words), answer="", images=images)


@dataclass(frozen=True)
class EndlessModel(Backend):
    """The model of a case; nothing ends its completions."""

    case: Case

    @property
    def sees_images(self) -> bool:
        return self.case.name == "picture"

    def load(self) -> LoadedModel:
        if self.case.random_init:
            loaded = random_model(self.case.random_init, self.case.image_side)
        elif self.case.name == "text":
            loaded = SmolLM2().load()
        elif self.case.name == "long":
            loaded = small_grouped_model()
        else:
            tiny = TinyQwen2_5_VL(weights="random").load()
            loaded = LoadedModel(tiny.model, TinyProcessor.create(self.case.image_side), tiny.description)
        loaded.eos_token_ids = []
        return loaded


def small_grouped_model() -> LoadedModel:
    """Four layers of random weights with four query heads to a key/value head, behind a character tokenizer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = character_tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=2,
        max_position_embeddings=8192,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LoadedModel(LlamaForCausalLM(config), tokenizer, "a small Llama of grouped heads, random weights")


def random_model(name: str, image_side: int) -> LoadedModel:
    """An architecture with random bf16 weights, from its configuration alone, behind a character tokenizer."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    file = CONFIGS / f"{name.split('/')[-1]}.json"
    if not file.is_file():
        raise ValueError(
            f"--random-init {name}: no {file}; there are {', '.join(p.stem for p in CONFIGS.glob('*.json'))}"
        )
    processor = TinyProcessor.create(image_side)
    token_id = processor.tokenizer.convert_tokens_to_ids
    config = Qwen2_5_VLConfig(**json.loads(file.read_text()))
    config.image_token_id, config.video_token_id = token_id(IMAGE), token_id(VIDEO)
    config.vision_start_token_id, config.vision_end_token_id = token_id(VISION_START), token_id(VISION_END)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = Qwen2_5_VLForConditionalGeneration._from_config(config, dtype=torch.bfloat16)
    loaded = LoadedModel(model, processor, f"{name}, random weights")
    # Its vocabulary is larger than the tokenizer's: what has no text is not sampled.
    loaded.forbidden_token_ids = [
        *loaded.forbidden_token_ids,
        *range(len(processor.tokenizer), config.text_config.vocab_size),
    ]
    return loaded


def reward(completion: str, example: Example | None = None) -> float:
    """An arbitrary one in [0, 1], so that every group has a gradient."""
    return zlib.crc32(completion.encode()) % 1000 / 1000


reward.quick = True  # type: ignore[attr-defined]


class Stopwatch:
    """Seconds spent in named phases; a phase inside another counts for itself only."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._inner: list[float] = []

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        started = now()
        self._inner.append(0.0)
        try:
            yield
        finally:
            elapsed = now() - started
            self.seconds[name] += elapsed - self._inner.pop()
            if self._inner:
                self._inner[-1] += elapsed

    def time(self, owner: Any, method: str, name: str | Callable[..., str | None]) -> None:
        """Counts every call of a method for a phase; a function of the arguments may tell which, or None."""
        original = getattr(owner, method)

        @functools.wraps(original)  # transformers reads the signature of a forward
        def timed(*args: Any, **kwargs: Any) -> Any:
            phase = name(*args, **kwargs) if callable(name) else name
            if phase is None:
                return original(*args, **kwargs)
            with self.phase(phase):
                return original(*args, **kwargs)

        setattr(owner, method, timed)


def now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def peak_bytes() -> int:
    """The most memory this process has held: on the GPU where there is one, else resident (peak of the whole process)."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def time_prefill(watch: Stopwatch, model: Any) -> None:
    """Counts what a rollout does to whole prompts; the rest of a rollout is decoding."""

    def phase(*args: Any, past_key_values: Any = None, **kwargs: Any) -> str | None:
        whole = past_key_values is None or past_key_values.get_seq_length() == 0
        return "prefill" if whole and not torch.is_grad_enabled() else None

    def vision_phase(*args: Any, **kwargs: Any) -> str | None:
        return None if torch.is_grad_enabled() else "prefill"

    watch.time(model, "forward", phase)
    if hasattr(model.base_model, "visual"):  # TRL's generation calls it before the model's own forward
        watch.time(model.base_model.visual, "forward", vision_phase)


def report(channel: Connection, watch: Stopwatch, seconds: float) -> None:
    channel.send({"seconds": seconds, "phases": dict(watch.seconds), "peak_bytes": peak_bytes()})
    watch.seconds.clear()


def run_recap(case: Case, channel: Connection) -> None:
    """Takes a step for each message, through the trainer's front door."""
    with RewardWorkers(workers=1) as rewards:
        experiment = Experiment(
            model=EndlessModel(case),
            domains=[Domain(name="bench", source=Prompts(case), objectives={"score": reward})],
            steps=1000,
            reweighting=Uniform,
            prompts_per_step=case.prompts,
            rollout=Sampling(group_size=case.group_size, max_new_tokens=case.completion_tokens),
            optimizer=AdamW(learning_rate=1e-6),
            rewards=rewards,
        )
        trainer = Trainer(experiment)
        watch = Stopwatch()
        watch.time(recap.model.decoding, "prefill", "prefill")
        watch.time(trainer, "roll_out", "decode")
        watch.time(trainer, "verify", "verify")
        watch.time(trainer.models.scorer, "forward", "loss forward")
        watch.time(trainer.accelerator, "backward", "backward")
        watch.time(trainer.models.optimizer, "step", "optimizer")
        encoded = trainer.loaded.encode(*bench_prompts(case, trainer.loaded))
        channel.send(
            {
                **count_parameters(trainer.loaded.model),
                "prompt_tokens": int(encoded.attention_mask.sum()),
                "patches": int(encoded.inputs["image_grid_thw"].prod(-1).sum())
                if "image_grid_thw" in encoded.inputs
                else 0,
                "bytes_per_weight": next(trainer.loaded.model.parameters()).element_size(),
            }
        )
        while channel.recv() == "step":
            started = now()
            result = trainer.step()
            report(channel, watch, now() - started)
            assert result.metrics["completion_tokens"] == case.prompts * case.group_size * case.completion_tokens


def bench_prompts(case: Case, loaded: LoadedModel) -> tuple[list[str], list[Example], torch.device]:
    examples = Prompts(case).take(case.prompts)
    return [example.question for example in examples], examples, loaded.model.device


def count_parameters(model: Any) -> dict[str, int]:
    """Weights of the vision tower, of the head (tied to the embedding or not), and of what lies between."""
    vision = getattr(model.base_model, "visual", None)
    seen = sum(p.numel() for p in vision.parameters()) if vision is not None else 0
    head, embedding = model.get_output_embeddings().weight, model.get_input_embeddings().weight
    vocabulary = head.numel() + (0 if head is embedding else embedding.numel())
    body = sum(p.numel() for p in model.parameters()) - seen - vocabulary
    return {"body_parameters": body, "head_parameters": head.numel(), "vision_parameters": seen}


def run_trl(case: Case, channel: Connection) -> None:
    """The same with TRL's GRPOTrainer; its loop asks the channel before each step."""
    import datasets
    import transformers
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.grpo_trainer import GRPOTrainer

    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    loaded = EndlessModel(case).load()
    rows = []
    for example in Prompts(case).take(case.prompts):
        row: dict[str, Any] = {"prompt": [{"role": "user", "content": example.question}]}
        if example.images:
            row["images"] = list(example.images)
        rows.append(row)
    rows *= 1000
    config = GRPOConfig(
        output_dir="/tmp/recap-bench-trl" if os.name == "posix" else "recap-bench-trl",
        max_steps=1000,
        per_device_train_batch_size=case.prompts * case.group_size,
        num_generations=case.group_size,
        max_completion_length=case.completion_tokens,
        generation_kwargs={"min_new_tokens": case.completion_tokens, "suppress_tokens": loaded.forbidden_token_ids},
        learning_rate=1e-6,
        beta=0.0,
        bf16=False,
        use_cpu=not torch.cuda.is_available(),
        gradient_checkpointing=case.trl_checkpointing,
        shuffle_dataset=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        logging_steps=10**9,
    )
    watch = Stopwatch()

    class Alternate(transformers.TrainerCallback):  # type: ignore[misc]
        """Waits for the word before a step and reports after it."""

        started = 0.0

        def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
            watch.time(trainer.optimizer, "step", "optimizer")
            watch.time(trainer.accelerator, "backward", "backward")

        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if channel.recv() != "step":
                raise SystemExit
            self.started = now()

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            report(channel, watch, now() - self.started)

    trainer = GRPOTrainer(
        model=loaded.model,
        args=config,
        processing_class=trl_processor(loaded.processor) if loaded.sees_images else loaded.processor,
        reward_funcs=lambda completions, **columns: [reward(completion[0]["content"]) for completion in completions],
        train_dataset=datasets.Dataset.from_list(rows),
        callbacks=[Alternate()],
    )
    time_prefill(watch, loaded.model)
    watch.time(trainer, "_generate_single_turn", "decode")
    watch.time(trainer, "_calculate_rewards", "verify")
    watch.time(trainer, "compute_loss", "loss forward")
    channel.send({})
    trainer.train()


def trl_processor(processor: TinyProcessor) -> Any:
    """TRL wants a `ProcessorMixin` that renders chats; the tiny model's processor is none."""
    from transformers import BatchFeature, ProcessorMixin

    class Adapter(ProcessorMixin):  # type: ignore[misc]
        def __init__(self) -> None:
            self.tokenizer, self.image_processor = processor.tokenizer, processor.image_processor
            self.chat_template = processor.chat_template

        def apply_chat_template(self, conversation: Any, tokenize: bool = False, **kwargs: Any) -> Any:
            kwargs = {"add_generation_prompt": kwargs.get("add_generation_prompt", False)}
            if isinstance(conversation[0], dict):
                assert not tokenize
                return processor.apply_chat_template(conversation, tokenize=False, **kwargs)
            texts = [processor.apply_chat_template(messages, tokenize=False, **kwargs) for messages in conversation]
            parts = [part for messages in conversation for message in messages for part in message["content"]]
            images = [part["image"] for part in parts if isinstance(part, dict) and part["type"] == "image"]
            return self(text=texts, images=images, padding=False)

        def __call__(self, text: Any, images: Any = None, **kwargs: Any) -> Any:
            flat = [image for own in images or () for image in (own if isinstance(own, list) else [own])]
            kwargs.setdefault("padding_side", "left")
            data = dict(processor(text=text, images=flat or None, add_special_tokens=False, **kwargs))
            ids, image = data["input_ids"], processor.tokenizer.convert_tokens_to_ids(IMAGE)
            if isinstance(ids, torch.Tensor):
                data["mm_token_type_ids"] = (ids == image).int()
            else:
                data["mm_token_type_ids"] = [[int(token == image) for token in row] for row in ids]
            return BatchFeature(data)

        def batch_decode(self, *args: Any, **kwargs: Any) -> Any:
            return processor.tokenizer.batch_decode(*args, **kwargs)

    return Adapter()
