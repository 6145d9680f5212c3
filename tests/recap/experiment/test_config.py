"""A typo gives one readable error that names the file, the binding and the near match."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from recap.experiment.config import ConfigError, load_config, refuse_unused
from registry import reweighting_policies, verifiers

ROOT = Path(__file__).resolve().parents[3]
QUICKSTART = ROOT / "experiments" / "quickstart.gin"


def error_of(tmp_path: Path, text: str, *bindings: str) -> str:
    file = tmp_path / "mine.gin"
    file.write_text(f"include '{QUICKSTART}'\n" + textwrap.dedent(text))
    with pytest.raises(ConfigError) as caught:
        load_config(file, bindings).experiment.check()
    return str(caught.value)


def test_a_mistyped_policy(tmp_path: Path) -> None:
    message = error_of(tmp_path, "train.reweighting = @reweighting.recpa\n")
    assert "mine.gin:" in message
    assert "no reweighting policy 'recpa'" in message
    assert "did you mean: recap" in message


def test_a_mistyped_verifier_in_a_mapping(tmp_path: Path) -> None:
    message = error_of(tmp_path, "grounding/Domain.objectives = {'iou': @verifiers.iuo()}\n")
    assert "mine.gin:" in message
    assert "did you mean: iou" in message


def test_a_mistyped_parameter(tmp_path: Path) -> None:
    message = error_of(tmp_path, "train.stesp = 3\n")
    assert "mine.gin:2" in message
    assert "'stesp'" in message
    assert "did you mean: steps" in message


def test_a_mistyped_configurable(tmp_path: Path) -> None:
    message = error_of(tmp_path, "rolout.group_size = 3\n")
    assert "mine.gin:2" in message
    assert "did you mean: rollout" in message


def test_a_mistyped_binding_on_the_command_line(tmp_path: Path) -> None:
    assert "did you mean: steps" in error_of(tmp_path, "", "train.stesp = 3")


def test_a_setting_that_cannot_work_names_its_binding_and_place(tmp_path: Path) -> None:
    message = error_of(tmp_path, "rollout.group_size = 1\n")
    assert "rollout.group_size must be at least 2" in message
    assert "mine.gin:2" in message


def test_a_mistyped_column(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"problem": "1+1=?", "answer": "2"}\n')
    file = tmp_path / "mine.gin"
    file.write_text(
        f"include '{QUICKSTART}'\n"
        "train.mixture = @mixtures.uniform()\n"
        "train.domains = [@file/Domain()]\n"
        "file/Domain.source = @replay.jsonl()\n"
        f"replay.jsonl.path = '{tmp_path}/rows.jsonl'\n"
        "replay.jsonl.columns = {'question': 'probelm', 'answer': 'answer'}\n"
        "file/Domain.objectives = {'accuracy': @verifiers.accuracy()}\n"
    )
    experiment = load_config(file).experiment
    with pytest.raises(ValueError, match="no column 'probelm'") as caught:
        experiment.check()
    message = str(caught.value)
    assert "rows.jsonl" in message
    assert "did you mean" in message
    assert "problem" in message
    assert "file/Domain.source" in message


def test_a_missing_file_gets_its_near_match() -> None:
    with pytest.raises(ConfigError, match=r"did you mean .*quickstart\.gin"):
        load_config(ROOT / "experiments" / "quickstrat.gin")


def test_an_undefined_macro(tmp_path: Path) -> None:
    assert "%STEPS" in error_of(tmp_path, "train.steps = %STEPS\n")


def test_a_class_without_parentheses(tmp_path: Path) -> None:
    assert "parentheses" in error_of(tmp_path, "grounding/Domain.objectives = {'iou': @verifiers.iou}\n")


def test_a_binding_that_nothing_asks_for_is_an_error(tmp_path: Path) -> None:
    message = error_of(tmp_path, "groundign/Domain.prompt = '{question}'\n")
    assert "groundign/Domain.prompt is bound, but nothing asks for it" in message
    assert "mine.gin:2" in message
    assert "did you mean: grounding/Domain.prompt?" in message
    assert "--allow-unused" in message


def test_a_macro_that_nobody_reads_is_an_error(tmp_path: Path) -> None:
    message = error_of(tmp_path, "", "learning_rate = 1e-5")
    assert "learning_rate is bound, but nothing asks for it" in message
    assert "bound by -b 'learning_rate = 1e-5'" in message
    assert "did you mean: adamw.learning_rate?" in message
    assert "did you mean: TINY_ANSWER?" in error_of(tmp_path, "TINY_ANSWERS = '{question}'\n")


def test_unused_bindings_can_be_allowed(tmp_path: Path) -> None:
    file = tmp_path / "mine.gin"
    file.write_text(f"include '{QUICKSTART}'\ngroundign/Domain.prompt = '{{question}}'\n")
    config = load_config(file, ["learning_rate = 1e-5"], allow_unused=True)
    assert [unused.binding.name for unused in config.unused] == ["groundign/Domain.prompt", "learning_rate"]
    assert len(config.notes) == 2
    refuse_unused(config, new=["train.steps = 3"])
    with pytest.raises(ConfigError, match=r"^learning_rate is bound"):
        refuse_unused(config, new=["learning_rate = 1e-5"])


def test_unused_bindings_of_included_files_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "mine.gin"
    file.write_text(f"include '{QUICKSTART}'\ntrain.reweighting = @reweighting.uniform\n")
    assert load_config(file).notes == ["2 bindings of included files are not asked for"]


def test_what_a_binding_puts_out_of_use_is_no_fault_of_the_file(tmp_path: Path) -> None:
    """The file alone asks for its window; it may not be edited to try another policy."""
    file = tmp_path / "mine.gin"
    assert "WINDOW is bound" in error_of(tmp_path, "WINDOW = 5\n", "train.reweighting = @reweighting.uniform")
    file.write_text(f"include '{QUICKSTART}'\nreweighting.recap.window = 5\n")
    config = load_config(file, ["train.reweighting = @reweighting.uniform"])
    names = [unused.binding.name for unused in config.unused if not unused.own]
    assert names == ["reweighting.recap.window", "reweighting.recap.temperature"]
    assert f"reweighting.recap.window is bound at {file}:2, but nothing asks for it" in config.notes
    assert config.experiment.build_reweighting().weights["iou"] == 1.0  # gin holds the configuration with the binding


@pytest.mark.parametrize("where", ["file", "-b"])
def test_a_mistyped_parameter_of_a_registered_part(tmp_path: Path, where: str) -> None:
    binding = "reweighting.recap.windw = 5"
    message = error_of(tmp_path, binding) if where == "file" else error_of(tmp_path, "", binding)
    assert "did you mean: window?" in message
    assert "its parameters: window, temperature, alpha" in message
    assert "objectives" not in message
    assert ("mine.gin:2" if where == "file" else f"-b {binding!r}") in message


@pytest.mark.parametrize(
    ("binding", "said"),
    [
        ("rollout.group_size = 1", "rollout.group_size must be at least 2"),
        ("train.reweighting = @reweighting.recpa", "did you mean: recap"),
        ("train.steps = three", "three"),
        ("train.steps", "expected ':' or '='"),
        ("train.domains = [@counting/Domain(),", "not closed"),
        ("replay.grounding.image_size = 5", "image_size must be a positive multiple of 21"),
        ("rolout.group_size = 3", "did you mean: rollout"),
    ],
)
def test_an_error_in_a_binding_of_the_command_line_is_located_there(binding: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(QUICKSTART, ["train.seed = 1", binding])
    message = str(caught.value)
    assert said in message
    assert f"-b {binding!r}" in message
    assert ".gin:" not in message
    assert "In call to configurable" not in message


def test_a_part_s_own_error_is_located_by_its_scope_and_parameter(tmp_path: Path) -> None:
    message = error_of(tmp_path, "held_out/replay.grounding.image_size = 5\n")
    assert "image_size must be a positive multiple of 21, not 5" in message
    assert "mine.gin:2" in message


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    text = "train.domains = [@counting/Domain(), @mine/Domain()]\nmine/Domain.source = @replay.grounding()\n"
    assert "mine/Domain.objectives must be given a value" in error_of(tmp_path, text)
    message = error_of(tmp_path, "counting/Domain.source = @replay.jsonl()\n")
    assert message.startswith("counting/replay.jsonl.path must be given a value, in ")


def test_a_verifier_that_is_a_function_is_written_without_parentheses(tmp_path: Path) -> None:
    plugin = tmp_path / "function_verifier.py"
    plugin.write_text(
        "from registry import verifiers\n@verifiers.register('of_length')\n"
        "def of_length(completion, example):\n    return float(len(completion) < 9)\n"
    )
    use = "grounding/Domain.objectives = {'length': @verifiers.of_length%s}"
    with verifiers.temporarily():
        load_config(QUICKSTART, [use % ""], [plugin])
        with pytest.raises(ConfigError, match="write it without parentheses"):
            load_config(QUICKSTART, [use % "()"], [plugin])


def test_a_capability_s_verifier_without_parentheses() -> None:
    with pytest.raises(
        ConfigError, match=r"counting/Capability\.verifier is the class Accuracy: it lacks its parentheses"
    ):
        load_config(QUICKSTART, ["counting/Capability.verifier = @verifiers.accuracy"])


def test_an_include_of_itself(tmp_path: Path) -> None:
    file = tmp_path / "mine.gin"
    file.write_text("include 'mine.gin'\n")
    with pytest.raises(ConfigError, match="includes itself"):
        load_config(file)


HELD_OUT = """
{0}/Domain.source = @{0}/replay.jsonl()
{0}/replay.jsonl.path = '{0}.jsonl'
{0}/Domain.objectives = {{'next_token': @next_token_prediction()}}
{0}/Capability.source = {1}
{0}/Capability.verifier = @verifiers.accuracy()
"""
BOTH = """
train.domains = [@first/Domain(), @second/Domain()]
train.capabilities = [@first/Capability(), @second/Capability()]
train.mixture = @mixtures.uniform()
"""


def data_domain(name: str, reference: str, path: str | None = None) -> str:
    held_out = f"{reference[1:-2]}.path = '{path}'\n" if path else ""
    return HELD_OUT.format(name, reference) + held_out


@pytest.mark.parametrize("reference", ["@held_out/replay.jsonl()", "@replay.jsonl()"])
@pytest.mark.parametrize("apart", [False, True], ids=["one file", "two files"])
def test_two_capabilities_that_share_one_scope_by_mistake(tmp_path: Path, reference: str, apart: bool) -> None:
    """gin keeps one path for both: the second capability's, whatever was bound for the first."""
    first, second = (data_domain(name, reference, f"{name}_held_out.jsonl") for name in ("first", "second"))
    first = first.replace("@first/replay.jsonl()", "@replay.arithmetic()").replace("first/replay.jsonl.path = ", "#")
    second = second.replace("@second/replay.jsonl()", "@replay.arithmetic()").replace(
        "second/replay.jsonl.path = ", "#"
    )
    if apart:
        (tmp_path / "first.gin").write_text(first)
        first = f"include '{tmp_path}/first.gin'\n"
    message = error_of(tmp_path, f"{first}{second}{BOTH}")
    assert "first/Capability.source and second/Capability.source share one source" in message
    assert "would read" in message
    assert "second_held_out.jsonl'" in message
    assert "mine.gin:" in message
    assert "/replay.jsonl() and second" in message


