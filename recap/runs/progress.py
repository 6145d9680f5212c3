"""What a person sees while a run goes on."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from types import TracebackType

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

LINE_EVERY_S = 5.0  # without a terminal: a line now and then instead of a bar
BESIDE_THE_BAR = 38  # columns that steps and times take


class TrainingProgress:
    """A bar with step and time left, rewards, weights and tokens per second under it; lines where the output is no terminal.

    Args:
        total: steps of the run.
        start: steps taken already.
        enabled: False on a process that says nothing.
        console: to print on; None: the standard output.
    """

    def __init__(self, total: int, *, start: int = 0, enabled: bool = True, console: Console | None = None) -> None:
        self.console = console or Console(quiet=not enabled, soft_wrap=True)
        self.total = total
        self._started = time.monotonic()
        self._start = start
        self._line_at = 0.0
        self._draws = self.console.is_terminal and not self.console.is_dumb_terminal
        self._bar = _Bar(
            TextColumn("[bold]step"),
            MofNCompleteColumn(),
            *([BarColumn(bar_width=width)] if (width := min(20, self.console.width - BESIDE_THE_BAR)) > 0 else []),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self._draws,
        )
        self._task = self._bar.add_task("train", total=total, completed=start)

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
        if self._draws:
            self._bar.summary = summary
            self._bar.update(self._task, completed=step)
            return
        now = time.monotonic()
        if step == self.total or now - self._line_at >= LINE_EVERY_S:
            self._line_at = now
            left = (now - self._started) / max(1, step - self._start) * (self.total - step)
            self.say(f"step {step}/{self.total}  {summary}  left {timedelta(seconds=round(left))}")

    def say(self, *messages: str | Table) -> None:
        """Prints lines as they are, for what they say of paths and models is no markup; and tables."""
        for message in messages:
            self.console.print(message, highlight=False, markup=False, emoji=False)


class _Bar(Progress):
    """Steps and times on one line, and under it a summary, on as many lines as the terminal's width asks for."""

    summary = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        yield from map(Text, _lines(self.summary, self.console.width) if self.summary else ())


def _lines(summary: str, width: int) -> list[str]:
    """Broken between its parts; a part that is longer than a line is cut by the terminal."""
    lines = [""]
    for part in summary.split("  "):
        longer = f"{lines[-1]}  {part}" if lines[-1] else part
        lines[-1:] = [longer] if len(longer) <= width or not lines[-1] else [lines[-1], part]
    return lines


def summarise(metrics: Mapping[str, float]) -> str:
    """One line: every objective's reward or loss with its weight, and the throughput.

    The loss is what the objective reports, a mean over the domains that carry it: `loss/…` is its part of the step loss,
    a mean over all domains of the step, and so smaller by their number.
    """
    parts = []
    for name, weight in metrics.items():
        if name.startswith("weight/"):
            objective = name.removeprefix("weight/")
            reward = metrics.get(f"reward/{objective}")
            loss = metrics.get(f"signal/{objective}", math.nan)
            value = f"{reward:.2f}" if reward is not None else f"loss {loss:.2f}"
            parts.append(f"{objective} {value} (λ {weight:.2f})")
    if "tokens_per_second" in metrics:
        parts.append(f"{metrics['tokens_per_second']:,.0f} tok/s")
    return "  ".join(parts)
