"""What a person sees of a run: on terminals of any width, and in a file."""

from __future__ import annotations

import io
import re

import pytest
from rich.cells import cell_len
from rich.console import Console

from recap.runs.progress import TrainingProgress, summarise

REWARDED = ("accuracy", "thinking_format", "iou", "answer_format")
METRICS = {
    **{f"weight/{name}": 1.0 for name in (*REWARDED, "next_token")},
    **{f"reward/{name}": 0.5 for name in REWARDED},
    "loss/next_token": 0.6,  # its part of the step loss, of which two domains have a share each
    "signal/next_token": 1.2,
    "tokens_per_second": 1234.0,
}
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def shown(console: Console, *said: str) -> str:
    with TrainingProgress(300, console=console) as progress:
        progress.say(*said)
        progress.update(3, METRICS)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [40, 80, 120])
def test_a_terminal_of_any_width_shows_the_steps_the_time_left_and_every_objective(width: int) -> None:
    text = shown(Console(file=io.StringIO(), force_terminal=True, width=width, soft_wrap=True, _environ={}))
    frame = CONTROL.sub("", text.rpartition("step")[2])
    assert "3/300" in frame
    assert "left" in frame
    for name in (*REWARDED, "next_token"):
        assert name in frame
    assert max(cell_len(line) for line in frame.splitlines()) <= width


@pytest.mark.parametrize("environment", [{}, {"TERM": "dumb"}], ids=["file", "dumb terminal"])
def test_where_nothing_can_be_drawn_there_are_plain_lines(environment: dict[str, str]) -> None:
    dumb = bool(environment)
    console = Console(file=io.StringIO(), force_terminal=dumb, color_system=None, soft_wrap=True, _environ=environment)
    text = shown(console, "saved runs/[1]/:END: of this run")
    assert "saved runs/[1]/:END: of this run\n" in text  # no markup, no emoji
    assert re.search(r"^step 3/300  accuracy 0\.50.*left \d:\d\d:\d\d$", text, re.MULTILINE)
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", text)


def test_the_loss_shown_is_the_mean_over_the_objective_s_own_domains() -> None:
    """Not its part of the step loss, which is smaller by the share of those domains."""
    assert "next_token loss 1.20 (λ 1.00)" in summarise(METRICS)
