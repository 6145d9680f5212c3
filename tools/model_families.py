"""Which families of models load, and how much of their work decoding and scoring can share: docs/model_families.md.

    make test-vision                                        # once, for the environment
    .venv-vision/bin/python tools/model_families.py         # writes the table
    .venv-vision/bin/python tools/model_families.py Llama   # prints one family's row

Every family is a checkpoint with tiny random weights, written to a directory and loaded by `@backends.huggingface()`.
"""

from __future__ import annotations

import argparse
import logging
import platform
import tempfile
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from tiny_families import TEXT_FAMILIES, VISION_FAMILIES, save_family

from recap.data.prompts import Prompt
from recap.model.scoring import Scorer, Scoring
from recap.model.token_scores import log_probabilities
from recap.model.ways import ways_taken
from recap.sampling.rollout import roll_out
from registry.backends.base import LoadedModel
from registry.backends.huggingface import HuggingFace
from registry.example import Example

PAGE = Path(__file__).resolve().parents[1] / "docs" / "model_families.md"
CPU = torch.device("cpu")
GROUP, LENGTH = 3, 12
DECODING = {"shared": "shared", "rows": "prefill shared, a cache per completion", None: "**nothing shared**"}
INTRODUCTION = """# Model families

What `@backends.huggingface()` can do with a family: whether a tiny checkpoint of it loads, whether prompts with 0, 1 and 2
pictures in one batch are encoded as its own processor does, and whether decoding and the loss compute the prompt of a group
once. Where they cannot, the same numbers are computed with more work.

- **decoding**: *shared*: a prompt's keys and values once for its group; *prefill shared, a cache per completion*: the prompt
  is computed once and its cache copied; *nothing shared*: a prompt per completion.
- **scoring**: *shared*: the prompt once, completions packed behind it; *plain*: prompt and completion in a row each. With
  *prefill reused* the loss takes the prompt as the rollout has computed it.
- **difference**: the largest between a completion's log-prob so computed and by a forward per completion.

Made by `tools/model_families.py`; random weights, fp32, CPU, {versions}.

"""


@dataclass
class Row:
    """What was found of one family; `reasons` why it falls back or fails."""

    family: str
    encoding: str = "fails"
    decoding: str = "fails"
    scoring: str = "fails"
    difference: str = ""
    reasons: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        why = "; ".join(dict.fromkeys(" ".join(reason.split()).replace("|", "\\|") for reason in self.reasons))
        return f"| {self.family} | {self.encoding} | {self.decoding} | {self.scoring} | {self.difference} | {why} |"


