"""How often `accuracy` judges as a file of cases says: wrong answers paid, right ones refused, by kind.

    python tools/accuracy_agreement.py tests/registry/verifiers/data/accuracy*.jsonl --show

A line of a file: {"kind", "reference", "answer", "reward", optional "choices"}; `answer` is what stands in the tags.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

from recap.rewards.requests import ScoreRequest
from recap.rewards.workers import RewardWorkers
from registry.example import Example
from registry.verifiers.accuracy import Accuracy


def judge(cases: list[dict[str, Any]]) -> list[float | None]:
    """The reward of every case, by the worker processes that training uses."""
    verifier = Accuracy()
    requests = [
        ScoreRequest(
            verifier,
            f"<answer>{case['answer']}</answer>",
            Example(id=str(i), question="?", answer=case["reference"], choices=tuple(case.get("choices", ()))),
        )
        for i, case in enumerate(cases)
    ]
    with RewardWorkers(timeout_s=60, workers=1) as workers:
        return workers.score(requests).rewards


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--show", action="store_true", help="every case that is judged otherwise")
    arguments = parser.parse_args()
    for file in arguments.files:
        cases = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        start = time.perf_counter()
        rewards = judge(cases)
        wrong = [(case, reward) for case, reward in zip(cases, rewards, strict=True) if reward != case["reward"]]
        paid = sum(case["reward"] == 0 for case, _ in wrong)
        share = 1 - len(wrong) / len(cases)
        print(
            f"{file}: {len(cases)} cases, {share:.1%} agree; {paid} wrong answers paid, {len(wrong) - paid} right ones"
            f" refused; {time.perf_counter() - start:.1f} s"
        )
        for kind, count in Counter(case["kind"] for case, _ in wrong).most_common():
            print(f"  {count}  {kind}")
        if arguments.show:
            for case, reward in wrong:
                print(f"  {case['reward']} -> {reward}  {case['reference']!r} answered {case['answer']!r}")


if __name__ == "__main__":
    main()
