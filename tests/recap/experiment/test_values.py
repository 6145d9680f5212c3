"""Every bound value is checked against the annotation of its part, before anything is built."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import gin
import pytest

from recap.experiment.config import ConfigError, load_config
from recap.experiment.values import annotation_of, bindable
from registry import reweighting_policies

ROOT = Path(__file__).resolve().parents[3]
QUICKSTART = ROOT / "experiments" / "quickstart.gin"


def message_of(*bindings: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(QUICKSTART, bindings)
    return str(caught.value)


@pytest.mark.parametrize(
    ("binding", "said"),
    [
        ("train.steps = '3'", "train.steps must be an integer; it is '3'"),
        ("train.steps = 2.5", "train.steps must be an integer; it is 2.5"),
        ("train.steps = True", "train.steps must be an integer; it is True"),
        ("train.seed = -1", "train.seed must be at least 0; it is -1"),
        ("train.evaluate_every = '20'", "train.evaluate_every must be an integer or None; it is '20'"),
        ("train.signal = 'rewards'", "train.signal must be 'reward', 'shortfall' or 'loss'; it is 'rewards'"),
        ("adamw.learning_rate = '1e-4'", "adamw.learning_rate must be a number; it is '1e-4'"),
        ("adamw.betas = (0.9, 1.0)", "adamw.betas[1] must be less than 1; it is 1.0"),
        ("adamw.weight_decay = -0.1", "adamw.weight_decay must be at least 0; it is -0.1"),
        ("rollout.max_new_tokens = 48.0", "rollout.max_new_tokens must be an integer; it is 48.0"),
        ("rollout.shared_prefix = 1", "rollout.shared_prefix must be a boolean; it is 1"),
        ("tracking.rollouts_every = 0", "tracking.rollouts_every must be at least 1; it is 0"),
        ("reweighting.recap.window = 10.0", "reweighting.recap.window must be an integer; it is 10.0"),
        (
            "mixtures.weighted.rates = {'counting': '4'}",
            "mixtures.weighted.rates['counting'] must be a number; it is '4'",
        ),
        ("train.capabilities = @counting/Capability()", "train.capabilities must be a list"),
        ("counting/Capability.batch_size = 0", "counting/Capability.batch_size must be at least 1; it is 0"),
        ("counting/Domain.source = 'x.jsonl'", "counting/Domain.source must be a ReplaySource such as @replay."),
        ("counting/Domain.objectives = {'accuracy': 3}", "counting/Domain.objectives['accuracy'] must be callable or"),
        ("train.domains = [@counting/Domain(), 'x']", "train.domains[1] must be a Domain such as @Domain(); it is 'x'"),
    ],
)
def test_a_wrong_value_names_binding_value_and_what_is_allowed(binding: str, said: str) -> None:
    message = message_of(binding)
    assert said in message
    assert message.endswith(f"bound by -b {binding!r}")


@pytest.mark.parametrize(
    ("binding", "advice"),
    [
        ("train.mixture = @mixtures.uniform", "with parentheses: @mixtures.uniform()"),
        ("train.adapter = @lora", "with parentheses: @lora()"),
        ("train.reweighting = @reweighting.recap()", "without parentheses: @reweighting.recap"),
    ],
)
def test_parentheses(binding: str, advice: str) -> None:
    message = message_of(binding)
    assert f"write it {advice}" in message
    assert "Traceback" not in message
    assert "bind what is missing" not in message


@pytest.mark.parametrize(
    "binding",
    [
        "adamw.learning_rate = 1",  # an integer is a number
        "adamw.betas = [0.9, 0.99]",  # gin has both kinds of list
        "rewards.memory_gb = None",
        "train.domains = (@counting/Domain(), @arithmetic/Domain(), @grounding/Domain(), @reading/Domain())",
        "counting/Domain.prompt = %prompts.THINKING",
        "reweighting.recap.rate_limit = 5",
        "tracking.tags = {'who': 'me'}",
        "rollout.generator = @vllm_server()",
    ],
)
def test_what_is_allowed(binding: str) -> None:
    load_config(QUICKSTART, [binding])


def test_a_value_from_a_macro_is_shown_with_it_and_located_where_it_is_used(tmp_path: Path) -> None:
    file = tmp_path / "mine.gin"
    file.write_text(f"include '{QUICKSTART}'\nSTEPS = '3'\ntrain.steps = %STEPS\n")
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert str(caught.value) == f"train.steps must be an integer; it is '3' (%STEPS)\n  bound at {file}:3"


def test_all_wrong_values_are_one_error_in_included_files_too(tmp_path: Path) -> None:
    (tmp_path / "part.gin").write_text("# a comment\n\ntrain.steps = '3'\n")
    file = tmp_path / "mine.gin"
    file.write_text(f"include '{QUICKSTART}'\ninclude 'part.gin'\nrollout.group_size = 'many'\n")
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    message = str(caught.value)
    assert f"bound at {tmp_path}/part.gin:3" in message
    assert f"bound at {file}:3" in message


def test_a_plugin_s_annotations_count_and_unknown_ones_do_not(tmp_path: Path) -> None:
    plugin = tmp_path / "checked_policy.py"
    plugin.write_text(
        textwrap.dedent(
            """
            from __future__ import annotations
            from typing import TYPE_CHECKING
            from registry import reweighting_policies
            from registry.reweighting.uniform import Uniform
            if TYPE_CHECKING:
                from nowhere import Nothing

            @reweighting_policies.register("checked_policy")
            class Checked(Uniform):
                def __init__(self, objectives, floor: float = 0.1, thing: Nothing = None, free=None):
                    super().__init__(objectives)
            """
        )
    )
    use = "train.reweighting = @reweighting.checked_policy"
    free = ["reweighting.checked_policy.thing = 'x'", "reweighting.checked_policy.free = [1]"]
    with reweighting_policies.temporarily():
        load_config(QUICKSTART, [use, *free], [plugin])
        with pytest.raises(ConfigError, match=r"reweighting\.checked_policy\.floor must be a number; it is 'low'"):
            load_config(QUICKSTART, [use, "reweighting.checked_policy.floor = 'low'"], [plugin])


def test_every_parameter_of_every_built_in_part_has_an_annotation_that_can_be_read() -> None:
    load_config(QUICKSTART)
    parts = [
        configurable
        for selector, configurable in gin.config._REGISTRY.items()
        if not selector.startswith("gin.") and configurable.wrapped.__module__.startswith(("recap.", "registry."))
    ]
    assert len(parts) > 40
    unread = [
        f"{part.selector}.{name}"
        for part in parts
        for name in bindable(part.wrapped)
        if annotation_of(part.wrapped, name) is Any
    ]
    assert not unread
