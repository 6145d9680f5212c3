"""A GRPOTrainer or RLOOTrainer of TRL on a model of a few thousand weights, with rewards that depend on nothing random."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, set_seed
from trl import GRPOConfig, GRPOTrainer

CHARACTERS = ["<pad>", "<eos>", *map(chr, range(32, 127))]


def tokenizer() -> PreTrainedTokenizerFast:
    """A token per printable character."""
    words = Tokenizer(models.WordLevel({c: i for i, c in enumerate(CHARACTERS)}, unk_token="<pad>"))
    words.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    words.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<eos>", padding_side="left")


def model() -> LlamaForCausalLM:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(CHARACTERS),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            pad_token_id=0,
            eos_token_id=1,
        )
    )


def rows(count: int = 32) -> Dataset:
    return Dataset.from_list(
        [{"prompt": f"{i} + {i} = ", "solution": str(2 * i), "topic": "sums"} for i in range(count)]
    )


def share_of_digits(completions: Sequence[str], **given: Any) -> list[float]:
    """A reward that the model's completions decide."""
    return [sum(c.isdigit() for c in text) / max(1, len(text)) for text in completions]


def share_of_letters(completions: Sequence[str], **given: Any) -> list[float]:
    return [sum(c.isalpha() for c in text) / max(1, len(text)) for text in completions]


def tiny_trainer(
    folder: Path,
    rewards: Sequence[Callable[..., Any]] = (share_of_digits, share_of_letters),
    *,
    trainer: Any = GRPOTrainer,
    config: Any = GRPOConfig,
    **settings: Any,
) -> Any:
    """Eight completions a step, in groups of four."""
    set_seed(0)
    given: dict[str, Any] = {
        "output_dir": str(folder),
        "max_steps": 10,
        "per_device_train_batch_size": 8,
        "num_generations": 4,
        "max_completion_length": 6,
        "learning_rate": 0.02,
        "lr_scheduler_type": "constant",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "use_cpu": True,
        "bf16": False,
        "disable_tqdm": True,
        "beta": 0.0,
        **settings,
    }
    return trainer(
        model=model(),
        reward_funcs=list(rewards),
        args=config(**given),
        train_dataset=rows(),
        eval_dataset=rows(4),
        processing_class=tokenizer(),
    )
