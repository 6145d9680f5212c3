"""The arms of the laptop study, the most telling first, and its forms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

BASELINE = "uniform"
"""The arm that all others are compared with."""

MARGIN = 0.02
"""Differences of the primary number up to this count as none."""

KEPT = ("grounding", "reading", "naming", "comparing", "copying", "subtraction")
"""The skills of the primary number: perception, two of which are replayed, and what no domain trains."""

LEARNT = ("counting", "arithmetic")
"""The skills that the reasoning domains train."""


@dataclass(frozen=True)
class Arm:
    """One arm, a file of experiments/laptop/.

    Attributes:
        name: of the file.
        asks: what it is there to tell.
        replays: the arm whose recorded weights it is trained with.
    """

    name: str
    asks: str
    replays: str | None = None

    @property
    def file(self) -> str:
        return f"experiments/laptop/{self.name}.gin"


ARMS = (
    Arm(BASELINE, "replay, weights all 1"),
    Arm("reasoning_only", "no replay"),
    Arm("recap_t0.2", "RECAP, weights far apart"),
    Arm("recap_t0.5", "RECAP, weights apart"),
    Arm("recap_t1", "RECAP, weights apart"),
    Arm("recap_t5", "RECAP, weights near 1"),
    Arm("yoked", "its course of weights, another seed's", "recap_t0.2"),
    Arm("permuted", "its weights, on the wrong objectives", "recap_t0.2"),
    Arm("mean", "its weights' averages, as constants", "recap_t0.2"),
    Arm("shuffled", "its weights, handed out at random", "recap_t0.2"),
    Arm("recap_released", "the paper's public code"),
    Arm("static", "constant weights: accuracy and IoU twice the rest"),
    Arm("static_replay", "constant weights: what is replayed twice the rest"),
    Arm("convergence_alone", "c alone"),
    Arm("instability_alone", "i alone"),
    Arm("exponential", "exponential averages for windows"),
    Arm("propmix", "replay by the sizes of the sources, by turns"),
    Arm("alternate", "uniform's replay, by turns"),
    Arm("propmix_within", "replay by the sizes of the sources, all in every step"),
    Arm("coreset", "replay of a fixed small subset"),
    Arm("kl", "KL to the base, no replay"),
    Arm("kl_on_replay", "KL on the replayed prompts alone"),
    Arm("replay_1_percent", "replay, 1 % of the prompts"),
    Arm("replay_5_percent", "5 % of the prompts"),
    Arm("replay_25_percent", "25 % of the prompts"),
    Arm("replay_50_percent", "50 % of the prompts"),
    Arm("reasoning_only_low_lr", "no replay, half the learning rate"),
    Arm("reasoning_only_high_lr", "no replay, twice the learning rate"),
    Arm("uniform_low_lr", "replay, half the learning rate"),
    Arm("kl_low", "KL, a quarter of β"),
    Arm("kl_high", "KL, four times β"),
)


@dataclass(frozen=True)
class Form:
    """How long the study is.

    Attributes:
        name: that the command line and tables of scores call it by.
        seeds: matched over arms.
        arms: in the order in which they are run.
        bindings: of every arm, after what its file says.
    """

    name: str
    seeds: str
    arms: Sequence[str]
    bindings: tuple[str, ...] = ()


LONG = Form("long", "0-7", tuple(arm.name for arm in ARMS))
"""As docs/laptop_protocol.md has it: a night on two cores."""

SHORT = Form(
    "short",
    "0-3",
    (BASELINE, "reasoning_only", "recap_t0.2", "yoked"),
    ("train.steps = 40", "EXAMPLES = 256", "reweighting.recap.window = 5"),
)
"""Twenty minutes on two cores. λ leaves 1 at step 11, after two windows of 5; of 10 it would not before step 21."""

FAVOURABLE = Form(
    "favourable",
    "0-7",
    (BASELINE, "recap_t0.5", "recap_t0.2"),
    ("grpo.scale = 'none'", "train.objective_scope = 'per_domain'", "train.steps = 240"),
)
"""The regime that was chosen to favour weights: seven objectives of unequal scale, long after saturation."""

FORMS = {form.name: form for form in (LONG, SHORT, FAVOURABLE)}


def chosen(names: Sequence[str]) -> list[Arm]:
    """The arms of these names in the order in which they can be run; with those that they need: the baseline, and whose weights
    they replay.

    Raises:
        ValueError: no such arm.
    """
    known = {arm.name: arm for arm in ARMS}
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"no arm {', '.join(unknown)}; there are {', '.join(known)}")
    needed = {BASELINE, *names, *(known[name].replays for name in names)}
    return [arm for arm in ARMS if arm.name in needed]
