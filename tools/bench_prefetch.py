"""Steps on pictures of a camera's size, with and without the next step's prompts fetched while one trains.

    python tools/bench_prefetch.py --steps 8
    python tools/bench_prefetch.py --width 2048 --height 1536 --prompts 16

Two trainers of the tiny Qwen2.5-VL take steps in turn, on the same JPEG files, with one thread each; the fetching has a core
of its own where there is one. The first step of each is not counted.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
from PIL import Image

from recap.experiment.config import load_config
from recap.learning.trainer import Trainer

QUICKSTART = Path(__file__).resolve().parents[1] / "experiments" / "quickstart.gin"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=8, help="counted steps of each")
    parser.add_argument("--prompts", type=int, default=8, help="of a step, each with a picture")
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--height", type=int, default=768)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, options.prompts * (options.steps + 2), (options.width, options.height))
        fetching, waiting = (trainer_of(folder, options.prompts, options.steps + 2) for _ in range(2))
        waiting.prefetch.begin = lambda step: None  # type: ignore[method-assign]
        with fetching.experiment.rewards, waiting.experiment.rewards:
            taken: dict[bool, list[float]] = {True: [], False: []}
            for _ in range(options.steps + 1):
                for trainer in (fetching, waiting):
                    started = time.perf_counter()
                    trainer.step()
                    taken[trainer is fetching].append(time.perf_counter() - started)
            started = time.perf_counter()
            waiting.draw()
            reading = time.perf_counter() - started
    ahead, before = (median(taken[which][1:]) for which in (True, False))
    print(
        f"{options.prompts} JPEG files of {options.width} x {options.height} a step; torch {torch.__version__}, one thread"
    )
    print(f"a step without: {before:.2f} s, of which reading takes {reading:.2f} s; with: {ahead:.2f} s")
    print(f"without / with: {before / ahead:.2f}; {(before - ahead) / reading:.0%} of the reading is gone")


def write(folder: Path, count: int, size: tuple[int, int]) -> None:
    """Noisy pictures, which take as long to decode as photographs, with a question each."""
    rows = []
    for number in range(count):
        channels = [Image.effect_noise((size[0] // 4, size[1] // 4), 80).resize(size) for _ in range(3)]
        Image.merge("RGB", channels).save(folder / f"{number}.jpg", quality=92)
        rows.append({"question": "How many?", "answer": str(number % 7), "image": f"{number}.jpg"})
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")


def trainer_of(folder: Path, prompts: int, steps: int) -> Trainer:
    bindings = [
        "backends.tiny_qwen2_5_vl.weights = 'random'",
        "train.domains = [@pictures/Domain()]",
        "pictures/Domain.source = @replay.jsonl()",
        f"replay.jsonl.path = '{folder}/rows.jsonl'",
        "pictures/Domain.objectives = {'format': @verifiers.answer_format()}",
        "train.mixture = @mixtures.uniform()",
        "train.capabilities = []",
        f"train.prompts_per_step = {prompts}",
        f"train.steps = {steps}",
        "rollout.group_size = 4",
        "rollout.max_new_tokens = 32",
        "grpo.skip_zero_advantage = False",
    ]
    return Trainer(load_config(QUICKSTART, bindings, allow_unused=True).experiment)


if __name__ == "__main__":
    main()
