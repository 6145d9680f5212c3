"""Seconds and peak memory of the loss's forward and backward, and of decoding, over lengths of prompt and completion.

    python tools/bench_lengths.py --csv lengths.csv                      # the whole grid of the loss
    python tools/bench_lengths.py --part decoding --csv decoding.csv
    python tools/bench_lengths.py --part decoding --groups 8 --completions 1024 --prompts 128 --grouping 4

Each number is from a process of its own, forked with the model at hand: CPU seconds of the fastest of three runs, of fewer
where they take longer than an eighth of the limit; and by how much memory grew at most in a run whose tensors give back what
they had, since the C library keeps it otherwise, and holds more after each run. 'shared' is the default, 'plain' a forward
per completion (decoding: one batch in which every completion has a prompt of its own). With `--csv`, what the file holds is
not measured again: the command goes on where it was stopped. For Linux, without a GPU.
"""

from __future__ import annotations

import argparse
import csv
import ctypes
import itertools
import math
import os
import pickle
import resource
import signal
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple, cast

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from recap.model.decoding import decode
from recap.model.scoring import Scorer, Scoring
from registry.backends.base import EncodedPrompts, LoadedModel

VOCABULARY = 512
RUNS = 3
M_MMAP_THRESHOLD = -3  # of glibc's malloc.h


class Cell(NamedTuple):
    """A measurement, but for its result."""

    part: str
    dtype: str
    layers: int
    grouping: int
    prompt: int
    group: int
    completion: int
    way: str


class Ratios(NamedTuple):
    """Plain to shared, in time and memory, of a case: grouping, L, G, T."""

    time: float
    memory: float
    case: tuple[int, ...]


class Found(NamedTuple):
    """What was measured; NaN where the limit, or the memory, did not suffice."""

    seconds: float
    mebibytes: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("loss", "decoding"), default="loss")
    parser.add_argument("--groups", type=int, nargs="+", default=[4, 8, 16], help="completions per prompt")
    parser.add_argument("--completions", type=int, nargs="+", default=[16, 64, 256, 1024, 2048], help="tokens of each")
    parser.add_argument("--prompts", type=int, nargs="+", default=[32, 128, 512, 2048], help="tokens of the prompt")
    parser.add_argument("--grouping", type=int, nargs="+", default=[1, 4, 7], help="query heads per key/value head")
    parser.add_argument("--limit", type=float, default=180.0, help="seconds that a measurement may take, all its runs")
    parser.add_argument("--csv", type=Path, help="where results are kept, and found again")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    options = parser.parse_args()
    torch.set_num_threads(1)
    known = read(options.csv)
    print(f"{options.part}, {options.dtype}, {options.layers} layers, one thread; torch {torch.__version__}\n")
    print("| grouping | L | G x T | shared, CPU s | plain, CPU s | shared, MiB | plain, MiB | plain / shared |")
    print("|---|---|---|---|---|---|---|---|")
    lengths = (options.grouping, options.prompts, options.groups, options.completions)
    cases = sorted(itertools.product(*lengths), key=lambda case: case[2] * (case[1] + case[3]))  # the quick ones first
    ratios: list[Ratios] = []
    for case in cases:
        pair = []
        for way in ("shared", "plain"):
            cell = Cell(options.part, options.dtype, options.layers, *case, way)
            if cell not in known:
                known[cell] = measured(cell, options.limit)
                keep(options.csv, cell, known[cell])
            pair.append(known[cell])
        shared, plain = pair
        ratios.append(Ratios(plain.seconds / shared.seconds, plain.mebibytes / shared.mebibytes, case))
        print(row(case, *pair), flush=True)
    print(summary(ratios))


