"""One training step of recap against one of TRL's GRPOTrainer, on the same model, prompts, group size and length.

    python tools/bench_step.py --case text --steps 3
    python tools/bench_step.py --case picture --steps 5 --sweep
    python tools/bench_step.py --case long --steps 1
    python tools/bench_step.py --case picture --random-init Qwen/Qwen2.5-VL-3B-Instruct --peak-tflops 989

The sides live in processes of their own, so that each has its own peak memory, and take steps in turn, so that both meet
the same machine; the first step of each is not counted. TRL comes with the extra: pip install "recap-rlvr[test]".
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import time
from dataclasses import asdict, replace
from importlib.metadata import version
from multiprocessing.connection import Connection
from statistics import median
from typing import Any

import torch
from bench_sides import CASES, PHASES, Case, run_recap, run_trl

SIDES = {"recap": run_recap, "trl": run_trl}
SWEEP_GROUPS = (2, 4, 8, 16)
SWEEP_PROMPTS = (0.5, 1, 2, 4)  # times the case's own length
SWEEP_COMPLETIONS = (0.25, 1, 4)  # times the case's own length


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES, default="picture")
    parser.add_argument("--steps", type=int, default=3, help="counted steps of each side")
    parser.add_argument("--group-size", type=int, help="completions per prompt instead of the case's own number")
    parser.add_argument("--completion-tokens", type=int, help="instead of the case's own number")
    parser.add_argument("--only", choices=SIDES, help="one side alone")
    parser.add_argument("--sweep", action="store_true", help="over group sizes, prompt lengths and completion lengths")
    parser.add_argument("--trl-checkpointing", action="store_true", help="TRL recomputes activations, its default")
    parser.add_argument(
        "--random-init", metavar="MODEL", help="that architecture with random bf16 weights, no download"
    )
    parser.add_argument("--peak-tflops", type=float, help="of the machine, for the model FLOP utilisation")
    parser.add_argument("--json", metavar="FILE", help="also write everything measured there")
    options = parser.parse_args()
    if options.steps < 1:
        parser.error(f"--steps must be at least 1; it is {options.steps}")

    case = replace(CASES[options.case], random_init=options.random_init, trl_checkpointing=options.trl_checkpointing)
    if options.group_size:
        case = replace(case, group_size=options.group_size)
    if options.completion_tokens:
        case = replace(case, completion_tokens=options.completion_tokens)
    sides = [options.only] if options.only else list(SIDES)
    print(machine())
    if options.sweep:
        results = []
        print(SWEEP_HEADER)
        for each in sweep(case):
            results.append(measure(each, sides, options.steps))
            print_sweep_row(results[-1])
    else:
        results = [measure(case, sides, options.steps)]
        print_phases(results[0], rates(), options.peak_tflops)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"machine": machine(), "results": results}, file, indent=2)


def sweep(case: Case) -> list[Case]:
    """Group sizes, then prompt lengths (pictures: areas), then completion lengths; the others as the case has them."""
    groups = [replace(case, group_size=group_size) for group_size in SWEEP_GROUPS]
    if case.name == "picture":
        lengths = [replace(case, image_side=round(case.image_side * factor**0.5 / 28) * 28) for factor in SWEEP_PROMPTS]
    else:
        lengths = [replace(case, prompt_words=round(case.prompt_words * factor)) for factor in SWEEP_PROMPTS]
    longer = [replace(case, completion_tokens=round(case.completion_tokens * factor)) for factor in SWEEP_COMPLETIONS]
    return list(dict.fromkeys([*groups, *lengths, *longer]))


def measure(case: Case, sides: list[str], steps: int) -> dict[str, Any]:
    """Medians over the counted steps of each side, which take turns."""
    context = multiprocessing.get_context("spawn")
    channels: dict[str, Connection] = {}
    processes = []
    result: dict[str, Any] = {"case": asdict(case)}
    for name in sides:
        channels[name], theirs = context.Pipe()
        process = context.Process(target=SIDES[name], args=(case, theirs))
        process.start()
        theirs.close()  # so that the death of the side ends the waiting for it
        processes.append(process)
        result |= channels[name].recv()
    reports: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    for _ in range(steps + 1):
        for name, channel in channels.items():
            channel.send("step")
            reports[name].append(channel.recv())
    for channel in channels.values():
        channel.send("stop")
    for process in processes:
        process.join()
    for name, (_, *counted) in reports.items():
        seconds = [report["seconds"] for report in counted]
        result[name] = {
            "seconds": median(seconds),
            "all_seconds": seconds,
            "phases": {phase: median(report["phases"].get(phase, 0.0) for report in counted) for phase in PHASES},
            "peak_bytes": counted[-1]["peak_bytes"],
        }
    return result


def rates() -> dict[str, float]:
    """What the machine does when nothing is in the way: FLOP/s of a large matrix product, and bytes/s read."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    size = 8192 if device == "cuda" else 1536
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    weights = torch.randn(2**28 if device == "cuda" else 2**26, device=device)
    return {"flops": 2 * size**3 / fastest(lambda: a @ b), "bytes": 4 * len(weights) / fastest(lambda: weights.sum())}