def test_sources_shared_on_purpose_are_allowed(tmp_path: Path) -> None:
    """One file, judged twice, and its path replaced by the file that includes all."""
    reference = "@held_out/replay.jsonl()"
    base = tmp_path / "base.gin"
    base.write_text(
        f"include '{QUICKSTART}'\n{data_domain('first', reference, 'a.jsonl')}{data_domain('second', reference)}{BOTH}"
    )
    assert not load_config(base).doubts
    file = tmp_path / "mine.gin"
    file.write_text(f"include '{base}'\nheld_out/replay.jsonl.path = 'b.jsonl'\n")
    load_config(file, ["held_out/replay.jsonl.path = 'c.jsonl'"])


def test_a_capability_that_measures_on_training_data_is_a_note(tmp_path: Path) -> None:
    file = tmp_path / "mine.gin"
    file.write_text(f"include '{QUICKSTART}'\ngrounding/Capability.source = @replay.grounding()\n")
    (note,) = [note for note in load_config(file).notes if "measures" in note]
    assert (
        note == "grounding/Capability.source has the settings of grounding/Domain.source: it measures on training data"
    )


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ("{'accuracy': 1.0}", "gives no weight for answer_format, iou, next_token, thinking_format"),
        ("{**dict.fromkeys(self.objectives, 1.0), 'more': 1.0}", "weighs more; which is no objective"),
        ("self.nothing", "fails to give weights before the first step: AttributeError"),
    ],
)
def test_a_policy_whose_weights_are_not_those_of_the_objectives(tmp_path: Path, weights: str, said: str) -> None:
    name = f"wrong_{abs(hash(weights))}"
    plugin = tmp_path / f"{name}.py"
    plugin.write_text(
        "from registry import reweighting_policies\nfrom registry.reweighting.base import ReweightingPolicy\n"
        f"@reweighting_policies.register('{name}')\nclass Wrong(ReweightingPolicy):\n"
        "    def update(self, signals): ...\n    @property\n"
        f"    def weights(self):\n        return {weights}\n"
    )
    with reweighting_policies.temporarily(), pytest.raises(ConfigError) as caught:
        load_config(QUICKSTART, [f"train.reweighting = @reweighting.{name}"], [plugin])
    assert f"train.reweighting: Wrong {said}" in str(caught.value)


def test_later_bindings_win_and_the_operative_config_says_so() -> None:
    config = load_config(QUICKSTART, ["train.steps = 7", "train.reweighting = @reweighting.uniform"])
    assert config.experiment.steps == 7
    assert "train.steps = 7" in config.operative
    assert "@reweighting.uniform" in config.operative


def test_checking_an_experiment_loads_no_model() -> None:
    """`recap check` must stay quick: torch is imported, transformers' models and weights are not."""
    code = (
        "import sys\nfrom recap.experiment.config import load_config\n"
        f"load_config({str(QUICKSTART)!r}).experiment.check()\n"
        "bad = [m for m in sys.modules if m.startswith(('transformers.models.qwen', 'datasets', 'mlflow.', 'sklearn'))]\n"
        "sys.exit(f'loaded {bad[:5]}' if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
