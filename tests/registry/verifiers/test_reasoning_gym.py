import doctest
import inspect
import pickle
import re
import sys

import pytest

from registry.example import Example
from registry.replay.reasoning_gym import ReasoningGym
from registry.verifiers import reasoning_gym as module
from registry.verifiers.base import UNDECIDED
from registry.verifiers.reasoning_gym import EVALUATED, PARSED_BY_SYMPY, ReasoningGymScore

gym = pytest.importorskip("reasoning_gym.factory")

judge = ReasoningGymScore()


def example_of(task, position=0):
    return ReasoningGym(task, length=20, seed=1).example(position)


def test_docstrings():
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(
    "task", ["leg_counting", "simple_equations", "countdown", "sudoku", "polynomial_multiplication"]
)
def test_reference_is_right(task):
    for position in range(5):
        example = example_of(task, position)
        assert judge(f"<think>...</think><answer>\n{example.answer}\n</answer>", example) == 1.0


def test_wrong_and_missing_answers():
    example = example_of("leg_counting")
    wrong = str(int(example.answer) + 1)
    assert judge(f"<answer>{wrong}</answer>", example) == 0.0
    assert judge(f"<answer>{example.answer}</answer><answer>{wrong}</answer>", example) == 0.0, "the last one counts"
    assert judge("", example) == judge("<answer></answer>", example) == judge("<answer>" + "1" * 20_000, example) == 0.0


def test_a_short_answer_without_tags():
    example = example_of("leg_counting")
    assert judge(f" {example.answer}\n", example) == 1.0
    assert judge(f"{example.answer}\nor so", example) == 0.0
    assert judge(f"<think>{example.answer}", example) == 0.0
    assert judge(f"{example.answer}" + " " * 100 + ".", example) == 0.0


def test_many_right_answers_and_part_of_the_reward():
    example = example_of("countdown")
    assert judge(f"<answer>0 + {example.answer}</answer>", example) < 1.0, "0 is none of the numbers"
    assert judge(f"<answer>({example.answer})</answer>", example) == 1.0


def test_settings_of_the_task_reach_its_scorer():
    example = ReasoningGym("decimal_arithmetic", config={"max_num_decimal_places": 3}).example(0)
    assert judge(f"<answer>{float(example.answer) + 0.0004:.4f}</answer>", example) == 1.0
    assert judge(f"<answer>{float(example.answer) + 0.04:.4f}</answer>", example) == 0.0


def test_other_examples():
    example = Example(id="1", question="1 + 1?", answer="2")
    assert judge("<answer>2</answer>", example) is None
    assert judge.shortcut("<answer>2</answer>", example) is None


def test_shortcut_agrees_and_it_can_be_sent_elsewhere():
    example = example_of("leg_counting")
    assert judge.shortcut(f"<answer>{example.answer}</answer>", example) is UNDECIDED
    judge(f"<answer>{example.answer}</answer>", example)
    copy, same = pickle.loads(pickle.dumps((judge, example)))
    assert copy(f"<answer>{example.answer}</answer>", same) == 1.0


ATTACKS = (
    "open({file!r}, 'w')",
    "[open({file!r}, 'w')]",
    "[open][0]({file!r}, 'w')",
    "(lambda f: open(f, 'w'))({file!r})",
    "__import__('os').system('touch ' + {file!r})",
    "f\"{{open({file!r}, 'w')}}\"",
    'S("open(" + repr({file!r}) + ", \'w\')")',
    "  open({file!r}, 'w')!",
)


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("task", sorted(EVALUATED | PARSED_BY_SYMPY))
def test_an_answer_is_never_run(task, attack, tmp_path):
    file = tmp_path / "written"
    assert judge(f"<answer>{attack.format(file=str(file))}</answer>", example_of(task)) == 0.0
    assert not file.exists()


def test_answers_as_python_lists_still_count():
    example = example_of("spiral_matrix")
    assert judge(f"<answer>[{example.answer.replace(' ', ', ')}]</answer>", example) == pytest.approx(0.1)


def test_every_task_that_may_run_answers_is_known():
    """Fails when a new version of the package brings another: read its scorer, and add it to one of the three sets."""
    running = re.compile(r"parse_expr|sympify|\beval\(|\bexec\(|parse_latex|\bpickle\b")
    harmless = {"number_sorting", "bitwise_arithmetic"}  # eval of their own text

    def may_run(kind):
        scorer = inspect.getsource(kind.score_answer)
        called = [scorer]
        for name in set(re.findall(r"\b(\w+)\(", scorer)):
            helper = getattr(kind, name, None) or getattr(sys.modules[kind.__module__], name, None)
            called += [inspect.getsource(helper)] if inspect.isfunction(helper) else []
        return any(running.search(source) for source in called)

    found = {task for task, (kind, _) in gym.DATASETS.items() if may_run(kind)}
    assert found - harmless == EVALUATED | PARSED_BY_SYMPY
