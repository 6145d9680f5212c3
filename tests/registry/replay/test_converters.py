import pytest

from registry.example import MalformedExample
from registry.replay import converters


def test_reasoning_before_the_answer_is_the_target():
    reply = "<think>1 + 1</think><answer>2</answer>"
    turns = [{"from": "human", "value": "1 + 1?"}, {"from": "gpt", "value": reply}]
    assert converters.conversations({"conversations": turns})["target"] == reply
    turns[1]["value"] = "<answer>2</answer>"
    assert "target" not in converters.conversations({"conversations": turns})


@pytest.mark.parametrize(
    "turns", [None, [], "text", [{"from": "human", "value": "?"}], [{"from": "gpt", "value": "!"}] * 2, ["a", "b"]]
)
def test_conversations_refused(turns):
    with pytest.raises(MalformedExample, match="conversations"):
        converters.conversations({"conversations": turns})


@pytest.mark.parametrize(
    ("solution", "answer"),
    [
        ("He has 3 * 14 = <<3*14=42>>42.\n#### 42", "42"),
        ("A price.\n#### 1,234", "1,234"),
        (r"So $x = \boxed{\frac{1}{2}}$.", r"\frac{1}{2}"),
    ],
)
def test_worked_solution(solution, answer):
    found = converters.worked_solution({"question": "q", "answer": solution})
    assert (found["answer"].strip(), found["target"]) == (answer, solution)


@pytest.mark.parametrize("solution", ["It is 42.", "#### ", "", None, 42])
def test_worked_solution_without_result(solution):
    with pytest.raises(MalformedExample, match="worked solution"):
        converters.worked_solution({"question": "q", "answer": solution})


def test_verl():
    row = {
        "prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "1 + 1?"}],
        "reward_model": {"ground_truth": "2", "style": "rule"},
        "images": None,
    }
    found = converters.verl(row)
    assert (found["question"], found["answer"]) == ("1 + 1?", "2")
    assert converters.verl({**row, "images": ["a.png"]})["image"] == ["a.png"]


@pytest.mark.parametrize(
    "changed",
    [
        {"prompt": "1 + 1?"},
        {"prompt": []},
        {"prompt": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
        {"reward_model": "2"},
    ],
)
def test_verl_refused(changed):
    row = {"prompt": [{"role": "user", "content": "1 + 1?"}], "reward_model": {"ground_truth": "2"}}
    with pytest.raises(MalformedExample):
        converters.verl({**row, **changed})