def fastest(function: Any) -> float:
    def once() -> float:
        started = time.perf_counter()
        function()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - started

    return min(once() for _ in range(5))


def work(result: dict[str, Any]) -> dict[str, float]:
    """FLOPs of each phase when each token position is computed once: 2 per weight and token, twice that backward.

    Without attention scores; logits at completion tokens only. The prompts' forward is the prefill; completions have two, as
    their tokens are not known before they are sampled.
    """
    case = result["case"]
    completion_tokens = case["prompts"] * case["group_size"] * case["completion_tokens"]
    vision = 2 * result["vision_parameters"] * result["patches"]
    prompt = 2 * result["body_parameters"] * result["prompt_tokens"] + vision
    completions = 2 * (result["body_parameters"] + result["head_parameters"]) * completion_tokens
    backward = 2 * (prompt + completions)
    return {"prefill": prompt, "decode": completions, "loss forward": completions, "backward": backward}


def floors(result: dict[str, Any], rate: dict[str, float]) -> dict[str, float]:
    """Seconds below which no phase can go on this machine: its FLOPs, or the weights read once per decode step."""
    found = {phase: flops / rate["flops"] for phase, flops in work(result).items()}
    weights = (result["body_parameters"] + result["head_parameters"]) * result["bytes_per_weight"]
    found["decode"] = max(found["decode"], result["case"]["completion_tokens"] * weights / rate["bytes"])
    # Weight, gradient and two moments are read; all but the gradient are written.
    found["optimizer"] = 7 * (weights + result["vision_parameters"] * result["bytes_per_weight"]) / rate["bytes"]
    return found


def print_phases(result: dict[str, Any], rate: dict[str, float], peak_tflops: float | None) -> None:
    sides = [name for name in SIDES if name in result]
    floor = floors(result, rate) if "body_parameters" in result else {}
    case = result["case"]
    tokens = case["prompts"] * case["group_size"] * case["completion_tokens"]
    print(
        f"\n{case['name']}: {case['prompts']} prompts x {case['group_size']} completions of {case['completion_tokens']}"
    )
    print()
    print_row("seconds", [*sides, "floor"])
    print(f"|{'---|' * (len(sides) + 2)}")
    for phase in PHASES:
        bound = [f"{floor[phase]:.2f}" if phase in floor else ""]
        print_row(phase, [f"{result[name]['phases'][phase]:.2f}" for name in sides] + bound)
    seconds = {name: result[name]["seconds"] for name in sides}
    rest = [seconds[name] - sum(result[name]["phases"].values()) for name in sides]
    print_row("everything else", [*(f"{value:.2f}" for value in rest), ""])
    print_row("step", [f"{value:.2f}" for value in [*seconds.values(), sum(floor.values())]])
    print_row("completion tokens/s", [*(f"{tokens / value:.1f}" for value in seconds.values()), ""])
    print_row("peak memory, GB", [*(f"{result[name]['peak_bytes'] / 1e9:.2f}" for name in sides), ""])
    if peak_tflops and floor:
        flops = sum(work(result).values())
        used = [flops / value / peak_tflops / 1e12 for value in seconds.values()]
        print_row("model FLOP utilisation", [*(f"{value:.1%}" for value in used), ""])
    if len(sides) == 2:
        print(f"\nTRL's step / ours: {ratio(result):.2f} in time, {memory_ratio(result):.2f} in peak memory")
    print(f"floor: {rate['flops'] / 1e9:.0f} GFLOP/s, {rate['bytes'] / 1e9:.1f} GB/s as measured just now")


def print_row(label: str, cells: list[str]) -> None:
    print(f"| {label} | {' | '.join(cells)} |")


SWEEP_HEADER = """
| group size | prompt tokens | completion tokens | recap, s | TRL, s | TRL / recap | memory, TRL / recap |
|---|---|---|---|---|---|---|"""


def print_sweep_row(result: dict[str, Any]) -> None:
    prompt = result.get("prompt_tokens", 0) // result["case"]["prompts"]
    seconds = [f"{result[name]['seconds']:.2f}" if name in result else "" for name in SIDES]
    both = all(name in result for name in SIDES)
    ratios = [f"{ratio(result):.2f}", f"{memory_ratio(result):.2f}"] if both else ["", ""]
    case = result["case"]
    cells = [case["group_size"], prompt, case["completion_tokens"], *seconds, *ratios]
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def ratio(result: dict[str, Any]) -> float:
    return float(result["trl"]["seconds"] / result["recap"]["seconds"])


def memory_ratio(result: dict[str, Any]) -> float:
    return float(result["trl"]["peak_bytes"] / result["recap"]["peak_bytes"])


def machine() -> str:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} CPU threads"
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "trl"))
    return f"{device}, {platform.system()} {platform.machine()}, Python {platform.python_version()}, {packages}"


if __name__ == "__main__":
    main()
