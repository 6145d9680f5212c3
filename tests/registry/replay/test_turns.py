"""Rows whose question is a chat, through a file."""

import doctest
import json

import pytest
from PIL import Image

from registry.replay import turns
from registry.replay.files import Jsonl
from registry.verifiers.verl_function import VerlFunction


def test_examples_in_docstrings():
    result = doctest.testmod(turns)
    assert result.attempted
    assert not result.failed


def example(tmp_path, row, **settings):
    Image.new("L", (16, 12)).save(tmp_path / "a.png")
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    return Jsonl(str(tmp_path / "rows.jsonl"), shuffle=False, **settings).example(0)


def openai(*pairs):
    return [{"role": role, "content": content} for role, content in pairs]


def sharegpt(*pairs):
    return [{"from": speaker, "value": text} for speaker, text in pairs]


PARTS = [{"type": "image", "text": None}, {"type": "text", "text": "What?"}]


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        ({"conversations": sharegpt(("human", "What?"), ("gpt", "a cat"))}, None),
        ({"conversations": sharegpt(("Human", "What?"), ("GPT", "a cat"))}, None),
        ({"conversations": sharegpt(("user", "What?"), ("assistant", "a cat"))}, None),
        ({"conversations": openai(("user", "What?"), ("assistant", "a cat"))}, None),
        ({"conversations": openai(("system", "Look."), ("user", "What?"), ("assistant", "a cat"))}, None),
        ({"conversations": json.dumps(openai(("user", "What?"), ("assistant", "a cat")))}, None),
        ({"messages": openai(("user", "What?"), ("assistant", "a cat"))}, {"conversations": "messages"}),
        ({"conversations": openai(("user", PARTS), ("assistant", [PARTS[1] | {"text": "a cat"}]))}, None),
    ],
)
@pytest.mark.parametrize("pictures", ["image", "images"])
def test_conversations(row, columns, pictures, tmp_path):
    if columns is not None:
        columns = columns | {"image": pictures}
    found = example(tmp_path, {**row, pictures: ["a.png"]}, convert="conversations", columns=columns)
    assert (found.question, found.answer, len(found.images)) == ("What?", "a cat", 1)


@pytest.mark.parametrize(
    "prompt", [openai(("user", "What?")), openai(("system", "Look."), ("user", "What?")), openai(("user", PARTS))]
)
def test_a_prompt_of_turns(prompt, tmp_path):
    row = {"prompt": prompt, "solution": "a cat", "image": "a.png"}
    found = example(tmp_path, row, columns={"question": "prompt", "answer": "solution", "image": "image"})
    assert (found.question, found.answer, len(found.images)) == ("What?", "a cat", 1)


@pytest.mark.parametrize(
    ("question", "complaint"),
    [
        (
            openai(("user", "a"), ("assistant", "b"), ("user", "c")),
            "question has the turns user, assistant, user, not user",
        ),
        (["a", "b"], "question is not a list of turns"),
        (openai(("user", [{"type": "audio"}])), "a turn has a part .*audio.*, neither text nor image"),
        (openai(("user", None)), "question is missing"),
        ([], r"question has the turns \(none\), not user"),
    ],
)
def test_other_turns_are_refused(question, complaint, tmp_path):
    with pytest.raises(ValueError, match=complaint):
        example(tmp_path, {"question": question, "answer": "1"})


VERL = {
    "data_source": "sums",
    "prompt": openai(("system", "Add."), ("user", "2 + 2?")),
    "reward_model": {"style": "rule", "ground_truth": "4"},
    "extra_info": {"index": 3},
}


@pytest.mark.parametrize("written", [lambda value: value, json.dumps])
def test_what_a_reward_function_of_verl_reads_comes_with_the_row(written, tmp_path):
    row = VERL | {name: written(VERL[name]) for name in ("prompt", "reward_model")}
    found = example(tmp_path, row, convert="verl")
    assert (found.question, found.answer) == ("2 + 2?", "4")
    given = {"data_source": "sums", "solution_str": "4", "ground_truth": "4", "extra_info": {"index": 3}}
    function = tmp_path / "rewards.py"
    function.write_text(f"def compute_score(**given):\n    return float(given == {given})\n")
    assert VerlFunction(f"{function}:compute_score")("4", found) == 1


def test_columns_choose_what_is_kept_of_a_row_of_verl(tmp_path):
    columns = {"prompt": "prompt", "reward_model": "reward_model", "metadata.extra_info": "data_source"}
    found = example(tmp_path, VERL, convert="verl", columns=columns)
    assert found.metadata == {"extra_info": "sums", "reward_model": VERL["reward_model"]}


def test_a_reward_model_that_is_none(tmp_path):
    with pytest.raises(ValueError, match=r"reward_model is not \{ground_truth"):
        example(tmp_path, VERL | {"reward_model": "none"}, convert="verl")