class _Reasons(logging.Handler):
    """Keeps what the engine warns of, less the name of the class in front of it."""

    def __init__(self, reasons: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.reasons = reasons

    def emit(self, record: logging.LogRecord) -> None:
        self.reasons.append(str(record.args[-1]) if isinstance(record.args, tuple) and record.args else str(record.msg))


def ways(loaded: LoadedModel, scorer: Scorer) -> tuple[str, str]:
    """How a model that has decoded and scored does it."""
    taken = ways_taken(loaded.model, scorer)
    settings = taken["scoring"].way
    scoring = "shared" if settings.shared_prefix else "**plain**"
    if settings.chunk is None:
        scoring += ", all logits at once"
    if "prefix" in taken and taken["prefix"].way:
        scoring += ", prefill reused"
    return DECODING[taken["decoding"].way], scoring


def examine(family: str) -> Row:
    """Loads, encodes, decodes and scores a family; what fails is a reason of its row."""
    row = Row(family)
    handler = _Reasons(row.reasons)
    logging.getLogger("recap.model").addHandler(handler)
    try:
        with tempfile.TemporaryDirectory() as directory:
            save_family(family, Path(directory))
            loaded = HuggingFace(directory, dtype="float32").load()
        examples = three_examples(family in VISION_FAMILIES)
        row.encoding = encoding(loaded, examples)
        decode_and_score(loaded, examples, row)
    except Exception as error:  # a table of what works says of the rest how it fails
        row.reasons.append(f"{type(error).__name__}: {str(error)[:200]}")
    finally:
        logging.getLogger("recap.model").removeHandler(handler)
    return row


def decode_and_score(loaded: LoadedModel, examples: list[Example], row: Row) -> None:
    prompts = [Prompt(example, example.question) for example in examples]
    rollout = roll_out(
        loaded,
        prompts,
        group_size=GROUP,
        max_new_tokens=LENGTH,
        temperature=1.0,
        device=CPU,
        keep_prefix=True,
    )
    batch = (rollout.encoded, rollout.completion_ids, rollout.completion_mask)
    scorer = Scorer(loaded.model, loaded.forbidden_token_ids, Scoring(chunk=8))
    found = scorer(*batch, prefix=rollout.prefix).log_probs
    row.decoding, row.scoring = ways(loaded, scorer)
    difference = 0.0
    for index, (ids, mask) in enumerate(zip(rollout.completion_ids, rollout.completion_mask, strict=True)):
        expected = log_probs_alone(loaded, examples[index // GROUP], ids[mask.bool()])
        difference = max(difference, float((found[index][mask.bool()] - expected).abs().max()))
    row.difference = f"{difference:.0e}"


@torch.no_grad()
def log_probs_alone(loaded: LoadedModel, example: Example, ids: torch.Tensor) -> torch.Tensor:
    """Of one completion, from a forward over it and its prompt alone: no padding, no cache."""
    encoded = loaded.encode([example.question], [example], CPU)
    inputs = dict(encoded.inputs)
    for name, filling in (("input_ids", ids), ("attention_mask", torch.ones_like(ids)), ("token_type_ids", ids * 0)):
        if name in inputs:
            inputs[name] = torch.cat([inputs[name], filling[None].to(inputs[name].dtype)], dim=1)
    positions = encoded.next_position + torch.arange(len(ids))
    leading = encoded.position_ids.shape[:-1]
    inputs["position_ids"] = torch.cat([encoded.position_ids, positions.expand(*leading, -1)], dim=-1)
    logits = loaded.model(**inputs, use_cache=False).logits[0, -len(ids) - 1 : -1]
    return log_probabilities(logits, loaded.forbidden_token_ids, 1.0).gather(-1, ids[:, None])[:, 0]


def three_examples(pictures: bool) -> list[Example]:
    """Prompts of different lengths, with 1, 0 and 2 pictures of different sizes where the family sees them."""
    sizes: list[list[tuple[int, int]]] = [[(80, 60)], [], [(60, 60), (100, 40)]] if pictures else [[], [], []]
    return [
        Example(
            id=f"{index}",
            question="what is it?" + " and why?" * index,
            answer="",
            images=tuple(Image.effect_noise(size, 40.0).convert("RGB") for size in own),
        )
        for index, own in enumerate(sizes)
    ]


def encoding(loaded: LoadedModel, examples: list[Example]) -> str:
    """Whether prompts are encoded as by `apply_chat_template` of the processor alone."""
    found = loaded.encode([example.question for example in examples], examples, CPU).inputs
    if not loaded.sees_images:
        return "text"
    conversations: list[list[dict[str, Any]]] = [
        [{"role": "user", "content": [*pictures_of(example), {"type": "text", "text": example.question}]}]
        for example in examples
    ]
    expected = loaded.processor.apply_chat_template(
        conversations,
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"padding": True, "padding_side": "left", "add_special_tokens": False},
    )
    different = [name for name, tensor in found.items() if not torch.equal(tensor, expected[name])]
    return f"**differs: {', '.join(different)}**" if different else "as its processor"


def pictures_of(example: Example) -> list[dict[str, Any]]:
    return [{"type": "image", "image": image} for image in example.images]


def versions() -> str:
    found = [f"Python {platform.python_version()}"]
    for package in ("torch", "torchvision", "transformers"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"no {package}")
    return ", ".join(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("family", nargs="*", help="print the rows of these only")
    parser.add_argument("--output", type=Path, default=PAGE, help="where the page is written")
    arguments = parser.parse_args()
    known = [*TEXT_FAMILIES, *VISION_FAMILIES]
    if unknown := set(arguments.family) - set(known):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    header = ["| family | prompts | decoding | scoring | difference | why not, or what fails |", "|---" * 6 + "|"]
    rows = [str(examine(family)) for family in arguments.family or known]
    table = "\n".join([*header, *rows]) + "\n"
    print(table)
    if not arguments.family:
        arguments.output.write_text(INTRODUCTION.format(versions=versions()) + table, encoding="utf-8")


if __name__ == "__main__":
    main()
