"""Seconds and peak memory of the loss's forward and backward, and of decoding, over lengths of prompt and completion.

    python tools/bench_lengths.py
    python tools/bench_lengths.py --part decoding --groups 8 --completions 1024 --prompts 128 --grouping 4

Each number is from a process of its own, forked with the model at hand: CPU seconds of the fastest of three
runs, and what memory grew by at most. 'shared' is the default, 'plain' a forward per completion (decoding: one batch in
which every completion has a prompt of its own). Not for GPUs.
"""

from __future__ import annotations

import argparse
import itertools
import os
import pickle
import resource
import time
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from recap.model.decoding import decode
from recap.model.scoring import Scorer, Scoring
from registry.backends.base import EncodedPrompts, LoadedModel

VOCABULARY = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("loss", "decoding"), default="loss")
    parser.add_argument("--groups", type=int, nargs="+", default=[4, 8, 16], help="completions per prompt")
    parser.add_argument("--completions", type=int, nargs="+", default=[16, 64, 256, 1024], help="tokens of each")
    parser.add_argument("--prompts", type=int, nargs="+", default=[32, 128, 512], help="tokens of the prompt")
    parser.add_argument("--grouping", type=int, nargs="+", default=[1, 4, 7], help="query heads per key/value head")
    parser.add_argument("--most-tokens", type=int, default=2**14, help="leaves out cases where G x (L + T) is more")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{options.part}, {options.dtype}, one thread; torch {torch.__version__}\n")
    print("| grouping | L | G x T | shared, CPU s | plain, CPU s | shared, MiB | plain, MiB | plain / shared |")
    print("|---|---|---|---|---|---|---|---|")
    cases = itertools.product(options.grouping, options.prompts, options.groups, options.completions)
    for grouping, prompt, group_size, completion in cases:
        if group_size * (prompt + completion) > options.most_tokens:
            continue
        model = small_model(grouping, getattr(torch, options.dtype))
        run = {"loss": loss, "decoding": decoding}[options.part]
        found = [measured(partial(run, model, prompt, group_size, completion, shared)) for shared in (True, False)]
        seconds, mebibytes = zip(*found, strict=True)
        cells = [f"{value:.3f}" for value in seconds] + [f"{value:.0f}" for value in mebibytes]
        ratios = f"{seconds[1] / seconds[0]:.2f}, {mebibytes[1] / mebibytes[0]:.2f}"
        print(
            f"| {grouping} | {prompt} | {group_size} x {completion} | {' | '.join(cells)} | {ratios} |",
            flush=True,
        )


def small_model(grouping: int, dtype: torch.dtype) -> LlamaForCausalLM:
    """Four layers of random weights."""
    torch.manual_seed(0)
    heads = 7 if grouping == 7 else 8
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=32 * heads,
            intermediate_size=96 * heads,
            num_hidden_layers=4,
            num_attention_heads=heads,
            num_key_value_heads=heads // grouping,
            head_dim=32,
            max_position_embeddings=8192,
        )
    ).to(dtype)


def text(length: int) -> EncodedPrompts:
    ids = torch.randint(4, VOCABULARY, (1, length))
    positions = torch.arange(length)[None]
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    return EncodedPrompts(inputs, positions, positions[:, -1] + 1, [None])


def loss(model: LlamaForCausalLM, prompt: int, group_size: int, completion: int, shared: bool) -> Callable[[], object]:
    prompts, ids = text(prompt), torch.randint(4, VOCABULARY, (group_size, completion))
    scorer = Scorer(model, [], Scoring(shared_prefix=shared)).train()
    scorer(text(8), ids[:2, :4], torch.ones(2, 4))  # the comparison of the first use

    def run() -> None:
        model.zero_grad()
        scorer(prompts, ids, torch.ones_like(ids)).log_probs.sum().backward()

    return run


def decoding(
    model: LlamaForCausalLM, prompt: int, group_size: int, completion: int, shared: bool
) -> Callable[[], object]:
    special = {"forbidden_token_ids": [], "eos_token_ids": [], "pad_token_id": 0}
    loaded = cast(LoadedModel, SimpleNamespace(model=model.eval(), **special))
    prompts, uniforms = text(prompt), torch.rand(group_size, completion)

    @torch.no_grad()
    def run() -> object:
        return decode(loaded, prompts, group_size, completion, 1.0, uniforms, shared_prefix=shared)

    return run


def measured(prepare: Callable[[], Callable[[], object]]) -> tuple[float, float]:
    """CPU seconds of the fastest of three runs, and by how many MiB memory grew at most, in a process of its own."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            run = prepare()
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            seconds = min(once(run) for _ in range(3))
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            os.write(writing, pickle.dumps((seconds, peak / 1024)))
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer: Any = pipe.read()
    os.waitpid(child, 0)
    if not answer:
        raise RuntimeError("the measured process died; see above")
    found: tuple[float, float] = pickle.loads(answer)
    return found


def once(run: Callable[[], object]) -> float:
    started = time.process_time()
    run()
    return time.process_time() - started


if __name__ == "__main__":
    main()
