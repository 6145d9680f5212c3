import doctest
import json
import time

import datasets
import pytest

from registry.example import MalformedExample
from registry.replay import boxes, choices, fields, texts
from registry.replay.files import Jsonl, Parquet
from registry.replay.hub_dataset import HubDataset
from registry.replay.hub_stream import HubStream


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()


@pytest.mark.parametrize("module", [boxes, choices, fields, texts])
def test_docstrings(module):
    result = doctest.testmod(module)
    assert result.attempted
    assert not result.failed


@pytest.mark.parametrize(
    ("value", "choices", "expected"),
    [
        ("B", (), "B"),
        (" two words ", (), "two words"),
        ("<answer>B</answer>", (), "B"),
        ("<think><answer>A</answer>? no</think>\n<answer>\nB\n</answer>", (), "B"),
        (0, ("x", "y"), "A"),
        ("0", ("0", "1"), "0"),  # a choice's text, not its number
        (0, (), "0"),
        (2.5, (), "2.5"),
        (True, ("yes", "no"), "True"),
        (["Paris", "paris"], (), "Paris"),
    ],
)
def test_answer(value, choices, expected):
    assert fields.answer_text(value, choices) == expected


@pytest.mark.parametrize(
    ("value", "choices", "complaint"),
    [
        (None, (), "answer is missing"),
        ("  ", (), "answer is empty"),
        ("<answer> </answer>", (), "answer is empty"),
        (float("nan"), (), "answer is missing"),
        (b"B", (), "of type bytes"),
        ({"x": 1}, (), "of type dict"),
        (2, ("x", "y"), "2 is not the number of one of 2 choices"),
        (-1, ("x", "y"), "-1 is not the number of one of 2 choices"),
        ([1, 2, 3, 4], (), "if it is a box, set box_frame"),
        ([], (), "not a list of texts"),
    ],
)
def test_answer_refused(value, choices, complaint):
    with pytest.raises(MalformedExample, match=complaint):
        fields.answer_text(value, choices)


def test_a_question_of_several_columns():
    columns = {"question": ["hint", "question"]}
    assert fields.rename({"hint": "It mews.", "question": "Which?"}, columns) == {"question": "It mews.\nWhich?"}
    assert fields.rename({"hint": "nan", "question": "Which?"}, columns) == {"question": "Which?"}
    assert fields.rename({"hint": None, "question": None}, columns) == {"question": None}


def test_columns_that_stand_together():
    row = {"A": "x", "B": "y", "C": "nan", "D": None, "hint": "nan"}
    assert fields.rename(row, {"choices": ["A", "B", "C", "D"], "question": "hint"}) == {
        "choices": ["x", "y"],
        "question": "nan",
    }


@pytest.mark.parametrize(
    ("columns", "convert", "complaint"),
    [
        ({"qestion": "q", "answer": "a"}, "plain", "(?s)names a field 'qestion'.*did you mean: question"),
        ({"question": "q"}, "plain", "does not say which column holds answer"),
        ({"answer": "a"}, "plain", "does not say which column holds question"),
        ({"question": "q", "answer": "a"}, "choice_index", "which column holds choices"),
        (
            {"question": "q", "answer": "a"},
            "conversation",
            "(?s)no converter 'conversation'.*did you mean: conversations",
        ),
    ],
)
def test_settings_refused(columns, convert, complaint):
    with pytest.raises(ValueError, match=complaint):
        fields.check_columns(columns, convert, "replay.jsonl")


def test_a_choice_that_is_missing_before_another():
    columns = {"question": "q", "answer": "a", "choices": ["A", "B", "C"]}
    row = {"q": "?", "a": "B", "A": "x", "B": "y", "C": "nan"}
    assert fields.rename(row, columns)["choices"] == ["x", "y"]
    with pytest.raises(MalformedExample, match="choice 'A' is empty"):
        fields.rename(row | {"A": ""}, columns)


def test_tags_without_an_end_take_no_time():
    started = time.process_time()
    assert fields.tagged("<answer>" * 50_000).startswith("<answer>")
    assert time.process_time() - started < 1


def test_what_lies_in_a_column(tmp_path):
    columns = {
        "question": "texts.user",
        "answer": "texts.more.reply",
        "metadata.index": "extra.index",
        "metadata.dot": "a.b",
    }
    texts = [[{"user": f"q{i}", "more": {"reply": f"a{i}"}} for i in (row, row + 1)] for row in (0, 2)]
    rows = [{"texts": held, "extra": {"index": 7}, "a.b": 1} for held in texts]
    (tmp_path / "data").mkdir()
    lines = tmp_path / "train.jsonl"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows * 20))
    datasets.Dataset.from_list(rows * 20).to_parquet(tmp_path / "data" / "train.parquet")
    for source in (
        Jsonl(str(lines), columns=columns, explode="texts", shuffle=False),
        Parquet(str(tmp_path / "data" / "train.parquet"), columns=columns, explode="texts", shuffle=False),
    ):
        source.check()
        found = [(e.question, e.answer, e.metadata) for e in source.take(4)]
        assert found == [(f"q{i}", f"a{i}", {"index": 7, "dot": 1}) for i in range(4)]
    inner = {"question": "a.b", "answer": "extra.index"}
    for source in (HubDataset, HubStream):
        assert [e.answer for e in source(str(tmp_path / "data"), columns=inner, shuffle=False).take(2)] == ["7", "7"]
    with pytest.raises(ValueError, match=r"no column 'other.index'"):
        Jsonl(str(lines), columns=inner | {"answer": "other.index"}).check()
    with pytest.raises(ValueError, match="answer is missing"):
        Jsonl(str(lines), columns=inner | {"answer": "extra.other"}).check()
