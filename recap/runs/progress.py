"""What a person sees while a run goes on."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LINE_EVERY_S = 5.0  # without a terminal: a line now and then instead of a bar


class TrainingProgress:
    """A bar with step, rewards, weights, tokens per second and time left; lines where the output is no terminal."""

    def __init__(self, total: int, *, start: int = 0, enabled: bool = True) -> None:
        self.console = Console(quiet=not enabled, soft_wrap=True)
        self.total = total
        self._started = time.monotonic()
        self._start = start
        self._line_at = 0.0
        self._bar = Progress(
            TextColumn("[bold]step"),
            MofNCompleteColumn(),
            BarColumn(bar_width=20),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[summary]}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._task = self._bar.add_task("train", total=total, completed=start, summary="")

    def __enter__(self) -> TrainingProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def update(self, step: int, metrics: Mapping[str, float], news: Sequence[str] = ()) -> None:
        """Shows the metrics of a finished step, 1 to `total`, and what else happened."""
        self.say(*news)
        summary = summarise(metrics)
        if self.console.is_terminal:
            self._bar.update(self._task, completed=step, summary=summary)
            return
        now = time.monotonic()
        if step == self.total or now - self._line_at >= LINE_EVERY_S:
            self._line_at = now
            left = (now - self._started) / max(1, step - self._start) * (self.total - step)
            self.console.print(f"step {step}/{self.total}  {summary}  left {left:.0f} s", highlight=False)

    def say(self, *messages: str) -> None:
        for message in messages:
            self.console.print(message, highlight=False)


def summarise(metrics: Mapping[str, float]) -> str:
    """One line: every objective's reward or loss with its weight, and the throughput."""
    parts = []
    for name, weight in metrics.items():
        if name.startswith("weight/"):
            objective = name.removeprefix("weight/")
            reward = metrics.get(f"reward/{objective}")
            value = (
                f"{reward:.2f}" if reward is not None else f"loss {metrics.get(f'loss/{objective}', float('nan')):.2f}"
            )
            parts.append(f"{objective} {value} (λ {weight:.2f})")
    if "tokens_per_second" in metrics:
        parts.append(f"{metrics['tokens_per_second']:,.0f} tok/s")
    return "  ".join(parts)