def row(case: tuple[int, ...], shared: Found, plain: Found) -> str:
    grouping, prompt, group, completion = case
    cells = [f"{found.seconds:.3f}" for found in (shared, plain)] + [
        f"{found.mebibytes:.0f}" for found in (shared, plain)
    ]
    ratios = f"{plain.seconds / shared.seconds:.2f}, {plain.mebibytes / shared.mebibytes:.2f}"
    return f"| {grouping} | {prompt} | {group} x {completion} | {' | '.join(cells)} | {ratios} |"


def summary(ratios: Sequence[Ratios]) -> str:
    """Where the default is furthest behind plain."""
    lines = []
    for what in ("time", "memory"):
        found = [(float(getattr(one, what)), one.case) for one in ratios]
        whole = sorted((ratio, case) for ratio, case in found if not math.isnan(ratio))
        if whole:
            least, case = whole[0]
            behind = sum(ratio < 0.9 for ratio, _ in whole)
            where = "grouping {}, L {}, G {}, T {}".format(*case)
            lines.append(
                f"{what}: plain / shared is {least:.2f} at least ({where}); below 0.9 in {behind} of {len(whole)} cases"
            )
    return "\n".join(["", *lines])


def read(file: Path | None) -> dict[Cell, Found]:
    """What was measured before."""
    if file is None or not file.is_file():
        return {}
    with file.open(newline="", encoding="utf-8") as stream:
        return {
            Cell._make([*line[:2], *map(int, line[2:7]), line[7]]): Found(float(line[8]), float(line[9]))
            for line in csv.reader(stream)
            if len(line) == 10 and line[2].isdigit()  # not the header, nor a line that was broken off
        }


def keep(file: Path | None, cell: Cell, found: Found) -> None:
    if file is None:
        return
    before = file.read_bytes() if file.is_file() else b""
    with file.open("a", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        if not before.endswith(b"\n"):  # the last line was broken off
            stream.write("\n" * bool(before))
        if not before:
            writer.writerow([*Cell._fields, *Found._fields])
        writer.writerow([*cell, *found])


def small_model(grouping: int, layers: int, dtype: torch.dtype) -> LlamaForCausalLM:
    """A Llama of random weights."""
    torch.manual_seed(0)
    heads = 7 if grouping == 7 else 8
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=32 * heads,
            intermediate_size=96 * heads,
            num_hidden_layers=layers,
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


def measured(cell: Cell, limit: float) -> Found:
    """CPU seconds of the fastest run, and by how many MiB memory grew at most in one, each in a process of its own.

    Args:
        limit: seconds that all runs together may take; beyond, and where the process dies, nothing is known.
    """
    model = small_model(cell.grouping, cell.layers, getattr(torch, cell.dtype))
    work = {"loss": loss, "decoding": decoding}[cell.part]
    prepare = partial(work, model, cell.prompt, cell.group, cell.completion, cell.way == "shared")
    seconds = in_a_process(partial(fastest, prepare, limit), limit)
    mebibytes = math.nan if math.isnan(seconds) else in_a_process(partial(growth, prepare), limit)
    return Found(seconds, mebibytes)


def fastest(prepare: Callable[[], Callable[[], object]], limit: float) -> float:
    run = prepare()
    started, seconds = time.monotonic(), [once(run)]
    while len(seconds) < RUNS and time.monotonic() - started < limit / 8:
        seconds.append(once(run))
    return min(seconds)


def growth(prepare: Callable[[], Callable[[], object]]) -> float:
    """MiB. Memory of a tensor goes back to the system with it: what is kept for later and fits none is not counted."""
    ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 2**16)
    run = prepare()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def in_a_process(measure: Callable[[], float], limit: float) -> float:
    """What it returns; NaN where it takes more seconds than the limit, or dies."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            signal.setitimer(signal.ITIMER_REAL, limit)  # ends it
            os.write(writing, pickle.dumps(measure()))
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return float(pickle.loads(answer)) if answer else math.nan


def once(run: Callable[[], object]) -> float:
    started = time.process_time()
    run()
    return time.process_time() - started


if __name__ == "__main__":
    main()
