"""RECAP in TRL on two CPU cores: one easy and one hard reward, with moving weights and without. Takes less than two minutes.

    python experiments/trl/two_rewards.py

A model of a few thousand weights is to answer "7 = " with "7". `digits` pays for every digit that it writes, `right` for
the right one. Printed are both rewards and λ by step; at the end λ is compared with that of our policy, fed with the rewards
in TRL's log. One seed of a toy: it shows the mechanism, not what reweighting is worth.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from typing import Any

from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, PrinterCallback, set_seed
from trl import GRPOConfig, GRPOTrainer

from recap.integrations.trl import Reweighting, as_trl_reward
from registry import reweighting_policies
from registry.example import Example

CHARACTERS = ["<pad>", "<eos>", *"0123456789= abcdefghij"]
NAMES = ("digits", "right")


def digits(completions: Sequence[str], **columns: Any) -> list[float]:
    """TRL's own kind of reward function: the share of digits."""
    return [sum(c.isdigit() for c in text) / max(1, len(text)) for text in completions]


def right(completion: str, example: Example) -> float:
    """Our kind, a verifier: 1 where the first character is the answer."""
    return float(completion[:1] == example.answer)


right.quick = True  # type: ignore[attr-defined]  # it takes no time, and so needs no process of its own


def tokenizer() -> PreTrainedTokenizerFast:
    words = Tokenizer(models.WordLevel({c: i for i, c in enumerate(CHARACTERS)}, unk_token="<pad>"))
    words.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    words.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<eos>", padding_side="left")


def train(policy: str, steps: int, parameters: dict[str, Any]) -> list[dict[str, float]]:
    """TRL's log of one run."""
    set_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 4, "pad_token_id": 0, "eos_token_id": 1}
    rows = [{"prompt": f"{i % 10} = ", "solution": str(i % 10)} for i in range(100)]
    with tempfile.TemporaryDirectory() as folder:
        settings = GRPOConfig(
            output_dir=folder,
            max_steps=steps,
            per_device_train_batch_size=64,
            num_generations=8,
            max_completion_length=2,
            learning_rate=3e-3,
            lr_scheduler_type="constant",
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            bf16=False,
            disable_tqdm=True,
        )
        trainer = GRPOTrainer(
            model=LlamaForCausalLM(LlamaConfig(vocab_size=len(CHARACTERS), **sizes, **heads)),
            reward_funcs=[digits, as_trl_reward(right, columns={"answer": "solution"})],
            args=settings,
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer(),
        )
        trainer.add_callback(Reweighting(trainer, policy, **parameters))  # the line that RECAP in TRL takes
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return [line for line in trainer.state.log_history if "loss" in line]


def largest_difference(log: Sequence[dict[str, float]], parameters: dict[str, Any]) -> float:
    """Between λ in TRL's log and our policy's, fed with the rewards in that log."""
    policy = reweighting_policies.build("recap", dict.fromkeys(NAMES, "reward"), **parameters)
    largest = 0.0
    for line in log:
        largest = max(largest, *(abs(line[f"weight/{name}"] - policy.weights[name]) for name in NAMES))
        policy.update({name: line[f"rewards/{name}/mean"] for name in NAMES})
    return largest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100, help="of each of the two runs")
    parser.add_argument(
        "--temperature", type=float, default=0.5, help="T of RECAP; at the paper's 5 the weights stay near 1"
    )
    options = parser.parse_args()
    parameters = {"window": 5, "temperature": options.temperature}
    uniform = train("uniform", options.steps, {})
    recap = train("recap", options.steps, parameters)
    print(
        f"{'':6}{'uniform':>16}{'RECAP':>26}\n{'step':6}{'digits':>8}{'right':>8}{'digits':>10}{'right':>8}{'λ of both':>16}"
    )
    for step in range(0, options.steps, max(1, options.steps // 10)):
        plain, ours = ([log[step][f"rewards/{name}/mean"] for name in NAMES] for log in (uniform, recap))
        lam = [recap[step][f"weight/{name}"] for name in NAMES]
        print(f"{step + 1:<6}{plain[0]:8.2f}{plain[1]:8.2f}{ours[0]:10.2f}{ours[1]:8.2f}{lam[0]:10.2f}{lam[1]:6.2f}")
    difference = largest_difference(recap, parameters)
    print(f"largest difference between TRL's λ and our policy's, from the same rewards: {difference:.1e}")


if __name__ == "__main__":
    main()
